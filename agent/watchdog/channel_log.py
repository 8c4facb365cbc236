"""The channel that writes a line for each alert into a file."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from json import dumps
from typing import TYPE_CHECKING

from ...backends.errors import ChannelError
from .channel_common import within
from .fitting import printable, title_of
from .message import exception_line

if TYPE_CHECKING:
    from ...backends.records import Json

_MISPLACED = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)  # where another try will not help


class Log:
    """Appends each alert to a file: one line for people, or its JSON where the name ends in `.jsonl`. The file is made
    with mode 0600 and opened anew for each alert, so that it may be rotated by name at any time.

    Not guaranteed: that the line survives a loss of power.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.expanduser(path)
        if not os.path.isabs(self._path):
            hint = "write log: /var/log/holter-alerts.log, or ~/alerts.log"
            raise ChannelError("the log's path is not absolute", permanent=True, hint=hint)
        self._write = dumps if path.endswith(".jsonl") else line_of

    def send(self, alert: Json, timeout: float) -> None:
        line = f"{self._write(alert)}\n".encode()
        within(timeout, f"log {self._path}", lambda: self._append(line))

    def _append(self, line: bytes) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)  # else a line that is just being written looks torn
                if _torn(fd):
                    line = b"\n" + line
                if os.write(fd, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(fd)
        except OSError as error:
            permanent = error.errno in _MISPLACED
            hint = (
                "name a file in a folder that is there and that the watchdog may write to"
                if permanent
                else ""
            )
            raise ChannelError(
                f"log {self._path}: {error.strerror}", permanent=permanent, hint=hint
            ) from error


def line_of(alert: Json) -> str:
    """`2026-11-24T02:10:54.000Z crashed: etl crashed on web-1: killed by signal 9 (crashed:r1)`."""
    why = exception_line(alert.get("error")) or str(alert.get("reason") or "")
    said = " ".join(printable(why).split())
    key = " ".join(printable(str(alert["dedupe_key"])).split())
    return f"{alert['at']} {alert['event']}: {title_of(alert)}{f': {said}' if said else ''} ({key})"


def _torn(fd: int) -> bool:
    """Whether a full disk cut the last line short."""
    found = os.fstat(fd)
    return stat.S_ISREG(found.st_mode) and found.st_size > 0 and os.pread(fd, 1, found.st_size - 1) != b"\n"
