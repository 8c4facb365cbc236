"""Whether a job is well: what is expected of it, held against what was recorded.

Pure: records and one frozen `now` in, verdict out; so the watchdog, `holter status` and the pages give the
same answer. It says nothing about what has not reached the store: a run that still waits elsewhere is absent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from attrs import frozen

from .records import Json, Run
from .schedule import Schedule, format_duration, parse_duration

FAILURES = ("FAILED", "TIMED_OUT", "CRASHED")
EARLY = 5.0  # seconds by which a run may begin before its time: clocks of two hosts differ
GRACE = 300.0  # seconds, where a schedule is declared without a grace
TURNS = 100_000  # at most, of one question


@frozen
class Expectation:
    """What a job should do. Durations in seconds, None where nothing is expected.

    `schedule` says when it starts, `grace` how late it may; `max_duration` and `min_duration` bound a run;
    `fresh_within` is how old the last completed run may be.
    """

    schedule: Schedule | None = None
    grace: float = GRACE
    max_duration: float | None = None
    min_duration: float | None = None
    fresh_within: float | None = None

    @classmethod
    def of(cls, declared: Json | None, configured: object = None) -> Expectation:
        """From what the decorator `declared` (a run's `check`), overruled name by name by the settings.

        Raises ScheduleError where the schedule or its zone does not parse.
        """
        told = dict(declared or {})
        for name in _WORDS:
            if (value := getattr(configured, name, None)) is not None:
                told[name] = value
        text, zone = told.get("schedule"), told.get("timezone")
        return cls(
            schedule=Schedule.parse(text, zone) if text else None,
            grace=GRACE if told.get("grace") is None else told["grace"],
            max_duration=told.get("max_duration"),
            min_duration=told.get("min_duration"),
            fresh_within=told.get("fresh_within"),
        )

    @property
    def period(self) -> float | None:
        """Seconds of a schedule `every ...`, which counts from the last start; None for a timetable."""
        words = self.schedule.text.split() if self.schedule else []
        return parse_duration(words[1]) if words[:1] == ["every"] else None


_WORDS = ("schedule", "timezone", "grace", "max_duration", "min_duration", "fresh_within")


@frozen
class JobRecord:
    """What the store knows of one job. `last` is its newest root run, `ended` the newest that ended (one that
    was SKIPPED says nothing about the job), `completed` the newest that completed, `live` those that have not
    ended. Expectations hold from `since` on (Unix seconds): a run of the job, or when the check was
    written down."""

    name: str
    project: str = "default"
    last: Run | None = None
    ended: Run | None = None
    completed: Run | None = None
    live: tuple[Run, ...] = ()
    since: float = 0.0


@frozen
class Problem:
    """One thing that is wrong: `event` is its name in rules (`crashed`, `late`), `reason` is for people."""

    event: str
    reason: str
    run_id: str | None = None


@frozen
class Verdict:
    """The answer. `next_at` is when the job should start next (Unix seconds, None without a schedule)."""

    problems: tuple[Problem, ...] = ()
    next_at: float | None = None

    @property
    def well(self) -> bool:
        return not self.problems


def judge(job: JobRecord, expected: Expectation, now: float) -> Verdict:
    """Everything that is wrong with the job at `now` (Unix seconds), the worst first."""
    return Verdict(
        problems=(
            *_ending(job, expected),
            *_live(job, expected, now),
            *_start(job, expected, now),
            *_freshness(job, expected, now),
        ),
        next_at=_next(job, expected, now),
    )


def _ending(job: JobRecord, expected: Expectation) -> Iterable[Problem]:
    run = job.ended
    if run is None:
        return
    if run.state in FAILURES:
        yield Problem(run.state.lower(), _why(run), run.id)
    least, took = expected.min_duration, run.duration_seconds
    if run.state == "COMPLETED" and least is not None and took is not None and took < least:
        said = f"took {format_duration(took)}, less than min_duration {format_duration(least)}"
        yield Problem("short", said, run.id)


def _why(run: Run) -> str:
    if run.reason:
        return run.reason
    if run.error:
        return f"{run.error.get('type')}: {run.error.get('message')}"
    return f"exit code {run.exit_code}" if run.exit_code is not None else f"ended {run.state}"


def _live(job: JobRecord, expected: Expectation, now: float) -> Iterable[Problem]:
    for run in job.live:
        for condition in run.conditions:
            yield Problem(condition, run.reason or f"the run is {condition}", run.id)
        longest = expected.max_duration
        if "overdue" in run.conditions or longest is None or run.started_at is None:
            continue  # the watchdog's word stands; without a watchdog the clock is asked here
        if now - run.started_at > longest:
            yield Problem("overdue", f"runs longer than max_duration {format_duration(longest)}", run.id)


def _start(job: JobRecord, expected: Expectation, now: float) -> Iterable[Problem]:
    """`missed`: a whole turn went by without a run. `late`: this one's is not there in time."""
    turn, before = _last_turns(job, expected, now)
    if before is not None and before >= job.since and _none_since(job, before):
        yield Problem("missed", f"expected {_ago(now - before)} ago, and no run came")
    elif turn is not None and turn >= job.since and _none_since(job, turn) and now > turn + expected.grace:
        yield Problem("late", f"expected {_ago(now - turn)} ago (grace {_ago(expected.grace)})")


def _last_turns(job: JobRecord, expected: Expectation, now: float) -> tuple[float | None, float | None]:
    """When a start was last expected, and the time before that."""
    if expected.schedule is None:
        return None, None
    if (period := expected.period) is None:
        turn = expected.schedule.last_before(now)
        return turn, None if turn is None else expected.schedule.last_before(turn - 1)
    first = _started(job) + period
    if now < first:
        return None, None
    turn = first + (now - first) // period * period
    return turn, turn - period if turn > first else None


def _next(job: JobRecord, expected: Expectation, now: float) -> float | None:
    if expected.schedule is None:
        return None
    if expected.period is None:
        return expected.schedule.next_after(now)
    return _started(job) + expected.period


def _started(job: JobRecord) -> float:
    return job.last.created_at if job.last else job.since


def _none_since(job: JobRecord, at: float) -> bool:
    return job.last is None or job.last.created_at < at - EARLY


def _freshness(job: JobRecord, expected: Expectation, now: float) -> Iterable[Problem]:
    if expected.fresh_within is None:
        return
    run = job.completed
    at = (run.ended_at or run.created_at) if run else job.since
    if now - at > expected.fresh_within:
        said = f"last completed {_ago(now - at)} ago" if run else "never completed"
        within = format_duration(expected.fresh_within)
        yield Problem("not_fresh", f"{said}, expected within {within}", run.id if run else None)


def _ago(seconds: float) -> str:
    return format_duration(round(seconds))


@frozen
class Turn:
    """One time at which a start was expected, and the start that answered it (Unix seconds; None: none)."""

    expected_at: float
    started_at: float | None = None


def turns(expected: Expectation, starts: Sequence[float], since: float, until: float) -> list[Turn]:
    """The turns of the schedule after `since` and up to `until`, each with the first start before the next.

    `starts` are Unix seconds, ascending. A turn whose grace still runs at `until` counts only if answered.
    """
    if expected.schedule is None:
        return []
    if (period := expected.period) is not None:
        return list(islice(_moving_turns(period, expected.grace, starts, until), TURNS))
    times = expected.schedule.expected_between(since, until)
    found = []
    for at, following in zip(times, [*times[1:], float("inf")]):
        place = bisect_left(starts, at - EARLY)
        started = starts[place] if place < len(starts) and starts[place] < following - EARLY else None
        if started is not None or until > at + expected.grace:
            found.append(Turn(at, started))
    return found


def _moving_turns(period: float, grace: float, starts: Sequence[float], until: float) -> Iterator[Turn]:
    """Each start is expected a period after the one before it: drift is no fault, a sooner one is extra."""
    for start, following in zip(starts, [*starts[1:], None]):
        at = start + period
        while at + grace < (until if following is None else following):
            yield Turn(at)
            at += period
        if following is not None and following >= start + period - EARLY:
            yield Turn(at, following)


def completeness(kept: Sequence[Turn]) -> float | None:
    """Share of the turns that were answered by a run (0..1); None where none was due."""
    return sum(turn.started_at is not None for turn in kept) / len(kept) if kept else None


def lateness(kept: Sequence[Turn]) -> float | None:
    """Median seconds from expected time to start over the answered turns, none below 0; None of none."""
    return median(
        sorted(max(0.0, turn.started_at - turn.expected_at) for turn in kept if turn.started_at is not None)
    )


def median(ordered: Sequence[float]) -> float | None:
    """The middle of values in order (nearest rank, as stores do for durations); None of none."""
    return ordered[(len(ordered) * 50 + 99) // 100 - 1] if ordered else None
