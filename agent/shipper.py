"""From journal to store: a daemon thread that sends what the journal gained, as bytes from an offset.

Storage is touched by this thread only, so nothing that a store does (hang, lock, raise) can reach the job. It uses at
most a twentieth of the process's time: after a batch that took t seconds it rests for 19 t. At the end of the process
it gets `EXIT_SECONDS`; what is left then stays in the journal for whoever looks next.

The thread is a bare `_thread` one: it is nobody's to list, to join or to wait for.
"""

from __future__ import annotations

import _thread
import os
import time

from ..backends.errors import OffsetMismatch, StorageError
from ..backends.lines import encode
from .journal import Journal, read
from .knobs import complain
from .tape import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backends.base import Backend

INTERVAL = 0.5  # seconds between looks at the journal
BATCH = 256 * 1024  # bytes: about a thousand events, some 20 ms of work
REST = 19  # times the time that a batch took
EXIT_SECONDS = 1.0
ROTATE_AT = 32 * 2**20  # bytes: a journal that is all shipped and this large is replaced
CAP = 256 * 2**20  # bytes waiting to be shipped: past it log lines are dropped (and counted), state events never
RETRY_AT_MOST = 30.0  # seconds between tries while the store is away


class Shipper:
    """Ships one process's journal. `carry` gives the open runs when the journal is replaced by a new file."""

    def __init__(self, journal: Journal, heartbeat: float, open_store: Callable[[], Backend], carry: Callable[[], list[str]]) -> None:
        self.journal = journal
        self.heartbeat = heartbeat
        self.behind = False  # more than CAP bytes wait: recorder drops log lines
        self._open_store = open_store
        self._carry = carry
        self._store: Backend | None = None
        self._offset = 0
        self._beats = 0
        self._wake = _thread.allocate_lock()
        self._wake.acquire()
        self._done = _thread.allocate_lock()
        self._done.acquire()
        self._closing = False
        self._stopped = False
        self.running = False

    def start(self) -> None:
        """Start the thread. Where the system refuses one, the journal waits for the next `holter` command.

        `threading` is imported here, in the caller's thread: a store may need it, and where our thread is the first to
        import it, it takes ours for the main thread and waits for it at exit, for ever (Python 3.11 and 3.12).
        """
        import threading  # noqa: F401

        _thread.start_new_thread(self._run, ())
        self.running = True

    def finish(self) -> None:
        """Ship the rest in at most EXIT_SECONDS; the journal is removed if all of it arrived."""
        self._closing = True
        if not self.running:
            return
        self._wake.release()
        self._done.acquire(timeout=EXIT_SECONDS)
        self._stopped = True  # whatever the thread is stuck in, it must not touch the journal any more

    def _run(self) -> None:
        next_beat = time.monotonic() + self.heartbeat
        rest = wait = INTERVAL
        while True:
            if not self._closing:
                self._wake.acquire(timeout=max(0.0, min(rest, next_beat - time.monotonic())))
            began = time.monotonic()
            beat = began >= next_beat and not self._closing
            if beat:
                next_beat = began + self.heartbeat
            more = self._turn(beat)
            if self._closing and not more:
                return self._settle(arrived=more is not None)
            if more is None:
                rest = wait = min(RETRY_AT_MOST, wait * 2)
            else:
                wait = INTERVAL
                rest = max(REST * (time.monotonic() - began), 0.0 if more else INTERVAL)

    @harmless
    def _turn(self, beat: bool) -> bool | None:
        """Beat if it is time, send one batch; whether there is more to send, None where the store did not take it."""
        if beat:
            self._beats += 1
            self.journal.write(encode({"event": "beat", "at": time.time(), "seq": self._beats}))
        try:
            return self._ship()
        except (StorageError, OSError) as error:
            complain(f"the store is away, records wait in the journal: {error}")
            self.behind = self.journal.size() - self._offset > CAP
            return None

    def _ship(self) -> bool:
        """Send one batch; say whether there is more."""
        if self._stopped:
            return False
        size = self.journal.size()
        if size > self._offset:
            if self._store is None:
                self._store = self._open_store()
            data = read(self.journal.fd, self._offset, BATCH)
            if not data:
                return False  # a torn tail
            try:
                self._offset = self._store.append(self.journal.id, self._offset, data)
            except OffsetMismatch as ahead:  # a command on this host was faster
                self._offset = ahead.expected
        self.behind = size - self._offset > CAP
        if size > ROTATE_AT and size == self._offset:
            self._rotate()
        return self._offset < size

    def _rotate(self) -> None:
        journal, path, fd = self.journal.rotate()
        self.journal.write(encode({"event": "carry", "runs": self._carry(), "after": journal}))
        rest = read(fd, self._offset, ROTATE_AT)  # what was in flight while the file changed
        if rest and self._store is not None:
            self._store.append(journal, self._offset, rest)
        self._offset = 0
        os.unlink(path)
        os.close(fd)

    def _settle(self, arrived: bool) -> None:
        """Nothing more can be done: the store is closed, the waiting exit released; a journal that arrived whole goes."""
        self._let_go(arrived)
        self._done.release()

    @harmless
    def _let_go(self, arrived: bool) -> None:
        if arrived and not self._stopped and self._offset == self.journal.size():
            os.unlink(self.journal.path)  # not closed: a thread may be just about to write, and numbers are used again
            while self._ship():  # what such a thread wrote at the last moment
                continue
        if self._store is not None:
            self._store.close()
