"""A fair counting semaphore between the processes of one host, made of kernel locks.

* Holding slot i is holding the lock of file slot-i, and nothing else: there is no counter. However a holder dies, the
  kernel frees its slots at once.
* Who wants slots makes a ticket: a locked file in a queue, which has its name only once it is locked. Only the oldest
  live ticket collects, and it takes all that it wants or nothing. So nobody holds some while waiting for more (no
  deadlock), and who wants many is not passed for ever by those who want few. The price: they wait behind it.
* How many slots there are is what the caller says. More or fewer files are looked at then, and slots beyond a smaller
  number count until they are free. (The files go with a limit that nobody uses any more: see `slot_tidy`.)

`Slots.collect` decides and never sleeps: it yields the seconds until it wants to look again, which a sync or an async
driver sleeps.

Not guaranteed: anything across hosts or on a network file system; the order of tickets made within the same moment, or
while the wall clock is set back; exclusion after somebody removes or replaces the file of a held slot. A process loses
its slots in `os.execv`; a child that C code forked keeps them after its parent's death; a stopped process (SIGSTOP)
keeps its slots and its place in the queue.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from ..backends.clock import SYSTEM, Clock, token
from ..backends.errors import HolterError, SlotReentry, SlotTimeout, StorageError
from ..backends.gate import Gate
from .shared_home import is_guest
from .slot_files import (
    FREE,
    HELD,
    UNUSABLE,
    Place,
    drafts,
    folder_of,
    holders,
    limits,
    look,
    make_folder,
    record,
    slot_numbers,
    slot_path,
    tickets,
    waiters,
)

__all__ = ["Place", "Slots", "choose", "holders", "limits", "next_look", "waiters"]

QUICKEST, SLOWEST = 0.005, 0.1  # seconds between two looks
SETTLE = 0.02  # seconds after which slots that are still held are not just passing through a second collector
TURN = 0.5  # seconds after which those before us are not about to get in or done with looking: they wait
TRIES = 20  # of making a ticket in a folder that somebody takes away each time
DRAFT_AGE = 60.0  # seconds after which nobody is still making this ticket

_held: set[Slots] = set()
_entered: ContextVar[tuple[Slots, ...]] = ContextVar("holter_slots", default=())


def next_look(ahead: int, waited: float, timeout: float | None, patience: float) -> float | None:
    """Seconds until the next look, or None when the time is up.

    `ahead` is how many may be before us in the queue (0: it is our turn). Who has waited for long looks less often,
    but every 0.1 s. `patience` is how long what is in the way may be about to go: so long waits also who gives no time.
    """
    pause = min(SLOWEST, max(QUICKEST, waited / 50) * (1 + ahead))
    if timeout is None:
        return pause
    left = max(timeout, patience) - waited
    return min(pause, left) if left > 0 else None


def choose(states: Mapping[int, str], slots: int, occupy: int) -> list[int]:
    """Which slots to take; none where fewer than `occupy` are to be had. `states` are those that have a file.

    All that is not free counts as taken, also beyond `slots`.
    """
    taken = sum(state != FREE for state in states.values())
    if taken + occupy > slots:
        return []
    return [number for number in range(slots) if states.get(number, FREE) == FREE][:occupy]


class Slots:
    """`occupy` of the `slots` slots of one limit: `collect()` takes them, `release()` gives them back.

    `numbers` are the slots that are held, `waited` the seconds that it took. `timeout` is in seconds, None for no end;
    one under 0.5 may take that long while others are before us. `run_id` and `run_name` are for people.
    Raises ValueError where `occupy` is not between 1 and `slots`, SettingsError where `limit` cannot be a name.
    """

    def __init__(
        self,
        home: str,
        limit: str,
        slots: int = 1,
        occupy: int = 1,
        timeout: float | None = None,
        *,
        run_id: str | None = None,
        run_name: str | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        if not 1 <= occupy <= slots:
            raise ValueError(f"occupy={occupy} is not between 1 and the {slots} slots of limit {limit!r}")
        self.home, self.limit, self.slots, self.occupy, self.timeout = home, limit, slots, occupy, timeout
        self.run_id, self.run_name = run_id, run_name
        self.folder = folder_of(home, limit)
        self.numbers: tuple[int, ...] = ()
        self.waited = 0.0
        self._clock = clock
        self._locks: list[Gate] = []
        self._owner = (0, None, None)

    def collect(self) -> Generator[float]:
        """Take the slots. Yields the seconds to sleep before going on; closing it gives the place in the queue up.

        Raises SlotTimeout; SlotReentry where this thread and asyncio task hold slots of the limit already, which could
        go on waiting for themselves; StorageError where the folder cannot be used, because whoever asks for mutual
        exclusion must not go on without it.
        """
        owner = _flow_of_control()
        self._refuse_reentry(owner)
        try:
            with self._storage_errors(), closing(_Ticket(self, self._clock)) as ticket:
                yield from self._wait(ticket)
            self._owner = owner
            _held.add(self)
            _entered.set((*(each for each in _entered.get() if each in _held), self))
        except BaseException:
            self.abandon()
            raise

    def _wait(self, ticket: _Ticket) -> Generator[float]:
        began = self._clock.monotonic()
        while True:
            ahead = ticket.ahead()
            chosen = [] if ahead else self._choose()
            locked = bool(chosen) and self._lock(chosen)
            self.waited = self._clock.monotonic() - began
            if locked:
                return
            pause = next_look(ahead, self.waited, self.timeout, TURN if ahead or chosen else SETTLE)
            if pause is None:
                raise SlotTimeout(self._too_late(), hint="`holter slots` shows who holds them")
            yield pause

    def release(self) -> bool:
        """Give the slots back, from any thread; True. Raises RuntimeError where they are not held.

        In a forked child it does nothing and returns False: the slots are its parent's.
        """
        if self._owner[0] not in (0, os.getpid()):
            return False
        try:
            _held.remove(self)  # of two threads that release, one gets the KeyError
        except KeyError:
            raise RuntimeError(f"the slots of limit {self.limit!r} are not held: released twice?") from None
        self._let_go()
        return True

    def abandon(self) -> None:
        """Stop wanting the slots, whether they are held or not."""
        _held.discard(self)
        self._let_go()

    def _let_go(self) -> None:
        locks, self._locks = self._locks, []
        for lock in locks:
            lock.close()

    def record(self) -> bytes:
        """What is written into a file that is locked from now on."""
        # Other users read it: who knows a run's id before its start has arrived could claim it.
        if is_guest(self.home):
            return record(self.occupy, self._clock.wall(), None, None)
        return record(self.occupy, self._clock.wall(), self.run_id, self.run_name)

    def _choose(self) -> list[int]:
        states = {number: look(slot_path(self.folder, number))[0] for number in slot_numbers(self.folder)}
        self._refuse_unusable([number for number, state in states.items() if state == UNUSABLE])
        return choose(states, self.slots, self.occupy)

    def _lock(self, numbers: list[int]) -> bool:
        """Take the locks of all these slots, or of none."""
        for number in numbers:
            lock = Gate(slot_path(self.folder, number))
            self._locks.append(lock)  # before it is locked: an exception in between must not leave it so
            if not _take(lock, self.record()):
                self._let_go()
                return False
        self.numbers = tuple(numbers)
        return True

    def _refuse_reentry(self, owner: tuple[int, Any, Any]) -> None:
        ours = (owner, (*owner[:2], None))  # taken outside of the loop, it is held by all of the loop's tasks
        for other in _entered.get():
            if other in _held and other.folder == self.folder and other._owner in ours:
                who = f"run {other.run_name!r} ({other.run_id})" if other.run_id else "this thread"
                raise SlotReentry(
                    f"{who} already holds slots of limit {self.limit!r}",
                    hint="leave the outer concurrency() first, or ask for all with one occupy=",
                )

    def _refuse_unusable(self, numbers: list[int]) -> None:
        if self.slots - len(numbers) < self.occupy:
            path = slot_path(self.folder, numbers[0])
            raise StorageError(
                f"limit {self.limit!r} cannot use {path}: not a plain file of this user",
                hint="remove it while nobody holds slots of this limit",
            )

    def _too_late(self) -> str:
        wanted = "slot" if self.occupy == 1 else f"{self.occupy} slots"
        return f"no {wanted} of limit {self.limit!r} became free within {self.waited:.2f} s"

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except HolterError:
            raise
        except OSError as error:
            raise StorageError(
                f"limit {self.limit!r} cannot use {error.filename or self.folder}: {error.strerror or error}",
                hint="HOLTER_HOME must be a writable folder on a local disk",
            ) from error


class _Ticket:
    """A place in the queue of a limit, made by the first `ahead()`."""

    def __init__(self, slots: Slots, clock: Clock) -> None:
        self._slots, self._clock = slots, clock
        self._queue = f"{slots.folder}/queue"
        self._name = ""
        self._lock: Gate | None = None

    def ahead(self) -> int:
        """How many may be before us, the first of them alive; what the dead left before it is swept. 0: our turn."""
        names = tickets(self._slots.folder) if self._name else []
        if self._name not in names:  # new, or somebody emptied the folder
            self.close()
            self._publish()
            names = tickets(self._slots.folder)
        older = [name for name in names if name < self._name]
        for position, name in enumerate(older):
            state = look(f"{self._queue}/{name}")[0]
            if state == HELD:
                return len(older) - position
            if state == FREE:
                _remove(f"{self._queue}/{name}")
        return 0

    def close(self) -> None:
        if self._lock is not None:
            _remove(f"{self._queue}/{self._name}")  # before the lock goes: nobody sees it unlocked
            self._lock.close()

    def _publish(self) -> None:
        for _ in range(TRIES - 1):
            with suppress(FileNotFoundError):  # the limit's folder was tidied away since we made it
                return self._try_to_publish()
        return self._try_to_publish()

    def _try_to_publish(self) -> None:
        make_folder(self._slots.home, self._slots.limit)
        self._sweep_drafts()
        self._name = draft = f".{token(16)}"
        self._lock = Gate(f"{self._queue}/{draft}")
        if is_guest(self._slots.home):
            os.chmod(f"{self._queue}/{draft}", 0o640)  # the others have to see whether it is held
        _take(self._lock, self._slots.record())
        name = f"{int(self._clock.wall() * 1e9):020d}-{token(8)}"
        os.rename(f"{self._queue}/{draft}", f"{self._queue}/{name}")
        self._name = name

    def _sweep_drafts(self) -> None:
        for name in drafts(self._slots.folder):
            path = f"{self._queue}/{name}"
            with _if_possible():
                if self._clock.wall() - os.lstat(path).st_mtime > DRAFT_AGE and look(path)[0] == FREE:
                    os.unlink(path)


def _take(lock: Gate, text: bytes) -> bool:
    """Take the lock and sign it; False where it is held: by somebody who looks at it in this instant, or for a ticket
    made just now that is older than ours."""
    if not lock.take(0.0):
        return False
    with _if_possible():  # disk full: the lock holds all the same, and what is written is for people
        lock.sign(text)
    return True


def _remove(path: str) -> None:
    with _if_possible():  # swept by another waiter, or not ours to remove: unlocked, it is in nobody's way
        os.unlink(path)


@contextmanager
def _if_possible() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, HolterError):  # a run's time-out is an OSError, and may strike here as anywhere
            raise


def _flow_of_control() -> tuple[int, Any, Any]:
    """Process, thread and asyncio task (None outside of one): what cannot wait for itself."""
    asyncio = sys.modules.get("asyncio")  # not there, not in use
    task = None
    if asyncio is not None:
        with suppress(RuntimeError, AttributeError):  # no loop in this thread; just being imported by another
            task = asyncio.current_task()
    return os.getpid(), threading.current_thread(), task
