"""What kills boxes of scripts: a full disk, memory that runs out, more work than there are cores. Read, then judged.

Reading is thin and goes through one folder (`/proc`), so that a test can lay out its own; what a system does not tell
is None and judged by nobody. Judging is pure.

Not guaranteed: inside a container the figures of memory and load are the host's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator

from attrs import field, frozen

from ...backends.schedule import format_duration
from .. import identity
from ..oom_kills import kills, text
from ..settings import HostSettings, Room

EASED = 0.2  # a signal is over when it is so much of its threshold on the good side
KILLED_FOR = 600.0  # seconds for which the kernel's killing for want of memory is told


@frozen
class Reading:
    """One look at a host. `disks`: by path, bytes free and in all. Memory in bytes; `pressure` is the share of the last
    minute in which some task waited for memory (percent), `load` the mean of five minutes per core; `oom_kills` counts
    since boot. None: the system does not say."""

    disks: dict[str, tuple[int, int]] = field(factory=dict)
    memory: tuple[int, int] | None = None
    pressure: float | None = None
    load: float | None = None
    oom_kills: int | None = None


@frozen
class Signal:
    """Something is wrong with the host: `event` (disk, memory, load), `about` what, and `text` for people."""

    event: str
    about: str
    text: str


def read(paths: Iterable[str], proc: str = "", cores: int | None = None) -> Reading:
    """Look at this host; a path that does not exist is left out. Raises nothing."""
    proc = proc or identity.PROC
    return Reading(
        disks={path: room for path in paths if (room := _disk(path)) is not None},
        memory=_memory(text(f"{proc}/meminfo")),
        pressure=_pressure(text(f"{proc}/pressure/memory")),
        load=_load(text(f"{proc}/loadavg"), cores or os.cpu_count() or 1),
        oom_kills=kills(f"{proc}/vmstat"),
    )


def judge(
    reading: Reading, host: HostSettings, lasting: Collection[tuple[str, str]] = (), killed: int = 0
) -> list[Signal]:
    """What is wrong. `lasting` are event and subject of what was wrong before: it is over only when it is clearly
    better, not at the threshold. `killed` processes the kernel killed lately for want of memory."""
    found = [*_full(reading, host, lasting), *_short_of_memory(reading, host, lasting)]
    if killed:
        said = f"the kernel killed {killed} process{'es' * (killed > 1)} for want of memory"
        found.append(Signal("memory", "kills", f"{said} in the last {format_duration(KILLED_FOR)}"))
    if reading.load is not None and reading.load > _above(host.load, ("load", "load") in lasting):
        said = f"load is {reading.load:.1f} per core, more than {host.load:g}, over five minutes"
        found.append(Signal("load", "load", said))
    return found


def _full(reading: Reading, host: HostSettings, lasting: Collection[tuple[str, str]]) -> Iterator[Signal]:
    for path, (free, total) in reading.disks.items():
        least = least_of(host.disk_free, total)
        if free < _below(least, ("disk", path) in lasting):
            said = f"{size(free)} of {size(total)} free at {path}, less than {size(least)}"
            yield Signal("disk", path, said)


def _short_of_memory(
    reading: Reading, host: HostSettings, lasting: Collection[tuple[str, str]]
) -> Iterator[Signal]:
    if reading.memory is not None:
        free, total = reading.memory
        least = least_of(host.memory_free, total)
        if free < _below(least, ("memory", "free") in lasting):
            said = f"{size(free)} of {size(total)} of memory available, less than {size(least)}"
            yield Signal("memory", "free", said)
    most = _above(host.memory_pressure, ("memory", "pressure") in lasting)
    if reading.pressure is not None and reading.pressure > most:
        said = (
            f"tasks wait for memory {reading.pressure:.0f}% of the time, more than {host.memory_pressure:g}%"
        )
        yield Signal("memory", "pressure", said)


def least_of(room: Room, total: int) -> float:
    """Bytes that should be free, of `total`: where a size and a share are given, the lesser of the two."""
    asked = [room.size, None if room.percent is None else total * room.percent / 100]
    return min((each for each in asked if each is not None), default=0.0)


def _below(threshold: float, lasting: bool) -> float:
    return threshold * (1 + EASED) if lasting else threshold


def _above(threshold: float, lasting: bool) -> float:
    return threshold * (1 - EASED) if lasting else threshold


def size(count: float) -> str:
    """`512 MB`, `1.2 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


# --- the kernel's files --------------------------------------------------------------------------------------


def booted_at(proc: str = "") -> float | None:
    """When this host was started, Unix seconds."""
    for line in text(f"{proc or identity.PROC}/stat").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return None


def _disk(path: str) -> tuple[int, int] | None:
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return usage.free, usage.total


def _memory(meminfo: str) -> tuple[int, int] | None:
    found = {line.partition(":")[0]: line.split() for line in meminfo.splitlines() if ":" in line}
    try:
        return int(found["MemAvailable"][1]) * 1024, int(found["MemTotal"][1]) * 1024
    except (KeyError, IndexError, ValueError):
        return None


def _pressure(psi: str) -> float | None:
    words = next((line.split() for line in psi.splitlines() if line.startswith("some ")), [])
    shares = [word.removeprefix("avg60=") for word in words if word.startswith("avg60=")]
    try:
        return float(shares[0])
    except (IndexError, ValueError):
        return None


def _load(loadavg: str, cores: int) -> float | None:
    try:
        return float(loadavg.split()[1]) / cores
    except (IndexError, ValueError):
        return None
