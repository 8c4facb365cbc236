"""Whether a job is well: what is expected of it, held against what was recorded.

Pure: records and one frozen `now` in, verdict out; so the watchdog, `holter status` and the pages give the
same answer. Start, duration and finish have clocks of their own, which run whether or not there is a run.
It says nothing about what has not reached the store: a run that still waits elsewhere is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from attrs import define, field, frozen

from .clock import rfc3339
from .expected import EARLY, Expectation, Turn, longest, median, walk
from .records import Json, Run
from .schedule import format_duration, parse_rate
from .states import FAILURES
from .zones import Mismatch

__all__ = [
    "EARLY",
    "Expectation",
    "JobRecord",
    "Problem",
    "Turn",
    "Verdict",
    "completeness",
    "judge",
    "lateness",
    "longest",
    "turns",
]
TURNS = 100_000  # at most, of one question
COUNTED = 1000  # misses in a row that are counted one by one

Span = tuple[float, float]  # Unix seconds, from and until


@frozen
class JobRecord:
    """What the store knows of one job. `last` is its newest root run, `ended` the newest that ended (one that
    was SKIPPED says nothing about the job), `completed` the newest that completed, `live` those that have not
    ended, `recent` the newest of all, the newest first. `durations` are those of the last completed runs (seconds, the
    newest first), as many as `max_times_median` asks for. Expectations hold from `since` on (Unix seconds): a run of
    the job, or when the check was written down. In `pauses` nothing is expected. `mismatch`: starts keep the schedule
    in another time zone, and are judged in that."""

    name: str
    project: str = "default"
    last: Run | None = None
    ended: Run | None = None
    completed: Run | None = None
    live: tuple[Run, ...] = ()
    since: float = 0.0
    recent: tuple[Run, ...] = ()
    durations: tuple[float, ...] = ()
    pauses: tuple[Span, ...] = ()
    mismatch: Mismatch | None = None

    def paused(self, at: float) -> bool:
        return any(start <= at < end for start, end in self.pauses)


UNJUDGED = "unjudged"  # the event of a job of which nobody can say whether it is as expected


@frozen
class Problem:
    """One thing that is wrong: `event` is its name in rules (`crashed`, `late`), `reason` is for people. `since` is
    when it became true (Unix seconds), the same whoever asks and whenever. `details` is for programs."""

    event: str
    reason: str
    run_id: str | None = None
    since: float = 0.0
    details: Json = field(factory=dict)


@frozen
class Verdict:
    """The answer. `next_at` is when the job should start next (Unix seconds, None without a schedule), `due_at` when
    the answer will be another one although nothing happens (None: never)."""

    problems: tuple[Problem, ...] = ()
    next_at: float | None = None
    due_at: float | None = None

    @property
    def well(self) -> bool:
        return not self.problems


@define
class _Case:
    """One judgement as it is made: what is wrong, and when to look again."""

    job: JobRecord
    expected: Expectation
    now: float
    problems: list[Problem] = field(factory=list)
    moments: list[float] = field(factory=list)

    def has_come(self, moment: float) -> bool:
        """Whether it has; if not, it is one at which to look again."""
        if moment > self.now:
            self.moments.append(moment)
        return moment <= self.now

    def find(self, event: str, reason: str, since: float, run: Run | None = None, **details: object) -> None:
        self.problems.append(Problem(event, reason, run.id if run else None, since, details))


def judge(job: JobRecord, expected: Expectation, now: float) -> Verdict:
    """Everything that is wrong with the job at `now` (Unix seconds), the worst first. Of a paused job nothing that is
    only expected is said, but how its runs ended and fare."""
    case = _Case(job, expected, now)
    _ending(case)
    _live(case)
    if job.paused(now):
        case.moments += [end for start, end in job.pauses if start <= now < end != float("inf")]
    else:
        for look in (_zone, _start, _finish, _frequency, _freshness):
            look(case)
    return Verdict(tuple(case.problems), _next(job, expected, now), min(case.moments, default=None))


def _ending(case: _Case) -> None:
    run = case.job.ended
    if run is None:
        return
    ended = run.ended_at or run.created_at
    if run.state in FAILURES:
        case.find(run.state.lower(), _why(run), ended, run)
    least, took = case.expected.min_duration, run.duration_seconds
    if run.state == "COMPLETED" and least is not None and took is not None and took < least:
        said = f"took {format_duration(took)}, less than min_duration {format_duration(least)}"
        case.find("short", said, ended, run)


def _why(run: Run) -> str:
    if run.reason:
        return run.reason
    if run.error:
        return f"{run.error.get('type')}: {run.error.get('message')}"
    return f"exit code {run.exit_code}" if run.exit_code is not None else f"ended {run.state}"


def _live(case: _Case) -> None:
    bound = longest(case.expected, case.job.durations)
    for run in case.job.live:
        for condition in run.conditions:
            case.find(condition, run.reason or f"the run is {condition}", run.active_at, run)
        if "overdue" in run.conditions or bound is None or run.started_at is None:
            continue  # the watchdog's word stands; without a watchdog the clock is asked here
        if case.now > run.started_at + bound[0]:
            case.find("overdue", bound[1], run.started_at + bound[0], run)


def _zone(case: _Case) -> None:
    found = case.job.mismatch
    if found is not None:
        case.find("zone_mismatch", found.reason, found.since, case.job.last, shift_seconds=found.shift)


def _start(case: _Case) -> None:
    """`late`: the turn's run is not there in time. `missed`: the turn is over, and no run came."""
    expected, last = case.expected, case.job.last
    turn = _first_open(case, last.created_at if last else None)
    if turn is None or not case.has_come(turn + expected.grace):
        return
    following = expected.following(turn - _shift(case))
    over = max(turn + expected.grace, float("inf") if following is None else following + _shift(case))
    at = _stamp(turn)
    if not case.has_come(over):
        said = f"expected at {at}, grace {format_duration(expected.grace)}"
        case.find("late", said, turn + expected.grace, expected_at=rfc3339(turn))
        return
    ends = _misses(case, turn)
    count = len(ends)
    said = (
        f"expected at {at}, and no run came"
        if count == 1
        else f"{count} in a row did not come, since {at}"
        if count < COUNTED
        else f"{count} or more in a row did not come, since {at}"
    )
    case.find("missed", said, over, expected_at=rfc3339(turn), misses=count, last_missed=max(ends))


