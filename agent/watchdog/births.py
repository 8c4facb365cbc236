"""Noticing a journal the moment it appears (inotify), so that its process is followed from its first moments.

Where there is no inotify (not Linux, limits reached), the next sweep finds it.
"""

from __future__ import annotations

import ctypes
import os
import struct

MOVED_IN = 0x80  # IN_MOVED_TO: a journal gets its name by a rename, when it is locked and has its header
OVERFLOW = 0x4000  # IN_Q_OVERFLOW: more appeared than the kernel would note down
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


class Births:
    """Watches `folder`; `fd` is readable when something appeared in it, and -1 where that cannot be known."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.fd = _watch(folder)

    def names(self) -> list[str] | None:
        """What appeared since the last call; None where some of it is not known."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        found = []
        while data:
            _, mask, _, length = _EVENT.unpack_from(data)
            if mask & OVERFLOW:
                return None
            end = _EVENT.size + length
            found.append(os.fsdecode(data[_EVENT.size : end].rstrip(b"\0")))
            data = data[end:]
        return found

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _watch(folder: str) -> int:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "inotify_init1"):
        return -1
    fd = int(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
    if fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(folder), MOVED_IN) < 0:
        os.close(fd)
        return -1
    return fd
