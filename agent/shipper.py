"""From journal to store: a daemon thread that sends what the journal gained, as bytes from an offset.

Storage is touched by this thread only, so nothing that a store does (hang, lock, raise) can reach the job. It uses at
most a twentieth of the process's time: after a batch that took t seconds it rests for 19 t. At the end of the process
it gets `EXIT_SECONDS`; what is left then stays in the journal for whoever looks next.

The thread is a bare one: it is nobody's to list, to join or to wait for.
"""

from __future__ import annotations

import _thread
import os
import time
from functools import wraps

from ..backends.clock import uniform
from ..backends.errors import OffsetMismatch, StorageError
from ..backends.lines import encode
from . import signals, wakeups
from .bare_threads import held_lock, in_main_interpreter, start_joinable
from .journal import Journal, before_removal, read
from .knobs import complain
from .resources import used
from .tape import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from ..backends.base import Backend

    P = ParamSpec("P")
    R = TypeVar("R")

INTERVAL = 0.5  # seconds between looks at the journal
BATCH = 256 * 1024  # bytes: about a thousand events, some 20 ms of work
REST = 19  # times the time that a batch took
EXIT_SECONDS = 1.0
ROTATE_AT = 32 * 2**20  # bytes: a journal that is all shipped and this large is replaced
CAP = (
    256 * 2**20
)  # bytes waiting to be shipped: past it log lines are dropped (and counted), state events never
IN_FLIGHT = 0.02  # seconds for a write into the old file that had begun before the journal was replaced
RETRY_AT_MOST = 30.0  # seconds between tries while the store is away
FORK_SECONDS = 0.5  # that a fork waits for our imports, in all
loading = _thread.allocate_lock()  # held while a thread of ours opens a store, and imports what that takes


def _store_step(step: Callable[P, R]) -> Callable[P, R | None]:
    """A step that touches the store. What would end a thread with a traceback, or without a word (a driver's panic,
    SystemExit), is in this thread an error like any other."""

    @harmless
    @wraps(step)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return step(*args, **kwargs)
        except Exception:
            raise
        except BaseException as error:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error

    return guarded


class _Old:
    """The journal that was replaced: of what is sent of it, `offset` bytes are, and `told` is whether it says what took
    its place."""

    __slots__ = ("fd", "journal", "offset", "path", "told")

    def __init__(self, journal: str, path: str, fd: int, offset: int) -> None:
        self.journal, self.path, self.fd, self.offset = journal, path, fd, offset
        self.told = False


