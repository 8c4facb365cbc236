"""What happens inside a block when the lease of a shared limit runs out: it is said, and the block ended if so wanted.

The block is ended as by `timeout_seconds`: an alarm in the main thread, an exception that is set on any other thread,
the cancellation of an asyncio task. What `timeouts` does not guarantee is not guaranteed here either.
"""

from __future__ import annotations

import _signal
import _thread
import sys

from ..backends.errors import LeaseLost
from .timeouts import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .active import ActiveRun
    from .leases import Lease
    from .shared_slots import SharedSlots


class Alarms:
    """Listens to the leases of one block, for `run` (or nobody). `instead` is called instead of ending the block."""

    def __init__(
        self, held: list[SharedSlots], run: ActiveRun | None, instead: Callable[[], object] | None
    ) -> None:
        self._held, self._run, self._instead = held, run, instead
        self._deadlines: list[LeaseDeadline] = []
        self._scope: Any = None
        self._loop: Any = None
        self._told: set[str] = set()

    def arm(self) -> None:
        """For a plain block."""
        for slots in self._held:
            slots.listen(self._tell)
        for slots in self._held:
            if slots.cancel and self._instead is None:
                self._deadlines.append(_interrupter(slots))

    def disarm(self, error: object) -> None:
        """Raises LeaseLost where a block that should have been ended came to its end all the same."""
        self._stop_listening()
        late = None
        for deadline in reversed(self._deadlines):
            try:
                deadline.__exit__(type(error) if error is not None else None)
            except LeaseLost as lost:
                late = lost
            if deadline.fired and isinstance(error, LeaseLost) and not hasattr(error, "run_id"):
                _explain(error, deadline)
        if late is not None:
            late.run_id = ""  # type: ignore[attr-defined]
            raise late

    async def arm_task(self) -> None:
        """For a block of the current asyncio task."""
        import asyncio

        self._loop = asyncio.get_running_loop()
        if self._instead is None and any(slots.cancel for slots in self._held):
            self._scope = asyncio.timeout(None)
            await self._scope.__aenter__()
        for slots in self._held:
            slots.listen(self._tell)

    async def disarm_task(self, *error: Any) -> None:
        self._stop_listening()
        lost = next((slots for slots in self._held if self._scope and slots.cancel and slots.lost), None)
        try:
            if self._scope is not None:
                await self._scope.__aexit__(*error)
        except TimeoutError as cause:
            raise _claimed(_message(lost or self._held[0])) from cause
        if lost is not None and error[0] is None:  # it blocked the loop, which could not interrupt it
            raise _claimed(_message(lost))

    def _stop_listening(self) -> None:
        for slots in self._held:
            slots.listen(None)
            if slots.lost and slots.limit not in self._told:  # the alarm was faster
                self._say(_message(slots))

    def _tell(self, lease: Lease, lost: bool) -> None:
        """Called by the threads that keep leases."""
        slots = next(each for each in self._held if each.limit == lease.limit)
        self._told.add(lease.limit)
        renewed = f"the lease of limit {lease.limit!r} was renewed after all: nobody else had it"
        self._say(_message(slots) if lost else renewed)
        if lost and slots.cancel:
            self._end_block(slots)

    def _say(self, text: str) -> None:
        _write(text)
        if self._run is not None:
            self._run.log(text, "WARNING", "holter")

    def _end_block(self, slots: SharedSlots) -> None:
        if self._instead is not None:
            self._instead()
        if self._scope is not None:
            try:
                self._loop.call_soon_threadsafe(self._strike)
            except RuntimeError:  # the loop is closed
                return
        for deadline in self._deadlines:
            if deadline.slots is slots:
                deadline.strike()

    def _strike(self) -> None:
        try:
            self._scope.reschedule(self._loop.time())
        except RuntimeError:  # the block was left meanwhile
            return


class LeaseDeadline(Deadline):
    """A time limit that every renewal of the lease puts off."""

    __slots__ = ("slots",)
    error = LeaseLost

    def __init__(self, slots: SharedSlots) -> None:
        super().__init__(slots.seconds)
        self.slots = slots

    @property
    def message(self) -> str:
        return _message(self.slots)

    @property
    def at(self) -> float:  # type: ignore[override]
        return self.slots.until

    def __enter__(self) -> LeaseDeadline:
        if not self._arm_alarm():
            self._arm_thread()
        return self

    def _arm_thread(self) -> None:
        self._armed, self._lock, self._thread = True, _thread.allocate_lock(), _thread.get_ident()
        self._timer = self  # there is none: `strike` comes from the thread that watches the leases

    def cancel(self) -> None:
        return

    def strike(self) -> None:
        if self._timer is not None:
            self._expire()
        else:  # does nothing where nobody handles the signal; a blocking call is met by the alarm itself
            _thread.interrupt_main(_signal.SIGALRM)


def _interrupter(slots: SharedSlots) -> LeaseDeadline:
    return LeaseDeadline(slots).__enter__()


def _message(slots: SharedSlots) -> str:
    return f"the lease of limit {slots.limit!r} (token {slots.token}) could not be renewed in time: others may hold it"


def _claimed(message: str) -> LeaseLost:
    """The error of this block: for the runs around it no time-out of theirs, but a plain failure."""
    error = LeaseLost(message)
    error.run_id = ""  # type: ignore[attr-defined]
    return error


def _explain(error: LeaseLost, deadline: LeaseDeadline) -> None:
    """Python makes the error that is set on a thread by itself; from here on it is a plain failure of the code."""
    error.message = deadline.message
    error.args = (deadline.message,)
    error.run_id = ""  # type: ignore[attr-defined]


def _write(text: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"holter: {text}\n")
    except (OSError, ValueError):  # closed: the record has it
        return
