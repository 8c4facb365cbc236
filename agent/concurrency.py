"""`with concurrency("database"):` holds slots of named limits while the block lasts, among all processes of this host,
or among all hosts of the backend where the limit's setting says `scope: shared`.

How many slots a limit has is a setting (`limits: {database: 3}`). A limit that is not set has one: a mutex.
"""

from __future__ import annotations

from contextlib import closing
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ..backends.clock import SYSTEM
from ..backends.errors import SettingsError, UnknownLimit
from .active import ActiveRun
from .knobs import Knobs, knobs
from .recorder import current
from .secrets import clean
from .slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from typing import Self

    from .shared_slots import SharedSlots

    AnySlots = Slots | SharedSlots


class concurrency:
    """Hold slots of one or several named limits: `with concurrency("database", occupy=2):`, or `async with`.

    * `names`: a limit or a list of limits. Several are taken one after the other in sorted order, so that two who want
      the same ones cannot block each other; all are given back if one cannot be had.
    * `occupy`: slots of each limit; all of them at once or none.
    * `timeout_seconds`: for all together; None (default) waits without end. 0 does not wait for a slot, but for up to
      half a second until those who came before have got theirs.
    * `strict`: a limit that no setting names is an error. Without it, it has one slot.

    `scope` says what one has. "host": the kernel keeps the slots, and frees them when this process dies, however it
    dies. Other hosts are not held off. "shared": leases in the backend, for all its hosts. A lease is no lock: a
    process that is stopped, or cut off from the store, may still be inside when its lease has run out and another
    holder is in. So give `token` (of `with concurrency("gpu") as held:`), which grows with every holder, to what you
    work on, and let it refuse a smaller one than it has seen. When a lease runs out inside the block, a line on stderr
    and in the log says so (`on_lease_lost: warn`), or the block is ended as by a time-out, with LeaseLost (`cancel`);
    `lost` is true then. `on_lost`, where given, is called (in another thread) instead of ending the block.

    Inside the block `held` has an object per limit: `limit`, `numbers` (which slots), `occupy`, `waited` (seconds); of
    a shared one `token` and `lost`, too. Tokens are comparable for the same number.

    Raises on entering: SlotTimeout; SlotReentry where this thread (or asyncio task) already holds slots of a limit;
    UnknownLimit if `strict`; ValueError for more slots than a limit has; SettingsError for a shared limit with
    `backend: off:`; StorageError where HOLTER_HOME cannot be used, or the backend does not answer within the time (a
    minute where none is given): unlike recording, exclusion is never just left out. Leaving twice, or entering twice at
    a time, is a RuntimeError. May be left in another thread.

    Not guaranteed: order among those who come within the same moment. In a coroutine use `async with`; a plain `with`
    would stop the event loop while it waits.
    """

    def __init__(
        self,
        names: str | Iterable[str],
        occupy: int = 1,
        timeout_seconds: float | None = None,
        *,
        strict: bool = False,
        on_lost: Callable[[], object] | None = None,
    ) -> None:
        self._names = sorted({names} if isinstance(names, str) else set(names))
        if not self._names:
            raise ValueError("concurrency() needs the name of a limit")
        if timeout_seconds is not None and not timeout_seconds >= 0:
            raise ValueError(
                f"timeout_seconds={timeout_seconds!r} (give 0 or more, or None to wait without end)"
            )
        self._occupy = occupy
        self._timeout = timeout_seconds
        self._strict = strict
        self._on_lost = on_lost
        self._run: ActiveRun | None = None
        self._since = 0.0
        self.held: tuple[AnySlots, ...] = ()
        self._alarms: Any = None

    @property
    def scope(self) -> str:
        """ "shared" where all the limits are, else "host"."""
        limits = knobs().limits
        return "shared" if all(_scope(limits.get(name, {})) == "shared" for name in self._names) else "host"

    @property
    def token(self) -> int | None:
        """The fencing token of the one shared limit that is held; None for limits of the host.

        Several shared limits have a token each, in `held`: then this raises RuntimeError.
        """
        tokens = [slots.token for slots in self._shared()]
        if len(tokens) > 1:
            raise RuntimeError("several shared limits are held: take `token` from each of `held`")
        return tokens[0] if tokens else None

    @property
    def lost(self) -> bool:
        """Whether the lease of a shared limit has run out, so that others may hold it."""
        return any(slots.lost for slots in self._shared())

    def __enter__(self) -> Self:
        with closing(self._collect()) as pauses:
            for pause in pauses:
                SYSTEM.sleep(pause)
        if self._shared():
            try:
                self._make_alarms().arm()
            except BaseException:  # the time of a run around this one may be up in just this moment
                for _ in self._release():
                    continue
                raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._alarms is not None:
                self._alarms.disarm(error[1])
        finally:
            with closing(self._release()) as pauses:
                for pause in pauses:
                    SYSTEM.sleep(pause)

    async def __aenter__(self) -> Self:
        from asyncio import sleep  # a script without a loop does not pay for it

        with closing(self._collect()) as pauses:
            for pause in pauses:
                await sleep(pause)
        if self._shared():
            await self._make_alarms().arm_task()
        return self

    async def __aexit__(self, *error: object) -> None:
        from asyncio import sleep

        try:
            if self._alarms is not None:
                await self._alarms.disarm_task(*error)
        finally:
            with closing(self._release()) as pauses:
                for pause in pauses:
                    await sleep(pause)

    def _collect(self) -> Generator[float]:
        """Take every limit's slots, or none; yields the seconds to sleep."""
        if self.held:
            raise RuntimeError("this concurrency() is entered already: make one for each `with`")
        self._run = current()
        began = SYSTEM.monotonic()
        wanted = [self._slots(name, knobs()) for name in self._names]
        try:
            for slots in wanted:
                if self._timeout is not None:
                    slots.timeout = max(0.0, self._timeout - (SYSTEM.monotonic() - began))
                yield from slots.collect()
            self._since = SYSTEM.monotonic()
            self.held = tuple(wanted)
        except BaseException:
            for slots in reversed(wanted):
                slots.abandon()
            raise

    def _release(self) -> Generator[float]:
        """Give all back; yields the seconds to sleep until a store knows of it."""
        held, self.held = self.held, ()
        self._alarms = None
        if not held:
            raise RuntimeError("this concurrency() holds nothing: left twice?")
        seconds = SYSTEM.monotonic() - self._since
        for slots in reversed(held):
            if slots.release():
                if self._run is not None:
                    self._run.slot(slots.limit, slots.occupy, slots.waited, seconds)
                if not isinstance(slots, Slots) and not slots.lost:
                    yield from slots.settled()

    def _make_alarms(self) -> Any:
        from .lease_alarms import Alarms

        self._alarms = Alarms(self._shared(), self._run, self._on_lost)
        return self._alarms

    def _shared(self) -> list[SharedSlots]:
        return [slots for slots in self.held if not isinstance(slots, Slots)]

    def _slots(self, name: str, settings: Knobs) -> AnySlots:
        limit = settings.limits.get(name)
        if limit is None:
            if self._strict:
                raise _unknown(name, settings)
            limit = {}
        who: dict[str, Any] = {}
        if self._run is not None:
            who = {"run_id": self._run.id, "run_name": clean(self._run.run_name or self._run.name)}
        if _scope(limit) == "shared":
            return _shared_slots(name, limit, settings, self._occupy, self._timeout, who)
        return Slots(settings.home, name, int(limit.get("slots", 1)), self._occupy, self._timeout, **who)


