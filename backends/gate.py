"""A lock between the processes of one host: `flock` on a file that stays. A store's writers take turns at it (blocking,
and fair); a slot, a place in a queue and the one watchdog are held with it.

SQLite's own busy handler is a lottery with tails of seconds; the kernel queues those who wait for a `flock` and frees
it when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager

from .errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN: set[Gate] = set()


class Gate:
    """The lock on the file `path`, made where it is missing (mode 0600). Not re-entrant, not for two threads at once.

    `timeout` (seconds) bounds the wait of `held`, which then polls every few milliseconds; None blocks, in order of
    arrival. A forked child does not hold what its parent holds.
    """

    __slots__ = ("_fd", "path", "timeout")

    def __init__(self, path: str, timeout: float | None = 0.0) -> None:
        """Raises OSError where the file cannot be made."""
        self.path = path
        self.timeout = timeout
        self._fd = self._open()
        _OPEN.add(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock. Raises StorageError where it was not free in time, or the gate is closed."""
        if not self.take(self.timeout):
            raise StorageError(
                f"another writer holds {self.path}", hint="try again; `holter doctor` tells more"
            )
        try:
            yield
        finally:
            self.give()

    def take(self, timeout: float | None) -> bool:
        """Whether the lock was had within `timeout` seconds; `give` it back. OSError where its folder is gone."""
        if self._fd < 0:
            raise StorageError(
                f"{self.path} is closed here", hint="after a fork, or a close, open the store again"
            )
        while _lock(self._fd, timeout):
            if os.fstat(self._fd).st_nlink:
                return True
            fd = self._open()  # somebody deleted the store: a lock on a file without a name excludes nobody
            os.close(self._fd)
            self._fd = fd
        return False

    def give(self) -> None:
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def sign(self, text: bytes) -> None:
        """Write into the file, which the lock is held of. Raises OSError, as with a full disk."""
        os.pwrite(self._fd, text, 0)

    def close(self) -> None:
        """Let go of the lock and its file. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        _OPEN.discard(self)

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _lock(descriptor: int, timeout: float | None) -> bool:
    if timeout is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.004)
        else:
            return True


def _let_go_after_fork() -> None:
    """A copy of the descriptor in a child would hold the lock for as long as the child lives."""
    for gate in tuple(_OPEN):
        gate.close()


os.register_at_fork(after_in_child=_let_go_after_fork)