class Shipper:
    """Ships one process's journal. `carry` gives the open runs when the journal is replaced by a new file. Without
    `open_store` others ship it, and here it only beats."""

    def __init__(
        self,
        journal: Journal,
        heartbeat: float,
        open_store: Callable[[], Backend] | None,
        carry: Callable[[], list[str]],
    ) -> None:
        self.journal = journal
        self.heartbeat = heartbeat
        self.behind = False  # more than CAP bytes wait: recorder drops log lines
        self._open_store = open_store
        self._carry = carry
        self._store: Backend | None = None
        self._offset = 0
        self._old: _Old | None = None
        self._beats = 0
        self._wake, self._done = held_lock(), held_lock()
        self._closing = False
        self._stopped = False
        self._asked_wait = 0.0  # seconds that the store wants us to stay away
        self._began = 0.0  # this thread's processor time, in seconds, when it began what it will rest for
        self._unfinished: dict[str, Any] = {}
        self.running = False

    def start(self) -> None:
        """Start the thread. Where there can be none, the journal waits for the next `holter` command: the system may
        refuse one, and a sub-interpreter that has a thread cannot be ended (the process aborts).

        `threading` is imported here, in the caller's thread: a store may need it, and where our thread is the first to
        import it, it takes ours for the main thread and waits for it at exit, for ever (Python 3.11 and 3.12).
        """
        import threading  # noqa: F401

        if not in_main_interpreter():
            return
        if self._open_store is not None:
            self._join = start_joinable(self._run)
            self.running = True
        _thread.start_new_thread(self._keep_beating, ())

    def finish(self, unfinished: dict[str, Any]) -> None:
        """Ship the rest in at most EXIT_SECONDS; the journal is removed if all of it arrived, unless a daemon thread
        has just begun a run in it: then `unfinished` has it, and the journal stays as the proof of how it ended."""
        self._unfinished = unfinished
        self._closing = True
        if not self.running:
            return
        self._wake.release()
        if self._done.acquire(timeout=EXIT_SECONDS):
            self._join(EXIT_SECONDS)
        self._stopped = True  # whatever the thread is stuck in, it must not touch the journal any more

    def _keep_beating(self) -> None:
        """In a thread of its own: a store that hangs must not make a lively process look dead. It is not woken to end,
        for the reason that `start_joinable` has."""
        while True:
            wakeups.listen(self.heartbeat, signals.unheard)
            if self._closing:
                return
            self._beat()

    @harmless
    def _beat(self) -> None:
        self._beats += 1
        if self._open_store is None:
            self.behind = self.journal.size() > CAP
        self.journal.write(encode({"event": "beat", "at": time.time(), "seq": self._beats, **used()}))

    def _run(self) -> None:
        rest = wait = INTERVAL
        while True:
            if not self._closing:
                self._wake.acquire(timeout=rest)
            self._began = time.thread_time()  # waiting for another writer is no work
            more = self._turn()
            if self._closing and not more:
                return self._settle(arrived=more is not None)
            # Anywhere up to twice as long as before, so that a fleet does not come back as one.
            if more is None:
                wait = min(RETRY_AT_MOST, wait * 2)
                rest = self._asked_wait + uniform(INTERVAL, wait)
            else:
                wait = INTERVAL
                rest = max(REST * (time.thread_time() - self._began), 0.0 if more else INTERVAL)

    @_store_step
    def _turn(self) -> bool | None:
        """Send one batch; whether there is more to send, None where the store did not take it."""
        self._asked_wait = 0.0
        try:
            return self._ship()
        except (StorageError, OSError) as error:
            complain(f"the store is away, records wait in the journal: {error}")
            self._asked_wait = getattr(error, "retry_after", None) or 0.0
            self.behind = self.journal.size() - self._offset > CAP
            return None

    def _ship(self) -> bool:
        """Send one batch; say whether there is more."""
        if self._stopped:
            return False
        if self._old is not None:
            self._send_old(self._old)
        size = self.journal.size()
        if size > self._offset:
            if self._store is None and self._open_store is not None:
                with loading:  # and its modules with it
                    self._store = self._open_store()
                self._began = time.thread_time()
            data = read(self.journal.fd, self._offset, BATCH)
            if not data or self._store is None:
                return False  # a torn tail
            self._offset = _send(self._store, self.journal.id, self._offset, data)
        self.behind = size - self._offset > CAP
        if size > ROTATE_AT and size == self._offset and not self._closing:
            self._rotate()
        # It may have grown meanwhile, and this may be the last look.
        return self._offset < self.journal.size()

    def _rotate(self) -> None:
        """Go on in a new file."""
        old = self.journal.rotate()
        self._old, self._offset = _Old(*old, self._offset), 0
        self._send_old(self._old)

    def _send_old(self, old: _Old) -> None:
        """The rest of the old file, before anything of the new one, whose later events must not arrive first. Where the
        store is away it is tried again: else the file would stay, and its descriptor, for as long as this process
        lives.

        It says that its open runs are carried over, so that whoever adopts it after a kill does not judge them."""
        if not old.told:
            carried = {"event": "carry", "runs": self._carry(), "after": old.journal}
            self.journal.write(encode(carried))
            os.write(old.fd, encode({"event": "moved", "at": time.time(), "to": self.journal.id}))
            old.told = True
            time.sleep(IN_FLIGHT)
        while self._store is not None and (data := read(old.fd, old.offset, BATCH)):
            old.offset = _send(self._store, old.journal, old.offset, data)
        before_removal(self.journal.durable)
        self._old = None
        try:
            os.unlink(old.path)
        finally:
            self.journal.done_with()

    def _settle(self, arrived: bool) -> None:
        """The store is closed and the waiting exit released; a journal that arrived whole goes."""
        self._let_go(arrived)
        self._done.release()

    @_store_step
    def _let_go(self, arrived: bool) -> None:
        whole = arrived and not self._stopped and self._offset == self.journal.size()
        if whole and not self._unfinished:
            before_removal(self.journal.durable)
            # Not closed: a thread may be just about to write, and numbers are used again.
            os.unlink(self.journal.path)
            while self._ship():  # what such a thread wrote at the last moment
                continue
        if self._store is not None:
            self._store.close()


def _send(store: Backend, journal: str, offset: int, data: bytes) -> int:
    """Append, and return where the store stands then."""
    try:
        return store.append(journal, offset, data)
    except OffsetMismatch as other:  # a command on this host was faster, or the store was emptied
        return other.expected


# --- forks ---------------------------------------------------------------------------------------------------


def _before_fork() -> None:
    """A module that our thread is importing would stay locked in the child for ever, and whoever imports it there would
    hang: the fork waits until the import is over. Where it is a store that hangs, it does not wait a second time."""
    global _patience, _holder
    if _patience and loading.acquire(timeout=_patience):
        _holder = _thread.get_ident()
    else:
        _patience = 0.0


def _after_fork_in_parent() -> None:
    global _holder
    if _holder == _thread.get_ident():
        _holder = 0
        loading.release()


def _after_fork_in_child() -> None:
    global loading, _patience, _holder
    loading, _patience, _holder = _thread.allocate_lock(), FORK_SECONDS, 0


_patience, _holder = FORK_SECONDS, 0
os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
