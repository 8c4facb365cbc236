"""What the slots of a limit look like on disk, and the one way to tell whether a file is held.

    HOLTER_HOME/slots/<limit>/slot-000 ...          one file per slot
    HOLTER_HOME/slots/<limit>/queue/<time>-<token>  one file per waiter, in the order of their names

A slot is taken, and a waiter is there, exactly as long as the kernel's lock on the file is held. What is written into
the file (who, since when) comes after the lock and is for people: nothing is decided by it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any
from urllib.parse import quote, unquote

from ..backends.errors import SettingsError, StorageError
from . import identity
from .shared_home import is_guest

FREE, HELD, UNUSABLE = "free", "held", "unusable"
_NOT_OURS = (errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV)
RECORD_LIMIT = 4096  # bytes that are read of what a holder wrote
_SLOT = re.compile(r"slot-(\d{3,9})")
_TICKET = re.compile(r"\d{20}-[0-9a-z]{8}")


@dataclass(frozen=True, slots=True)
class Place:
    """A slot, or a waiter in the queue, of one limit.

    `number` is the slot's, or the position in the queue from 0. `held` is the kernel's answer: the file is locked.
    The rest is what the holder wrote of itself: `host`, `pid`, `run_id`, `run_name`, `since` (Unix seconds) and
    `occupy`; each None for a free slot and where nothing usable is written (for an instant after a slot changed hands).
    `alive` compares pid and start time: False beside `held` means that the writer is gone, and either a process that it
    started in C still holds the lock or the next holder has not written yet; None where pids prove nothing.
    """

    limit: str
    number: int
    held: bool
    host: str | None = None
    pid: int | None = None
    run_id: str | None = None
    run_name: str | None = None
    since: float | None = None
    occupy: int | None = None
    alive: bool | None = None


def limits(home: str) -> list[str]:
    """Every limit that was ever used in this home, by name. Raises StorageError where the folder cannot be read."""
    with _readable(f"{home}/slots") as folder:
        names = [name for name in _names(folder) if os.path.isdir(f"{folder}/{name}")]
    return sorted(limit for name in names if _escaped(limit := unquote(name)) == name)


def holders(home: str, limit: str) -> list[Place]:
    """The slots of a limit that exist on disk, held and free, by number. Looking never takes a slot from anybody."""
    with _readable(folder_of(home, limit)) as folder:
        return [_place(limit, number, slot_path(folder, number)) for number in slot_numbers(folder)]


def waiters(home: str, limit: str) -> list[Place]:
    """Who waits for a limit, the next one first. What dead waiters left behind is not shown."""
    with _readable(folder_of(home, limit)) as folder:
        found = [_place(limit, 0, f"{folder}/queue/{name}") for name in tickets(folder)]
    return [replace(place, number=number) for number, place in enumerate(filter(_is_held, found))]


# --- names ---------------------------------------------------------------------------------------------------


def file_name(limit: str) -> str:
    """The folder's name of a limit: percent-escaped, so that no name leads elsewhere. Raises SettingsError."""
    name = _escaped(limit)
    if not 0 < len(name) <= 200:
        raise SettingsError(f"{limit[:40]!r} cannot name a limit", hint="use 1 to 200 plain characters")
    return name


def _escaped(limit: str) -> str:
    name = quote(limit, safe="", errors="surrogatepass")
    return "%2E" + name[1:] if name.startswith(".") else name


def folder_of(home: str, limit: str) -> str:
    return f"{home}/slots/{file_name(limit)}"


def slot_path(folder: str, number: int) -> str:
    return f"{folder}/slot-{number:03d}"


def slot_numbers(folder: str) -> list[int]:
    """The slots that have a file, also those beyond today's number of slots."""
    matches = (_SLOT.fullmatch(name) for name in _names(folder))
    return sorted({int(match[1]) for match in matches if match})


def tickets(folder: str) -> list[str]:
    """The waiters' files, the oldest first."""
    return sorted(name for name in _names(f"{folder}/queue") if _TICKET.fullmatch(name))


def drafts(folder: str) -> list[str]:
    """Tickets that are being made, or whose maker died while it made them."""
    return [name for name in _names(f"{folder}/queue") if name.startswith(".")]


def make_folder(home: str, limit: str) -> str:
    """Make a limit's folder and return it. Raises OSError; a symbolic link in its place is refused."""
    os.makedirs(home, mode=0o700, exist_ok=True)
    folder = folder_of(home, limit)
    # In a home of several users the watchdog makes the folders, so that nobody can remove a held slot.
    if is_guest(home):
        if not os.path.isdir(f"{folder}/queue"):
            raise PermissionError(13, "no limit of this system-wide home's settings", folder)
        return folder
    for path in (f"{home}/slots", folder, f"{folder}/queue"):
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or os.geteuid() not in (0, found.st_uid):
            raise NotADirectoryError(20, "not a folder of this user", path)
    return folder


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


# --- looking -------------------------------------------------------------------------------------------------


def look(path: str) -> tuple[str, bytes]:
    """Ask the kernel: `held` (and what its holder wrote), `free` (also where there is no file yet), or `unusable`.

    Unusable is what no holder of ours can have made: a link, a folder, a pipe, a file of another user. Two that look
    at once do not see each other; whoever wants the lock in just that instant has to try once more. Raises OSError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return FREE, b""
    except OSError as error:
        if error.errno in _NOT_OURS:
            return UNUSABLE, b""
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return UNUSABLE, b""
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing alone would not do: a child forked just now has a copy of it
        return FREE, b""
    except BlockingIOError:
        return HELD, os.pread(fd, RECORD_LIMIT, 0)
    finally:
        os.close(fd)


def record(occupy: int, since: float, run_id: str | None, run_name: str | None) -> bytes:
    """What this process writes into a file that it holds: one line of JSON."""
    me = identity.me()
    who = {key: me[key] for key in ("host", "boot", "namespace", "pid", "start_ticks")}
    about = {"run_id": run_id, "run_name": run_name and run_name[:200], "since": since, "occupy": occupy}
    return json.dumps({**who, **about}).encode() + b"\n"


@contextmanager
def _readable(folder: str) -> Iterator[str]:
    try:
        yield folder
    except OSError as error:
        message = f"cannot look at {error.filename or folder}: {error.strerror or error}"
        raise StorageError(message, hint="check HOLTER_HOME and its owner") from error


def _place(limit: str, number: int, path: str) -> Place:
    state, text = look(path)
    return Place(limit, number, True, **_read(text)) if state == HELD else Place(limit, number, False)


def _is_held(place: Place) -> bool:
    return place.held


def _read(text: bytes) -> dict[str, Any]:
    """What a holder wrote, as far as it can be believed; anybody may have written anything into the file."""
    try:
        found = json.loads(text.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    pid, ticks = _number(found.get("pid")), _number(found.get("start_ticks"))
    since = found.get("since")
    who = {key: found.get(key) for key in ("boot", "namespace")}
    return {
        **{key: _text(found.get(key)) for key in ("host", "run_id", "run_name")},
        "pid": pid,
        "since": since if isinstance(since, float) and isfinite(since) else None,
        "occupy": _number(found.get("occupy")),
        "alive": identity.alive({**who, "pid": pid, "start_ticks": ticks}),
    }


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value < 2**63 else None


def _text(value: Any) -> str | None:
    return "".join(filter(str.isprintable, value[:200])) if isinstance(value, str) else None