def _scope(limit: dict[str, Any]) -> str:
    return str(limit.get("scope", "host"))


def _shared_slots(
    name: str,
    limit: dict[str, Any],
    settings: Knobs,
    occupy: int,
    timeout: float | None,
    who: dict[str, Any],
) -> SharedSlots:
    from ..backends.schedule import parse_duration
    from .shared_slots import SharedSlots

    if settings.backend.startswith("off:"):
        raise SettingsError(
            f"limit {name!r} is shared, and `backend: off:` shares nothing",
            path=f"limits.{name}.scope",
            hint="set a backend that all its hosts reach, or scope: host",
        )
    lease = max(0.5, parse_duration(limit.get("lease") or 30.0))
    cancel = limit.get("on_lease_lost") == "cancel"
    return SharedSlots(name, int(limit.get("slots", 1)), occupy, timeout, lease, cancel=cancel, **who)


def _unknown(name: str, settings: Knobs) -> UnknownLimit:
    near = get_close_matches(name, settings.limits, n=1)
    guess = f"did you mean {near[0]!r}? Or " if near else ""
    config = settings.config or f"{settings.home}/holter.yaml"
    hint = f"{guess}write `limits: {{{name}: 1}}` into {config}"
    return UnknownLimit(f"no limit is named {name!r}", hint=hint)
