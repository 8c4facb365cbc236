"""The kernel's counts of processes that it killed for want of memory: of a memory cgroup (v1 and v2), of the host."""

from __future__ import annotations

from . import identity

GROUPS = "/sys/fs/cgroup"


def text(path: str) -> str:
    """A file of the kernel's; "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(2**20)
    except OSError:
        return ""


def kills(file: str) -> int | None:
    """The line `oom_kill N` of a cgroup's memory.events (v2), memory.oom_control (v1) or /proc/vmstat."""
    for line in text(file).splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdecimal():
            return int(value)
    return None


def counter(pid: int | str = "self", proc: str = "", groups: str = GROUPS) -> str | None:
    """The file with the count of a live process's own memory cgroup; None where there is none that can be read."""
    for line in text(f"{proc or identity.PROC}/{pid}/cgroup").splitlines():
        kinds, _, path = line.partition(":")[2].partition(":")
        if kinds == "":
            file = f"{groups}{path.rstrip('/')}/memory.events"
        elif "memory" in kinds.split(","):
            file = f"{groups}/memory{path.rstrip('/')}/memory.oom_control"
        else:
            continue
        if kills(file) is not None:
            return file
    return None


def around_us() -> int:
    """The count of this process's own cgroup, else of the host; 0 where the system tells neither."""
    return kills(counter() or f"{identity.PROC}/vmstat") or 0
