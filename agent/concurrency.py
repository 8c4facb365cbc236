"""`with concurrency("database"):` holds slots of named limits while the block lasts, among all processes of this host.

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
    from collections.abc import Generator, Iterable
    from typing import Self


class concurrency:
    """Hold slots of one or several named limits: `with concurrency("database", occupy=2):`, or `async with`.

    * `names`: a limit or a list of limits. Several are taken one after the other in sorted order, so that two who want
      the same ones cannot block each other; all are given back if one cannot be had.
    * `occupy`: slots of each limit; all of them at once or none.
    * `timeout_seconds`: for all together; None (default) waits without end. 0 does not wait for a slot, but for up to
      half a second until those who came before have got theirs.
    * `strict`: a limit that no setting names is an error. Without it, it has one slot.

    Inside the block `held` has a `Slots` per limit: `limit`, `numbers` (which slots), `occupy`, `waited` (seconds).
    `scope` is "host": the kernel keeps the slots, and frees them when this process dies, however it dies. Other hosts
    are not held off.

    Raises on entering: SlotTimeout; SlotReentry where this thread (or asyncio task) already holds slots of a limit;
    UnknownLimit if `strict`; ValueError for more slots than a limit has; SettingsError for a limit across hosts, which
    does not exist yet; StorageError where HOLTER_HOME cannot be used: unlike recording, exclusion is never just left
    out. Leaving twice, or entering twice at a time, is a RuntimeError. May be left in another thread.

    Not guaranteed: order among those who come within the same moment. In a coroutine use `async with`; a plain `with`
    would stop the event loop while it waits.
    """

    scope = "host"

    def __init__(
        self,
        names: str | Iterable[str],
        occupy: int = 1,
        timeout_seconds: float | None = None,
        *,
        strict: bool = False,
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
        self._run: ActiveRun | None = None
        self._since = 0.0
        self.held: tuple[Slots, ...] = ()

    def __enter__(self) -> Self:
        with closing(self._collect()) as pauses:
            for pause in pauses:
                SYSTEM.sleep(pause)
        return self

    def __exit__(self, *error: object) -> None:
        self._release()

    async def __aenter__(self) -> Self:
        from asyncio import sleep  # a script without a loop does not pay for it

        with closing(self._collect()) as pauses:
            for pause in pauses:
                await sleep(pause)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._release()

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

    def _release(self) -> None:
        held, self.held = self.held, ()
        if not held:
            raise RuntimeError("this concurrency() holds nothing: left twice?")
        seconds = SYSTEM.monotonic() - self._since
        for slots in reversed(held):
            if slots.release() and self._run is not None:
                self._run.slot(slots.limit, slots.occupy, slots.waited, seconds)

    def _slots(self, name: str, settings: Knobs) -> Slots:
        limit = settings.limits.get(name)
        if limit is None:
            if self._strict:
                raise _unknown(name, settings)
            limit = {}
        if limit.get("scope", "host") != "host":
            raise SettingsError(
                f"limit {name!r} has scope {limit['scope']!r}, and limits across hosts are not available yet",
                path=f"limits.{name}.scope",
                hint="scope: host counts on each host by itself",
            )
        who: dict[str, Any] = {}
        if self._run is not None:
            who = {"run_id": self._run.id, "run_name": clean(self._run.run_name or self._run.name)}
        return Slots(settings.home, name, int(limit.get("slots", 1)), self._occupy, self._timeout, **who)


def _unknown(name: str, settings: Knobs) -> UnknownLimit:
    near = get_close_matches(name, settings.limits, n=1)
    guess = f"did you mean {near[0]!r}? Or " if near else ""
    config = settings.config or f"{settings.home}/holter.yaml"
    hint = f"{guess}write `limits: {{{name}: 1}}` into {config}"
    return UnknownLimit(f"no limit is named {name!r}", hint=hint)
