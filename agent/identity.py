"""Who a process is: boot id, PID namespace, pid and start time, which no other process ever shares.

A pid alone is recycled, and pid 1 exists in every container; a start time alone moves with NTP. So the kernel's
start ticks are used, and they count only inside the same boot and the same PID namespace.
"""

from __future__ import annotations

import os
import sys
import time
from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROC = "/proc"  # the one door to the kernel's tables: a simulated machine lays out a folder of its own


def host() -> str:
    """This machine's name. (HOLTER_TEST_HOST is for tests that make two hosts out of one.)"""
    return os.environ.get("HOLTER_TEST_HOST") or os.uname().nodename


def boot_id() -> str:
    """The kernel's id of this boot; "" where there is none (not Linux). (HOLTER_TEST_BOOT is for tests.)"""
    return os.environ.get("HOLTER_TEST_BOOT") or _read(f"{PROC}/sys/kernel/random/boot_id").strip()


def namespace() -> int:
    """Inode of this process's PID namespace; 0 where there is none."""
    try:
        return os.stat(f"{PROC}/self/ns/pid").st_ino
    except OSError:
        return 0


def time_namespace() -> int:
    """Inode of this process's time namespace, inside which monotonic clocks agree; 0 where there is none."""
    try:
        return os.stat(f"{PROC}/self/ns/time").st_ino
    except OSError:
        return 0


def start_ticks(pid: int) -> int:
    """When `pid` started, in clock ticks since boot; 0 if there is no such process, it is a zombie, or no /proc."""
    return _start_ticks(pid) or 0


def _start_ticks(pid: int) -> int | None:
    """The same; None where the kernel would not let us look (no descriptor left), which proves nothing."""
    stat = _look(f"{PROC}/{pid}/stat")
    if stat is None:
        return None
    fields = stat[stat.rfind(")") + 2 :].split()  # the command may contain spaces and parentheses
    # A zombie with threads lives on in them.
    if len(fields) <= 19 or (fields[0] in "ZX" and int(fields[17]) <= 1):
        return 0
    return int(fields[19])


def alive(header: dict[str, Any]) -> bool | None:
    """Whether the process that wrote this journal header lives; None where pids prove nothing.

    Pids prove nothing for another boot's, another host's or another PID namespace's process.
    """
    pid = header.get("pid")
    if not header.get("boot") or header["boot"] != boot_id() or header.get("namespace") != namespace():
        return None
    ticks = _start_ticks(pid) if isinstance(pid, int) else None
    return None if ticks is None else ticks == header.get("start_ticks") != 0


def age(header: dict[str, Any], since_boot: float | None) -> float | None:
    """Seconds since the process of a journal header started, where it is `since_boot` since this host did: a clock that
    nobody can set. None where that is not known, or the process is of another boot."""
    ticks = header.get("start_ticks")
    if since_boot is None or not isinstance(ticks, int) or not ticks or header.get("boot") != boot_id():
        return None
    return max(0.0, since_boot - ticks / os.sysconf("SC_CLK_TCK"))


def foreign(header: dict[str, Any]) -> bool:
    """Whether the journal was written on another machine (a shared folder): such a journal is never judged here."""
    return header.get("host") != host()


def rebooted(header: dict[str, Any]) -> bool:
    """Whether this machine was restarted since the journal was opened."""
    mine = boot_id()
    return not foreign(header) and bool(mine) and bool(header.get("boot")) and header["boot"] != mine


def me() -> dict[str, Any]:
    """What a journal's first line says of its process, the command line aside (that may hold secrets)."""
    return {
        "host": host(),
        "boot": boot_id(),
        "namespace": namespace(),
        "pid": os.getpid(),
        "start_ticks": start_ticks(os.getpid()),
        "user": _user(),
        "python": sys.version.partition(" ")[0],
        "zone": time.tzname[time.localtime().tm_isdst > 0],
        "utc_offset": time.localtime().tm_gmtoff,
    }


def code_of(script: str | None) -> dict[str, Any] | None:
    """The script's file, its checksum and, inside a git checkout, the commit that is checked out there."""
    if not script:
        return None
    path = os.path.abspath(script)
    return {"file": path, "git_commit": _git_commit(os.path.dirname(path)), "crc": _crc(path)}


def _crc(path: str) -> str | None:
    """A checksum of the script's first megabyte: whether it is the same, nothing more."""
    try:
        with open(path, "rb") as file:
            return f"{crc32(file.read(1 << 20)):08x}"
    except OSError:
        return None


def _git_commit(folder: str) -> str | None:
    while True:
        head = _read(f"{folder}/.git/HEAD").strip()
        if head:
            break
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    if not head.startswith("ref: "):
        return head
    name = head[5:]
    loose = _read(f"{folder}/.git/{name}").strip()
    if loose:
        return loose
    for line in _read(f"{folder}/.git/packed-refs").splitlines():
        if line.endswith(f" {name}"):
            return line.partition(" ")[0]
    return None


def _user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return str(os.getuid())


def _read(path: str) -> str:
    return _look(path) or ""


def _look(path: str) -> str | None:
    """What is there: "" where there is nothing, None where that cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return ""
    except OSError:
        return None
    try:
        return os.read(descriptor, 65536).decode("utf-8", "replace")
    except ProcessLookupError:  # it went between the two calls
        return ""
    except OSError:
        return None
    finally:
        os.close(descriptor)