def _misses(case: _Case, first: float) -> list[float]:
    """When each turn from `first` on was over, of those that are: `first` itself is, and in no pause."""
    expected, shift, times = case.expected, _shift(case), [first]
    while len(times) <= COUNTED and times[-1] <= case.now:
        following = expected.following(times[-1] - shift)
        if following is None:
            break
        times.append(following + shift)
    over = [max(end, at + expected.grace) for at, end in pairwise(times) if not case.job.paused(at)]
    case.moments += [at for at in times[-1:] if at > case.now]
    return [end for end in over if end <= case.now]


def _first_open(case: _Case, after: float | None) -> float | None:
    """The first turn that nothing answered since a start at `after`, but those that fell into a pause."""
    shift = _shift(case)
    turn = case.expected.first_turn(None if after is None else after - shift, case.job.since - shift)
    for _ in range(len(case.job.pauses) + 1):
        end = max((e for s, e in case.job.pauses if turn is not None and s <= turn + shift < e), default=None)
        if turn is None or end is None:
            break
        if end == float("inf"):
            return None
        turn = case.expected.first_turn(None if after is None else after - shift, end - shift)
    return None if turn is None else turn + shift


def _shift(case: _Case) -> float:
    return case.job.mismatch.shift if case.job.mismatch else 0.0


def _finish(case: _Case) -> None:
    """`unfinished`: a turn's run had to be completed by now, whether it runs, failed or never came."""
    expected, job = case.expected, case.job
    if expected.finish_by is None or expected.schedule is None:
        return
    turn = _first_open(case, job.completed.created_at if job.completed else None)
    while turn is not None and turn <= case.now:
        following = expected.following(turn - _shift(case))
        end = float("inf") if following is None else following + _shift(case)
        deadline = expected.deadline(turn)
        if deadline is None or not case.has_come(deadline):
            return
        if not job.paused(turn) and not _skipped(job, turn, end):
            said = f"expected at {_stamp(turn)}, and not completed by {_stamp(deadline)}"
            case.find("unfinished", said, deadline, job.last, expected_at=rfc3339(turn))
            return
        turn = end if end != float("inf") else None
    if turn is not None:
        case.moments.append(expected.deadline(turn) or turn)


def _skipped(job: JobRecord, turn: float, end: float) -> bool:
    """Whether the turn was answered by runs that were skipped, and by no other."""
    states = {run.state for run in job.recent if turn - EARLY <= run.created_at < end - EARLY}
    return states == {"SKIPPED"}


def _frequency(case: _Case) -> None:
    if case.expected.max_runs_per is None:
        return
    most, span = parse_rate(case.expected.max_runs_per)
    runs = [run for run in case.job.recent if run.state != "SKIPPED" and run.created_at + span > case.now]
    if len(runs) <= most:
        return
    case.moments.append(runs[most].created_at + span)
    said = f"{len(runs)} runs in {format_duration(span)}, at most {most} are expected"
    case.find("frequent", said, _too_many_since(case.job.recent, most, span), runs[0])


def _too_many_since(recent: Sequence[Run], most: int, span: float) -> float:
    """The first start of those in a row that were one too many."""
    starts = [run.created_at for run in recent if run.state != "SKIPPED"]
    since = starts[0]
    for at, before in zip(starts, starts[most:], strict=False):
        if at - before >= span:
            break
        since = at
    return since


def _freshness(case: _Case) -> None:
    within, run = case.expected.fresh_within, case.job.completed
    if within is None:
        return
    at = (run.ended_at or run.created_at) if run else case.job.since
    if case.has_come(at + within):
        said = f"last completed at {_stamp(at)}" if run else "never completed"
        case.find("not_fresh", f"{said}, expected within {format_duration(within)}", at + within, run)


def _next(job: JobRecord, expected: Expectation, now: float) -> float | None:
    if expected.schedule is None:
        return None
    if expected.period is None:
        return expected.schedule.next_after(now)
    return (job.last.created_at if job.last else job.since) + expected.period


def _stamp(at: float) -> str:
    return str(rfc3339(at))[:16].replace("T", " ") + " UTC"


def turns(expected: Expectation, starts: Sequence[float], since: float, until: float) -> list[Turn]:
    """The turns of the schedule after `since` and up to `until`, each with the first start before the next.

    `starts` are Unix seconds, ascending. A turn whose grace still runs at `until` counts only if answered.
    """
    found = walk(expected, starts, since, until)
    return [
        each for each in found if each.started_at is not None or until > each.expected_at + expected.grace
    ]


def completeness(kept: Sequence[Turn]) -> float | None:
    """Share of the turns that were answered by a run (0..1); None where none was due."""
    return sum(turn.started_at is not None for turn in kept) / len(kept) if kept else None


def lateness(kept: Iterable[Turn]) -> float | None:
    """Median seconds from expected time to start over the answered turns, none below 0; None of none."""
    return median(
        sorted(max(0.0, turn.started_at - turn.expected_at) for turn in kept if turn.started_at is not None)
    )
