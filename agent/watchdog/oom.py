"""Was it the kernel, for want of memory? The counters of OOM kills, before and after a death.

A SIGKILL leaves no word, and only a parent learns of the signal. But the kernel counts, in each memory cgroup and for
the whole host, the processes that it killed for want of memory. A process that is gone without a word while the
counter of its own cgroup rose, since before it was last seen alive, was killed by it.

The kernel counts first and then takes the process apart, which may be found alive meanwhile: so a kill waits for its
death for DYING seconds before it is taken for that of a process that nobody records.

Not guaranteed: where several processes of one cgroup died at once and fewer by the kernel, it may be another one.
Of a process that was never seen alive, or whose cgroup is gone with it, the host's counter is asked, which in a
container counts its neighbours too.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...backends.clock import SYSTEM, Clock
from .. import identity
from ..oom_kills import GROUPS, counter, kills
from .adopt import Live
from .headers import Header

DYING = 5.0  # seconds
REASON = "killed by the kernel: out of memory"


class Ooms:
    """Counters of the cgroups of all live processes. `begin` before a sweep, `explain` in it, `follow` after it."""

    def __init__(self, proc: str = "", groups: str = GROUPS, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._rose: dict[str, float] = {}  # since when a counter exceeds what deaths explain (monotonic)
        self._proc, self._groups = proc or identity.PROC, groups
        self._host = f"{self._proc}/vmstat"
        self._files: dict[tuple[object, ...], str] = {}  # of each process that was seen alive
        self._before: dict[str, int] = {}  # as counters were before the last sweep, less what they explained
        self._now: dict[str, int] = {}

    def begin(self) -> None:
        """A sweep begins."""
        self._now = self._counts({self._host, *self._files.values()})
        self._before = self._before or dict(self._now)

    def explain(self, header: Header) -> str | None:
        """Why the process of this journal is gone, if the kernel's counters say so. Each kill explains one death."""
        file = self._files.get(_who(header), self._host)
        count = kills(file)
        if count is None:
            file = self._host
            count = kills(file)
        before = self._before.get(file)
        if count is None or before is None or count <= before:
            return None
        self._before[file] = before + 1
        self._now[file] = max(self._now.get(file, 0), before + 1)
        return REASON

    def follow(self, live: Iterable[Live]) -> None:
        """The sweep is over and found these alive."""
        known, self._files = self._files, {}
        for each in live:
            who = _who(each.header)
            file = known.get(who) or self._file_of(each.header)
            if file is not None:
                self._files[who] = file
        self._before = {**self._counts(set(self._files.values()) - set(self._now)), **self._settled()}

    def _settled(self) -> dict[str, int]:
        """The counters as they were at this sweep; as they were before, where a kill awaits its death."""
        now = self._clock.monotonic()
        rose = [file for file, count in self._now.items() if count > self._before.get(file, count)]
        self._rose = {file: self._rose.get(file, now) for file in rose}
        waiting = {file: self._before[file] for file, since in self._rose.items() if now < since + DYING}
        return {**self._now, **waiting}

    def _file_of(self, header: Header) -> str | None:
        pid = header.get("pid")
        if not isinstance(pid, int) or not identity.alive(header):
            return None
        return counter(pid, self._proc, self._groups)

    @staticmethod
    def _counts(files: set[str]) -> dict[str, int]:
        counts = {file: kills(file) for file in files}
        return {file: count for file, count in counts.items() if count is not None}


def _who(header: Header) -> tuple[object, ...]:
    return tuple(header.get(name) for name in ("boot", "namespace", "pid", "start_ticks"))
