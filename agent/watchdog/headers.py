"""Who wrote a journal, as its first line says."""

from __future__ import annotations

import os
from sys import intern

from ...backends.lines import decode
from ...backends.soundness import HEADER, fits
from ..journal import read

Header = dict[str, object]
Who = tuple[object, ...]


def who(header: Header) -> Who:
    """What tells the process of a header from every other of this host: a pid alone is in each PID namespace once."""
    return tuple(header.get(key) for key in ("boot", "namespace", "pid", "start_ticks"))


def header_of(fd: int) -> Header | None:
    """The journal's first event, which says whose it is; None where it is no such thing, or cannot be read."""
    try:
        first = next(decode(read(fd, 0, 16 * 1024)), (0, None))[1]
    except ValueError:
        return None
    if first is None or first["event"] != "process" or not fits(HEADER, first):
        return None
    # Thousands of live journals say the same words, and are kept for as long as they live.
    return {intern(key): intern(value) if type(value) is str else value for key, value in first.items()}


def header_at(path: str) -> Header | None:
    """The same for what may be gone already, or be no journal at all."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return header_of(fd)
        finally:
            os.close(fd)
    except OSError:
        return None
