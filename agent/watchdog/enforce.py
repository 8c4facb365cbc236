"""Time limits from outside: what its own process cannot interrupt (C code that never comes back) is ended here.

The limits are `timeout_seconds` of an attempt, which its own process should have kept, and `max_duration` of a run
that asks for it (`on_overdue: kill`). GRACE seconds past one of them, the verdict TIMED_OUT is written; then the
process gets SIGTERM, and, unless it ended the run by itself meanwhile, SIGKILL after TERM_GRACE more. Where it leads a
process group, so do the others of the group.

A host that slept, or a clock that was set, must not cost a healthy run its life: time is counted on this watchdog's
monotonic clock from where it first saw the attempt or the run, and what the wall clock says of the time before that
counts only up to the limit (a single pass has nothing else to go by, and takes off all that the host slept since it
booted).

Not guaranteed: other runs of the same process end with it, since one thread cannot be ended from outside; a process
that this user may not signal is left alone; a watchdog that dies after SIGTERM does not send SIGKILL.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping

from attrs import define, field, frozen

from ...backends.base import Backend
from ...backends.clock import Clock
from ...backends.queries import RunQuery
from ...backends.records import Run
from ...backends.schedule import format_duration
from ...backends.states import OPEN
from .adopt import Live
from .bounds import GRACE, Expected
from .headers import Header, Who, who
from .judgements import Judge
from .takedown import TERM_GRACE, hold, is_dead, let_go, send


@frozen
class Limit:
    """A run may take `seconds` since `began` (Unix seconds); `key` is it and its attempt, 0 for all of the run."""

    run: Run
    key: tuple[str, int]
    began: float
    seconds: float
    said: str


@frozen
class _Condemned:
    """A process that got SIGTERM: descriptors of it and its group, itself first, and what it did not end in time."""

    members: tuple[int, ...]
    runs: tuple[str, ...]
    kill_at: float


@define
class Enforcer:
    """Remembers since when it has seen each limit, and which processes are about to be killed."""

    clock: Clock
    once: bool = False
    _seen: dict[tuple[str, int], tuple[float, float]] = field(factory=dict)
    _condemned: list[_Condemned] = field(factory=list)

    def enforce(
        self, judge: Judge, live: Iterable[Live], asked: Expected, here: Mapping[str, str] | None = None
    ) -> int:
        """End what ran past its limit in one of the `live` processes; return how many runs that were.

        `here` names the journal that a process writes now, where it went on from the one that its runs began in.
        """
        backend = asked.store
        self._kill(backend)
        headers = {each.journal: each.header for each in live}
        headers.update((old, headers[new]) for old, new in (here or {}).items() if new in headers)
        limits = [
            limit
            for run in backend.runs(RunQuery(states=OPEN, limit=None))
            if run.journal in headers
            for limit in limits_of(run, asked)
        ]
        elapsed = self._elapsed(limits)
        late: dict[Who, tuple[Header, dict[str, Limit]]] = {}
        for limit in limits:
            if elapsed[limit.key] > limit.seconds + GRACE:
                header = headers[str(limit.run.journal)]
                late.setdefault(who(header), (header, {}))[1].setdefault(limit.run.id, limit)
        ended = sum(self._condemn(header, passed.values(), judge) for header, passed in late.values())
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

    def _elapsed(self, limits: Iterable[Limit]) -> dict[tuple[str, int], float]:
        """Seconds that each has run, as far as that is certain."""
        now, held, self._seen = self.clock.monotonic(), self._seen, {}
        for each in limits:
            before = max(0.0, self.clock.wall() - each.began - _slept())
            first = now, before if self.once else min(before, each.seconds)
            self._seen[each.key] = held.get(each.key, first)
        return {key: before + now - since for key, (since, before) in self._seen.items()}

    def _condemn(self, header: Header, passed: Collection[Limit], judge: Judge) -> int:
        members = tuple(hold(header))
        if not members:
            return 0
        for each in reversed(list(passed)):
            judge.end(each.run.id, "TIMED_OUT", each.said)
        send(members, signal.SIGTERM)
        names = tuple(each.run.id for each in passed)
        self._condemned.append(_Condemned(members, names, self.clock.monotonic() + TERM_GRACE))
        return len(passed)

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


def limits_of(run: Run, asked: Expected) -> Iterator[Limit]:
    """The limits that a live run is to be held to from outside."""
    check = asked.of(run)
    seconds = check.get("timeout_seconds")
    began = run.attempt_started_at
    if isinstance(seconds, int | float) and began is not None and run.state == "RUNNING":
        said = f"ran longer than timeout_seconds={seconds:g} and could only be ended from outside"
        yield Limit(run, (run.id, run.attempt), began, float(seconds), said)
    if check["kill_after"] is not None and run.started_at is not None:
        said = f"ran longer than max_duration {format_duration(check['kill_after'])}: ended by the watchdog"
        yield Limit(run, (run.id, 0), run.started_at, check["kill_after"], said)


def _slept() -> float:
    """Seconds that this machine was suspended since it booted."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC))


def _ended_itself(backend: Backend, run_id: str) -> bool:
    return any(event["event"] == "end" for event in backend.events(run_id))
