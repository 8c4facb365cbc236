"""Slots of a shared limit: leases that this process renews, in the store that all its hosts have.

Not guaranteed: that nobody else is inside. A lease is a promise of clocks, not of a kernel: a process that is stopped,
or a host that sleeps or is cut off from the store, may still be at work when its lease has run out and another holder
is in. Where that would do harm, hand `token` to what you work on and let it refuse any token smaller than the greatest
it has seen: whoever holds later has the greater one. Of a limit with several slots, that is true of each slot: compare
the tokens that came with the same one of `numbers`.

What is guaranteed: no two leases that have not run out count more slots than the limit has; a holder is told when it
cannot count on its lease any more, before others can take it; slots of a holder that died are free after a lease at
most, and at once for whoever asks on the same host, by proof.
"""

from __future__ import annotations

import os
from contextvars import ContextVar

from ..backends.clock import SYSTEM, Clock, token
from ..backends.errors import (
    AccessDenied,
    SettingsError,
    SlotReentry,
    SlotTimeout,
    StorageError,
    StoreTooNew,
    UnknownBackend,
)
from . import identity
from .lease_keeper import Keeper, keeper
from .leases import GONE, HELD, LOST, REFUSED, Lease
from .slots import _flow_of_control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

FINAL = (AccessDenied, StoreTooNew, UnknownBackend, SettingsError)  # waiting does not help
ANSWER = 10.0  # seconds that a first answer is waited for, also by who gives less
AWAY = 60.0  # seconds without any answer after which also who waits without end gives up
RELEASE_SECONDS = 1.0  # after that a release goes on without us
_entered: ContextVar[tuple[SharedSlots, ...]] = ContextVar("holter_shared_slots", default=())


class SharedSlots:
    """`occupy` of the `slots` slots of a limit among all hosts; used as `Slots` is.

    `lease` is in seconds. `numbers` are the slots, `token` is the fencing token: it grows with every holder. `lost`
    says that the lease ran out, or could not be renewed in time, while it was held; `listen` says who is told at that
    moment, in another thread. `cancel` is for who listens. Raises ValueError where `occupy` is not between 1 and
    `slots`.
    """

    scope = "shared"

    def __init__(
        self,
        limit: str,
        slots: int,
        occupy: int,
        timeout: float | None,
        lease: float,
        *,
        run_id: str | None = None,
        run_name: str | None = None,
        cancel: bool = False,
        clock: Clock = SYSTEM,
        keeper: Keeper | None = None,
    ) -> None:
        if not 1 <= occupy <= slots:
            raise ValueError(f"occupy={occupy} is not between 1 and the {slots} slots of limit {limit!r}")
        self.limit, self.slots, self.occupy, self.timeout, self.seconds = limit, slots, occupy, timeout, lease
        self.run_id, self.run_name = run_id, run_name
        self.waited = 0.0
        self.cancel, self._clock, self._keeper = cancel, clock, keeper
        self._lease: Lease | None = None
        self._owner: tuple[int, Any, Any] = (0, None, None)

    @property
    def numbers(self) -> tuple[int, ...]:
        return self._lease.numbers if self._lease is not None else ()

    @property
    def token(self) -> int:
        assert self._lease is not None and self._lease.token is not None
        return self._lease.token

    @property
    def lost(self) -> bool:
        lease = self._lease
        return lease is not None and lease.token is not None and self._clock.monotonic() >= lease.until

    @property
    def until(self) -> float:
        """Monotonic seconds up to which nobody else can be in."""
        return self._lease.until if self._lease is not None else 0.0

    def listen(self, listener: Callable[[Lease, bool], object] | None) -> None:
        if self._lease is not None:
            self._lease.listener = listener

    def collect(self) -> Generator[float]:
        """Take the slots; yields the seconds to sleep. Raises SlotTimeout, SlotReentry, and StorageError where the
        store gives no answer in time."""
        owner = _flow_of_control()
        self._refuse_reentry(owner)
        lease = self._lease = self._make()
        began = self._clock.monotonic()
        try:
            (self._keeper or keeper()).add(lease)
            while lease.state != HELD:
                self.waited = self._clock.monotonic() - began
                self._give_up_in_time(lease)
                yield 0.001 if self.waited < 0.1 else 0.01
            self._owner = owner
            _entered.set((*(each for each in _entered.get() if each._holds), self))
        except BaseException:
            self.abandon()
            raise

    def release(self) -> bool:
        """Give the slots back, from any thread; True. In a forked child nothing happens: False. The store is told in
        the background: see `settled`. Raises RuntimeError where they are not held."""
        if self._owner[0] not in (0, os.getpid()):
            return False
        if not self._holds:
            raise RuntimeError(f"the slots of limit {self.limit!r} are not held: released twice?")
        self._owner = (0, None, None)
        self.abandon()
        return True

    def settled(self) -> Generator[float]:
        """Yields the seconds to sleep until the store knows of the release, or RELEASE_SECONDS are over."""
        began = self._clock.monotonic()
        pause = 0.0005
        while self._lease is not None and self._lease.state not in (GONE, LOST, REFUSED):
            if self._clock.monotonic() - began > RELEASE_SECONDS:
                return
            yield pause
            pause = min(0.01, pause * 1.5)

    def abandon(self) -> None:
        """Stop wanting the slots, whether they are held or not."""
        if self._lease is not None:
            self._lease.listener = None
            self._lease.leaving = True
            (self._keeper or keeper()).wake()

    @property
    def _holds(self) -> bool:
        return self._owner[0] == os.getpid()

    def _make(self) -> Lease:
        who = {key: value for key, value in identity.me().items() if key in _WHO}
        return Lease(
            token(16),
            self.limit,
            self.slots,
            self.occupy,
            self.seconds,
            {**who, "run_id": self.run_id, "run_name": self.run_name},
            patient=self.timeout != 0,
        )

    def _give_up_in_time(self, lease: Lease) -> None:
        """Raises what a waiter has to be told now."""
        late = self.timeout is not None and self.waited >= self.timeout
        answered, error = lease.renew_at > 0.0, lease.error
        if lease.state == REFUSED or (late and answered and error is None):
            raise SlotTimeout(self._too_late(), hint="`holter slots` shows who holds them")
        if isinstance(error, FINAL):
            raise error
        if error is not None:
            away = self._clock.monotonic() - (lease.failing_since or 0.0)
            hopeless = late or away > AWAY
        else:
            hopeless = not answered and self.waited > (
                AWAY if self.timeout is None else max(ANSWER, self.timeout)
            )
        if hopeless:
            raise StorageError(
                f"no slot of limit {self.limit!r}: the store does not answer ({error or 'it hangs'})",
                hint="`holter doctor` looks at the store; without it nobody could be kept out",
            ) from error

    def _too_late(self) -> str:
        wanted = "slot" if self.occupy == 1 else f"{self.occupy} slots"
        return f"no {wanted} of limit {self.limit!r} became free within {self.waited:.2f} s"

    def _refuse_reentry(self, owner: tuple[int, Any, Any]) -> None:
        ours = (owner, (*owner[:2], None))
        for other in _entered.get():
            if other._holds and other.limit == self.limit and other._owner in ours:
                who = f"run {other.run_name!r} ({other.run_id})" if other.run_id else "this thread"
                raise SlotReentry(
                    f"{who} already holds slots of limit {self.limit!r}",
                    hint="leave the outer concurrency() first, or ask for all with one occupy=",
                )


_WHO = ("host", "boot", "namespace", "pid", "start_ticks")
