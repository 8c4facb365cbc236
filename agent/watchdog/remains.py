"""A journal whose process may be gone: whether it is, what is left to be sent, and how a verdict is appended."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from errno import ENOSPC

from ...backends.base import Backend
from ...backends.errors import OffsetMismatch
from .. import identity
from ..journal import read
from .headers import Header

BATCH = 2**20  # bytes of one append


def is_dead(fd: int, header: Header) -> bool:
    """Whether the process is gone; then this descriptor holds a lock that keeps every other adopter away."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of adopters: another kind than the process's own
    except BlockingIOError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # A child that C code forked holds on to a copy of its parent's lock.
        return identity.alive(header) is False
    if identity.alive(header) and not is_closed(fd):
        fcntl.flock(fd, fcntl.LOCK_UN)  # it replaced its program, or is just about to close: ask again later
        return False
    return True


def is_closed(fd: int) -> bool:
    """Whether the process wrote that it is done with the journal."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, 4096, max(0, size - 4096))
    last = tail[tail.rfind(b"\n", 0, -1) + 1 :]
    return last.startswith(b'{"event":"close"')


def ship(
    fd: int,
    journal: str,
    offset: int,
    backend: Backend,
    cleared: Callable[[bytes, int], bytes] | None = None,
) -> int:
    """Send everything from `offset` on, or from where the store really stands; return where it stands then. `cleared`
    is given the bytes and their offset, and answers what of them is sent: as many."""
    while data := read(fd, offset, BATCH):
        try:
            offset = backend.append(journal, offset, data if cleared is None else cleared(data, offset))
        except OffsetMismatch as other:
            if other.expected > os.fstat(fd).st_size:
                return other.expected
            offset = other.expected
    return offset


def end_of_torn(fd: int, size: int) -> bytes:
    """What closes a torn tail, so that the verdict begins a line of its own."""
    return b"\n" if size and os.pread(fd, 1, size - 1) != b"\n" else b""


def append(fd: int, data: bytes) -> None:
    """All of it: a disk that is about to be full takes a part, and a verdict that is cut off is none."""
    if os.write(fd, data) != len(data):
        raise OSError(ENOSPC, os.strerror(ENOSPC))
