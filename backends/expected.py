"""What is expected of a job, and which starts were expected when. Pure: no clock, no store.

A turn is one time at which a start was expected. The start that answers it is the first one before the next turn. Of a
timetable (cron) the turns stand still; those of `every 15m` count from the last start, so that drift is no fault.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache

from attrs import field, frozen

from .records import Json
from .schedule import Schedule, clock_time, format_duration, parse_duration, parse_rate

EARLY = 5.0  # seconds by which a run may begin before its time: clocks of two hosts differ
GRACE = 300.0  # seconds, where a schedule is declared without a grace
ENOUGH = 3  # completed runs, before their median says anything
WORDS = (
    "schedule timezone grace finish_by max_duration min_duration max_runs_per max_times_median median_of fresh_within "
    "on_overdue"
).split()


@frozen
class Expectation:
    """What a job should do. Durations in seconds, None where nothing is expected.

    `schedule` says when it starts, `grace` how late it may; `finish_by` when the turn's run must have completed: a
    duration after the expected time ("3h"), or the first such clock time after it in the schedule's zone ("06:00").
    `max_duration` and `min_duration` bound a run, and so does `max_times_median`: so many times the median of the last
    `median_of` completed runs. `max_runs_per` is "3 per 1h". `fresh_within` is how old the last completed run may be.
    `on_overdue` says what becomes of a run that passes `max_duration`: "alert", or "kill".
    """

    schedule: Schedule | None = None
    grace: float = GRACE
    finish_by: str | None = None
    max_duration: float | None = None
    min_duration: float | None = None
    max_runs_per: str | None = None
    max_times_median: float | None = None
    median_of: int = 20
    fresh_within: float | None = None
    on_overdue: str = "alert"

    @classmethod
    def of(
        cls, declared: Json | None, configured: object = None, registered: Json | None = None
    ) -> Expectation:
        """From what the decorator `declared` (a run's `check`), overruled name by name by the settings, and these by
        what `holter checks` `registered`. Raises ScheduleError where a schedule, a zone or a text does not parse.
        """
        told = dict(declared or {})
        told.update((name, value) for name in WORDS if (value := getattr(configured, name, None)) is not None)
        told.update((name, value) for name, value in (registered or {}).items() if value is not None)
        text = told.get("schedule")
        given = {name: told[name] for name in WORDS[2:] if told.get(name) is not None}
        out = cls(schedule=_parsed(text, told.get("timezone")) if text else None, **given)
        if out.max_runs_per is not None:
            parse_rate(out.max_runs_per)
        if out.finish_by is not None and clock_time(out.finish_by) is None:
            parse_duration(out.finish_by)
        return out

    @property
    def period(self) -> float | None:
        """Seconds of a schedule `every ...`, which counts from the last start; None for a timetable."""
        words = self.schedule.text.split() if self.schedule else []
        return parse_duration(words[1]) if words[:1] == ["every"] else None

    @property
    def kill_after(self) -> float | None:
        """Seconds after which a run is to be ended from outside; None: never."""
        return self.max_duration if self.on_overdue == "kill" else None

    @property
    def expects(self) -> bool:
        """Whether anything is expected that no run can say of itself."""
        return any((self.schedule, self.min_duration, self.max_runs_per, self.fresh_within))

    def deadline(self, turn: float) -> float | None:
        """When the run of the turn must have completed (Unix seconds); None where `finish_by` is not set."""
        if self.finish_by is None or self.schedule is None:
            return None
        if (time := clock_time(self.finish_by)) is None:
            return turn + parse_duration(self.finish_by)
        daily = _parsed(f"{time[1]} {time[0]} * * *", self.schedule.timezone)
        return daily.next_after(turn)

    def first_turn(self, started_at: float | None, since: float) -> float | None:
        """The first turn that a start at `started_at` has not answered, after `since` (Unix seconds)."""
        if self.schedule is None:
            return None
        if (period := self.period) is None:
            return self.schedule.next_after(since if started_at is None else max(started_at + EARLY, since))
        turn = (since if started_at is None else started_at) + period
        return turn if turn >= since else turn + -((turn - since) // period) * period

    def following(self, turn: float) -> float | None:
        """The turn after this one, if no start comes before."""
        if self.schedule is None:
            return None
        period = self.period
        return turn + period if period is not None else self.schedule.next_after(turn)


@lru_cache(maxsize=4096)
def _parsed(text: str, timezone: str | None) -> Schedule:
    return Schedule.parse(text, timezone)


def longest(expected: Expectation, durations: Sequence[float]) -> tuple[float, str] | None:
    """The longest that a run may take (seconds), and the reason for a run that takes longer; None: no bound.

    `durations`: seconds of the last completed runs, the newest first; no more than `median_of` of them are used, and
    fewer than three say nothing. Whoever judges live runs asks this (the watchdog for the condition `overdue`, the
    judge of jobs where no watchdog does).
    """
    bounds = []
    if expected.max_duration is not None:
        said = f"runs longer than max_duration {format_duration(expected.max_duration)}"
        bounds.append((expected.max_duration, said))
    usual = median(sorted(durations[: expected.median_of]))
    if expected.max_times_median is not None and usual is not None and len(durations) >= ENOUGH:
        count = min(len(durations), expected.median_of)
        said = f"runs longer than {expected.max_times_median:g} times the median of the last {count} runs"
        bounds.append((expected.max_times_median * usual, f"{said}, {format_duration(usual)}"))
    return min(bounds, default=None)


def median(ordered: Sequence[float]) -> float | None:
    """The middle of values in order (nearest rank, as stores do for durations); None of none."""
    return ordered[(len(ordered) * 50 + 99) // 100 - 1] if ordered else None


@frozen
class Turn:
    """One time at which a start was expected, and the start that answered it (Unix seconds; None: none).
    `next_at`: no start from then on answers it."""

    expected_at: float
    started_at: float | None = None
    next_at: float = field(default=float("inf"), eq=False)


def walk(expected: Expectation, starts: Sequence[float], since: float, until: float) -> Iterator[Turn]:
    """The turns after `since` and up to `until`, in order, each with the first start that answers it.

    `starts` are Unix seconds, ascending; of an interval the newest start up to `since` must be among them, or else it
    counts from `since`.
    """
    if expected.schedule is None:
        return
    if (period := expected.period) is not None:
        yield from (turn for turn in _moving(period, starts, since, until) if turn.expected_at > since)
        return
    times = expected.schedule.expected_between(since, until)
    last = expected.schedule.next_after(times[-1]) if times else None
    for at, following in zip(times, [*times[1:], last or float("inf")], strict=False):
        place = bisect_left(starts, at - EARLY)
        answered = place < len(starts) and starts[place] < following - EARLY
        yield Turn(at, starts[place] if answered else None, following - EARLY)


def _moving(period: float, starts: Sequence[float], since: float, until: float) -> Iterator[Turn]:
    """Each start is expected a period after the one before it; a sooner one is extra, and counts from then on."""
    before = bisect_left(starts, since + 1e-9)
    anchor = starts[before - 1] if before else since
    for following in (*starts[before:], None):
        at = anchor + period
        while at <= until and (following is None or at + period - EARLY <= following):
            yield Turn(at, None, at + period - EARLY)
            at += period
        if following is None:
            return
        if following >= at - EARLY and at <= until:
            yield Turn(at, following, following)
        anchor = following
