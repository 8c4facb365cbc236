"""Time limits from outside: what its own process cannot interrupt (C code that never comes back) is ended here.

Only runs with `timeout_seconds` are touched, and only GRACE seconds after their own process should have done it. The
verdict TIMED_OUT is written first; then the process gets SIGTERM, and, unless it ended the run by itself meanwhile,
SIGKILL after TERM_GRACE more. Where it leads a process group, so do the others of the group.

A host that slept, or a clock that was set, must not cost a healthy run its life: time is counted on this watchdog's
monotonic clock from where it first saw the attempt, and what the wall clock says of the time before that counts only
up to the limit (a single pass has nothing else to go by, and takes off all that the host slept since it booted).

Not guaranteed: other runs of the same process end with it, since one thread cannot be ended from outside; a process
that this user may not signal is left alone; a watchdog that dies after SIGTERM does not send SIGKILL.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable

from attrs import define, field, frozen

from ...backends.base import Backend
from ...backends.clock import Clock
from ...backends.records import Run, RunQuery
from .adopt import Header, Live
from .judgements import Judge
from .takedown import TERM_GRACE, hold, is_dead, let_go, send

GRACE = 5.0  # seconds past the limit in which the process may still interrupt the run by itself

Attempt = tuple[str, int]


@frozen
class _Condemned:
    """A process that got SIGTERM: descriptors of it and its group, itself first, and what it did not end in time."""

    members: tuple[int, ...]
    runs: tuple[str, ...]
    kill_at: float


@define
class Enforcer:
    """Remembers since when it has seen each attempt with a limit, and which processes are about to be killed."""

    clock: Clock
    once: bool = False
    _seen: dict[Attempt, tuple[float, float]] = field(factory=dict)
    _condemned: list[_Condemned] = field(factory=list)

    def enforce(self, backend: Backend, judge: Judge, live: Iterable[Live]) -> int:
        """End what ran past its limit in one of the `live` processes; return how many runs that were."""
        self._kill(backend)
        headers = {each.journal: each.header for each in live}
        limited = [
            run
            for run in backend.runs(RunQuery(states=("RUNNING",), limit=None))
            if run.journal in headers and _limit(run) is not None
        ]
        elapsed = self._elapsed(limited)
        late: dict[str, list[Run]] = {}
        for run in limited:
            if elapsed[run.id, run.attempt] > (_limit(run) or 0.0) + GRACE:
                late.setdefault(str(run.journal), []).append(run)
        ended = sum(self._condemn(headers[journal], runs, judge) for journal, runs in late.items())
        if ended:
            judge.ship()
        return ended

    @property
    def busy(self) -> bool:
        """Whether a process that was asked to end has not ended yet."""
        return bool(self._condemned)

    def close(self, backend: Backend) -> None:
        """See the ones that got SIGTERM to their end; takes at most TERM_GRACE seconds."""
        while self._condemned:
            self.clock.sleep(0.05)
            self._kill(backend)

    def _elapsed(self, runs: Iterable[Run]) -> dict[Attempt, float]:
        """Seconds that each attempt has run, as far as that is certain."""
        now, held, self._seen = self.clock.monotonic(), self._seen, {}
        for run in runs:
            began = run.attempts[-1]["started_at"] if run.attempts else None
            before = max(0.0, self.clock.wall() - (began or self.clock.wall()) - _slept())
            first = now, before if self.once else min(before, _limit(run) or 0.0)
            self._seen[run.id, run.attempt] = held.get((run.id, run.attempt), first)
        return {attempt: before + now - since for attempt, (since, before) in self._seen.items()}

    def _condemn(self, header: Header, runs: list[Run], judge: Judge) -> int:
        members = tuple(hold(header))
        if not members:
            return 0
        for run in reversed(runs):
            limit = f"timeout_seconds={_limit(run):g}"
            judge.end(run.id, "TIMED_OUT", f"ran longer than {limit} and could only be ended from outside")
        send(members, signal.SIGTERM)
        names = tuple(run.id for run in runs)
        self._condemned.append(_Condemned(members, names, self.clock.monotonic() + TERM_GRACE))
        return len(runs)

    def _kill(self, backend: Backend) -> None:
        """SIGKILL for those whose time is up, except where all that ran too long has been ended from inside."""
        for each in list(self._condemned):
            all_gone = all(map(is_dead, each.members))
            if not all_gone and self.clock.monotonic() < each.kill_at:
                continue
            if is_dead(each.members[0]) or not all(_ended_itself(backend, run) for run in each.runs):
                send(each.members, signal.SIGKILL)
            let_go(each.members)
            self._condemned.remove(each)


def _limit(run: Run) -> float | None:
    limit = (run.check or {}).get("timeout_seconds")
    return float(limit) if isinstance(limit, int | float) else None


def _slept() -> float:
    """Seconds that this machine was suspended since it booted."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC))


def _ended_itself(backend: Backend, run_id: str) -> bool:
    return any(event["event"] == "end" for event in backend.events(run_id))
