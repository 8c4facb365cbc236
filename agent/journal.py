"""The flight recorder: one append-only file per process, locked for as long as that process lives.

An event is one line and one `os.write` to an O_APPEND descriptor: no lock shared with anybody, no database, no
network. The page cache outlives the process, so an event whose write returned survives `kill -9`. It does not survive
the loss of power, unless the journal is a durable one: then what must not be lost is also synced to the disk.

The lock is a raw `flock` on the journal itself. The kernel frees it when the process dies, which is the proof of
death; a forked child closes its copy at once (`let_go`), because an inherited descriptor would keep the lock.
"""

from __future__ import annotations

import fcntl
import os

from ..backends.clock import new_id
from ..backends.lines import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUFFIX = ".jsonl"
FORMAT = 1
LONGEST = 2**26  # bytes of a line that are taken into memory


class Journal:
    """A journal of this process, open for writing.

    `id` names it in every store, `path` is its file, `fd` the descriptor that is written to. After `rotate` the
    same descriptor number leads to the new file, so a writer in another thread can never write to a closed one;
    `replaced` is that of the old file, until it is `done_with` (-1: there is none).
    """

    __slots__ = ("durable", "fd", "folder", "header", "id", "path", "replaced", "torn")

    def __init__(self, folder: str, header: dict[str, Any]) -> None:
        """Create and lock a journal in `folder` (made if missing, mode 0700); it is durable where the header says so.
        Raises OSError."""
        self.folder = folder
        self.header = header
        self.durable = is_durable(header)
        self.torn = False
        self.replaced = -1
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self.id, self.path, self.fd = self._create()

    def _create(self) -> tuple[str, str, int]:
        """Locked and with its header before it has its name: nobody ever sees it unlocked."""
        journal = new_id()
        path = f"{self.folder}/{journal}{SUFFIX}"
        draft = f"{self.folder}/.{journal}"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(draft, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            line = encode({"event": "process", "journal": journal, "format": FORMAT, **self.header})
            if os.write(fd, line) != len(line):
                raise OSError(28, "no space left for a journal")
            if self.durable:
                os.fsync(fd)
            os.rename(draft, path)
            if self.durable:
                _sync_names(folder=self.folder)
        except BaseException:
            os.close(fd)
            _remove(draft, path)
            raise
        return journal, path, fd

    def write(self, line: bytes, keep: bool = False) -> None:
        """Append one sealed line; in a durable journal, one to `keep` is on the disk when this returns. Raises OSError
        where it is not whole on the file (disk full), or not on the disk."""
        if self.torn:  # a newline closes what a short write left behind, so that it costs no other line
            line = b"\n" + line
        written = os.write(self.fd, line)
        if written != len(line):
            self.torn = True
            raise OSError(28, "the disk is full: an event could not be recorded")
        self.torn = False
        if keep and self.durable:
            os.fdatasync(self.fd)

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def rotate(self) -> tuple[str, str, int]:
        """Go on in a new file; return (id, path, descriptor) of the old one, still locked, for the last reader."""
        self.replaced = os.dup(self.fd)  # the duplicate keeps the old file's lock
        old = self.id, self.path, self.replaced
        try:
            journal, path, fd = self._create()
        except BaseException:  # the disk is full; it is tried again and again
            self.done_with()
            raise
        os.dup2(fd, self.fd, inheritable=False)  # atomic: a write in flight lands in the one or the other
        os.close(fd)
        self.id, self.path = journal, path
        return old

    def done_with(self) -> None:
        """Let go of the file that was replaced."""
        fd, self.replaced = self.replaced, -1
        if fd >= 0:
            os.close(fd)

    def let_go(self) -> None:
        """Close the descriptors, and with them the locks (in a forked child: only these copies of them)."""
        self.done_with()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def is_durable(header: dict[str, Any]) -> bool:
    return header.get("durability") == "host"


def before_removal(durable: bool) -> None:
    """Stores do not sync every batch that they take. A durable journal is what is left of it after the loss of power,
    so it goes only when everything that this host has written, the store too, is on the disk."""
    if durable:
        os.sync()


def _sync_names(folder: str) -> None:
    """A file's name is in its folder, and so on; the home may be new too."""
    for each in (folder, os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))):
        fd = os.open(each, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _remove(*paths: str) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue


def read(fd: int, offset: int, limit: int) -> bytes:
    """Whole lines from `offset`, at most about `limit` bytes, but at least one line if there is one."""
    data = os.pread(fd, limit, offset)
    end = data.rfind(b"\n") + 1
    if end or len(data) < limit:
        return data[:end]
    if limit >= LONGEST:
        raise ValueError(f"a line of more than {LONGEST} bytes, which no process of ours wrote")
    return read(fd, offset, limit * 4)  # a single line longer than the limit
