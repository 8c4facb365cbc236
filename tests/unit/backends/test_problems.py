"""What a verdict says of each problem: its words, whose it is, since when, and when to ask again. To the second."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.backends.records import Run
from holter.backends.verdicts import (
    COUNTED,
    Expectation,
    JobRecord,
    Problem,
    Turn,
    completeness,
    judge,
    lateness,
    turns,
)
from holter.backends.zones import Mismatch

HOUR, DAY = 3600.0, 86400.0
MIDNIGHT = 20_100 * DAY  # 2025-01-12, UTC
AT_TWO = MIDNIGHT + 2 * HOUR
NIGHTLY = {"schedule": "0 2 * * *", "grace": 900.0}


def run(at: float, state: str = "COMPLETED", number: int = 1, **fields: Any) -> Run:
    ended = at + 60.0 if state not in ("RUNNING", "PENDING") else None
    times = {
        "created_at": at,
        "started_at": at,
        "ended_at": ended,
        "duration_seconds": 60.0 if ended else None,
    }
    name = f"r{number}"
    return Run(id=name, kind="flow", name="etl", state=state, root_id=name, **{**times, **fields})


def problems(now: float, declared: dict[str, Any] | None = None, **known: Any) -> list[Problem]:
    return list(judge(JobRecord("etl", **known), Expectation.of(declared), now).problems)


def due(now: float, declared: dict[str, Any], **known: Any) -> float | None:
    return judge(JobRecord("etl", **known), Expectation.of(declared), now).due_at


# --- how the last one ended ---


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"reason": "killed by signal 9", "error": {"type": "E", "message": "m"}, "exit_code": 1},
            "killed by signal 9",
        ),
        ({"error": {"type": "ValueError", "message": "no rows"}, "exit_code": 1}, "ValueError: no rows"),
        ({"exit_code": 0}, "exit code 0"),
        ({}, "ended FAILED"),
    ],
)
def test_a_failure_is_told_with_the_best_word_that_there_is(fields: dict[str, Any], reason: str) -> None:
    failed = run(AT_TWO, "FAILED", **fields)
    assert problems(AT_TWO + DAY, ended=failed) == [Problem("failed", reason, "r1", AT_TWO + 60)]


def test_a_failure_without_an_end_is_since_the_run_was_made() -> None:
    assert problems(AT_TWO, ended=run(AT_TWO, "CRASHED", ended_at=None))[0].since == AT_TWO


def test_a_run_is_short_below_the_least_and_says_by_how_much() -> None:
    said = "took 4s, less than min_duration 5s"
    short = run(AT_TWO, duration_seconds=4.0)
    assert problems(AT_TWO, {"min_duration": 5.0}, ended=short) == [Problem("short", said, "r1", AT_TWO + 60)]
    assert problems(AT_TWO, {"min_duration": 5.0}, ended=run(AT_TWO, duration_seconds=5.0)) == []
    assert problems(AT_TWO, {"min_duration": 5.0}, ended=run(AT_TWO, duration_seconds=None)) == []
    cancelled = run(AT_TWO, "CANCELLED", duration_seconds=4.0)
    assert problems(AT_TWO, {"min_duration": 5.0}, ended=cancelled) == []


# --- the ones that live ---


def test_a_condition_is_since_the_run_was_last_active_with_its_reason_or_its_name() -> None:
    live = run(AT_TWO, "RUNNING", conditions=("stalled",), active_at=AT_TWO + 5, reason="no progress")
    assert problems(AT_TWO + 9, live=(live,)) == [Problem("stalled", "no progress", "r1", AT_TWO + 5)]
    silent = run(AT_TWO, "RUNNING", conditions=("lost",), active_at=AT_TWO + 5)
    assert problems(AT_TWO + 9, live=(silent,))[0].reason == "the run is lost"


def test_a_run_is_overdue_since_its_bound_and_not_at_it() -> None:
    live, declared = run(AT_TWO, "RUNNING"), {"max_duration": 60.0}
    said = "runs longer than max_duration 1m"
    assert problems(AT_TWO + 60, declared, live=(live,)) == []
    assert problems(AT_TWO + 61, declared, live=(live,)) == [Problem("overdue", said, "r1", AT_TWO + 60)]
    assert problems(AT_TWO + 61, {}, live=(live,)) == []


def test_each_live_run_is_looked_at_whatever_the_one_before_it_is() -> None:
    known = run(AT_TWO, "RUNNING", 1, conditions=("overdue",), active_at=AT_TWO)
    waiting = run(AT_TWO, "PENDING", 2, started_at=None)
    silent = run(AT_TWO, "RUNNING", 3)
    found = problems(AT_TWO + 61, {"max_duration": 60.0}, live=(known, waiting, silent))
    assert [(each.event, each.run_id) for each in found] == [("overdue", "r1"), ("overdue", "r3")]


def test_a_run_may_not_take_so_many_times_as_long_as_the_last_ones() -> None:
    live, declared = run(AT_TWO, "RUNNING"), {"max_times_median": 2}
    assert problems(AT_TWO + 61, declared, live=(live,), durations=(30.0, 30.0, 30.0))[0].event == "overdue"
    assert problems(AT_TWO + 61, declared, live=(live,)) == []


# --- the start ---


def test_a_start_is_late_from_the_end_of_its_grace_on() -> None:
    known = {"last": run(AT_TWO - DAY), "since": 0.0}
    expected_at = "2025-01-12T02:00:00.000Z"
    late = Problem(
        "late",
        "expected at 2025-01-12 02:00 UTC, grace 15m",
        None,
        AT_TWO + 900,
        {"expected_at": expected_at},
    )
    assert problems(AT_TWO + 899, NIGHTLY, **known) == []
    assert problems(AT_TWO + 900, NIGHTLY, **known) == [late]
    assert due(AT_TWO, NIGHTLY, **known) == AT_TWO + 900
    assert due(AT_TWO + 900, NIGHTLY, **known) == AT_TWO + DAY


def test_one_that_did_not_come_until_the_next_was_due_is_missed() -> None:
    known = {"last": run(AT_TWO - DAY), "since": 0.0}
    (missed,) = problems(AT_TWO + DAY, NIGHTLY, **known)
    details = {"expected_at": "2025-01-12T02:00:00.000Z", "misses": 1, "last_missed": AT_TWO + DAY}
    said = "expected at 2025-01-12 02:00 UTC, and no run came"
    assert missed == Problem("missed", said, None, AT_TWO + DAY, details)
    assert due(AT_TWO + DAY, NIGHTLY, **known) == AT_TWO + 2 * DAY


def test_misses_in_a_row_are_one_problem_that_counts_them() -> None:
    known = {"last": run(AT_TWO - DAY), "since": 0.0}
    (missed,) = problems(AT_TWO + 3 * DAY + 5, NIGHTLY, **known)
    assert missed.reason == "3 in a row did not come, since 2025-01-12 02:00 UTC"
    assert missed.since == AT_TWO + DAY
    assert (missed.details["misses"], missed.details["last_missed"]) == (3, AT_TWO + 3 * DAY)


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (COUNTED - 1, "999 in a row"),
        (COUNTED, "1000 or more in a row"),
        (COUNTED + 1, "1000 or more in a row"),
    ],
)
def test_misses_are_counted_up_to_a_thousand(passed: int, said: str) -> None:
    declared, known = {"schedule": "every 1m", "grace": 10.0}, {"since": MIDNIGHT}
    (missed,) = problems(MIDNIGHT + 60 * (passed + 1), declared, **known)
    assert missed.reason == f"{said} did not come, since 2025-01-12 00:01 UTC"
    assert missed.details["misses"] == min(passed, COUNTED)
    at = due(MIDNIGHT + 60 * (passed + 1), declared, **known)
    assert at == (None if passed >= COUNTED else MIDNIGHT + 60 * (passed + 2))


def test_a_grace_beyond_the_next_turn_is_waited_for() -> None:
    patient = {"schedule": "0 * * * *", "grace": 1.5 * HOUR}
    known = {"last": run(MIDNIGHT - HOUR), "since": 0.0}
    assert problems(MIDNIGHT + 1.5 * HOUR - 1, patient, **known) == []
    (missed,) = problems(MIDNIGHT + 1.5 * HOUR, patient, **known)
    assert (missed.event, missed.since, missed.details["misses"]) == ("missed", MIDNIGHT + 1.5 * HOUR, 1)
    (missed,) = problems(MIDNIGHT + 2.5 * HOUR - 1, patient, **known)
    assert missed.details["misses"] == 1
    (missed,) = problems(MIDNIGHT + 2.5 * HOUR, patient, **known)
    assert missed.details["last_missed"] == MIDNIGHT + 2.5 * HOUR


def test_turns_in_a_pause_are_not_missed_and_the_first_after_it_is_expected() -> None:
    pause = (AT_TWO - HOUR, AT_TWO + DAY + HOUR)
    known = {"last": run(AT_TWO - DAY), "since": 0.0, "pauses": (pause,)}
    assert problems(AT_TWO + 2 * DAY, NIGHTLY, **known) == []
    (late,) = problems(AT_TWO + 2 * DAY + 900, NIGHTLY, **known)
    assert (late.event, late.since) == ("late", AT_TWO + 2 * DAY + 900)
    assert due(pause[0], NIGHTLY, **known) == pause[1]
    assert due(pause[1], NIGHTLY, **known) == AT_TWO + 2 * DAY + 900


def test_a_pause_begins_with_its_first_moment_and_is_over_at_its_last() -> None:
    known = {"last": run(AT_TWO - DAY), "since": 0.0}
    assert problems(AT_TWO + HOUR, NIGHTLY, **known, pauses=((AT_TWO, AT_TWO + 1),)) == []
    assert len(problems(AT_TWO + HOUR, NIGHTLY, **known, pauses=((AT_TWO - 1, AT_TWO),))) == 1
    assert len(problems(AT_TWO + HOUR, NIGHTLY, **known, pauses=((AT_TWO + 1, AT_TWO + 2),))) == 1


def test_of_pauses_that_lie_over_each_other_the_longest_counts() -> None:
    spans = (
        (AT_TWO - 60, AT_TWO + 60),
        (AT_TWO - 60, AT_TWO + 2 * DAY + 60),
        (AT_TWO + DAY, AT_TWO + DAY + 60),
    )
    known = {"last": run(AT_TWO - DAY), "since": 0.0, "pauses": spans}
    assert due(AT_TWO + 2 * DAY + 61, NIGHTLY, **known) == AT_TWO + 3 * DAY + 900


def test_of_pauses_one_of_which_ends_now_the_other_counts() -> None:
    spans = ((AT_TWO, AT_TWO + 60), (AT_TWO, AT_TWO + 90))
    assert due(AT_TWO + 60, NIGHTLY, last=run(AT_TWO), pauses=spans) == AT_TWO + 90


def test_every_so_often_goes_on_counting_from_its_last_start_through_a_pause() -> None:
    hourly, pause = {"schedule": "every 1h", "grace": 60.0}, (MIDNIGHT + 3000, MIDNIGHT + 5400)
    assert due(MIDNIGHT + 6000, hourly, last=run(MIDNIGHT), pauses=(pause,)) == MIDNIGHT + 2 * HOUR + 60
    assert due(MIDNIGHT + 6000, hourly, since=MIDNIGHT, pauses=(pause,)) == MIDNIGHT + 5400 + HOUR + 60


def test_a_job_that_is_paused_for_ever_is_asked_about_never_again() -> None:
    pause = (AT_TWO - HOUR, float("inf"))
    assert due(AT_TWO + HOUR, NIGHTLY, last=run(AT_TWO - DAY), pauses=(pause,)) is None
    job = JobRecord("etl", last=run(AT_TWO - DAY), completed=run(AT_TWO - DAY), pauses=(pause,))
    for declared in (NIGHTLY, FINISHED):
        before = judge(job, Expectation.of(declared), pause[0] - 1)
        assert (before.problems, before.due_at) == ((), None)


def test_a_miss_within_a_pause_between_others_is_not_counted() -> None:
    pause = (AT_TWO + DAY, AT_TWO + DAY + 1)
    known = {"last": run(AT_TWO - DAY), "since": 0.0, "pauses": (pause,)}
    (missed,) = problems(AT_TWO + 3 * DAY, NIGHTLY, **known)
    assert (missed.details["misses"], missed.details["last_missed"]) == (2, AT_TWO + 3 * DAY)


# --- in another zone ---


def test_a_host_in_another_zone_is_named_and_judged_by_its_own_clock() -> None:
    shifted = Mismatch(-HOUR, AT_TWO - 9, "starts keep the schedule an hour early")
    known = {"last": run(AT_TWO - DAY - HOUR), "since": 0.0, "mismatch": shifted}
    named = Problem("zone_mismatch", shifted.reason, "r1", AT_TWO - 9, {"shift_seconds": -HOUR})
    assert problems(AT_TWO - HOUR + 899, NIGHTLY, **known) == [named]
    _, late = problems(AT_TWO - HOUR + 900, NIGHTLY, **known)
    assert (late.event, late.since) == ("late", AT_TWO - HOUR + 900)
    assert late.reason == "expected at 2025-01-12 01:00 UTC, grace 15m"
    _, missed = problems(AT_TWO - HOUR + 3 * DAY, NIGHTLY, **known)
    assert (missed.since, missed.details["misses"]) == (AT_TWO - HOUR + DAY, 3)
    assert missed.details["last_missed"] == AT_TWO - HOUR + 3 * DAY


def test_a_shifted_turn_falls_into_a_pause_by_when_it_is_kept() -> None:
    shifted = Mismatch(-HOUR, AT_TWO, "early")
    known = {"last": run(AT_TWO - DAY - HOUR), "since": 0.0, "mismatch": shifted}
    pause = (AT_TWO - HOUR, AT_TWO - HOUR + 1)
    assert [each.event for each in problems(AT_TWO, NIGHTLY, **known, pauses=(pause,))] == ["zone_mismatch"]
    assert due(AT_TWO, NIGHTLY, **known, pauses=(pause,)) == AT_TWO - HOUR + DAY + 900


def test_a_shifted_turn_has_to_be_completed_by_its_own_time() -> None:
    shifted = Mismatch(-HOUR, AT_TWO, "early")
    known = {
        "last": run(AT_TWO - HOUR, "RUNNING"),
        "completed": run(AT_TWO - HOUR - DAY),
        "mismatch": shifted,
    }
    found = problems(AT_TWO + HOUR, {**NIGHTLY, "finish_by": "2h"}, **known)
    assert [(each.event, each.since) for each in found][1:] == [("unfinished", AT_TWO + HOUR)]


def test_a_shifted_turn_that_was_skipped_need_not_finish() -> None:
    shifted = Mismatch(-HOUR, AT_TWO, "early")
    done, skipped = run(AT_TWO - HOUR - DAY), run(AT_TWO - HOUR, "SKIPPED", 2)
    known = {"last": skipped, "completed": done, "recent": (skipped, done), "mismatch": shifted}
    assert [each.event for each in problems(AT_TWO + 8 * HOUR, FINISHED, **known)] == ["zone_mismatch"]
    late = run(AT_TWO + DAY - 3 * HOUR, "SKIPPED", 3)  # within the day after the turn, as it is kept
    known = {"last": late, "completed": done, "recent": (late, done), "mismatch": shifted}
    assert [each.event for each in problems(AT_TWO + DAY - 2 * HOUR, FINISHED, **known)] == ["zone_mismatch"]


def test_the_turn_after_a_shifted_one_that_was_skipped_has_to_finish() -> None:
    shifted = Mismatch(-HOUR, AT_TWO, "early")
    done, skipped = run(AT_TWO - HOUR - DAY), run(AT_TWO - HOUR, "SKIPPED", 2)
    known = {"last": skipped, "completed": done, "recent": (skipped, done), "mismatch": shifted}
    found = problems(AT_TWO - HOUR + DAY + 3 * HOUR, {**FINISHED, "grace": 9 * HOUR}, **known)
    assert [(each.event, each.since) for each in found][1:] == [("unfinished", AT_TWO + DAY + 2 * HOUR)]


def test_a_shifted_turn_is_expected_after_the_moment_from_which_on_it_is() -> None:
    known = {"last": run(AT_TWO + DAY), "mismatch": Mismatch(-HOUR, AT_TWO, "early")}
    found = problems(AT_TWO + 8 * HOUR, FINISHED, since=AT_TWO - HOUR + 60, **known)
    assert [each.event for each in found] == ["zone_mismatch"]


# --- the finish ---

FINISHED = {**NIGHTLY, "finish_by": "3h"}


def test_a_turn_is_unfinished_from_its_deadline_on_whatever_became_of_its_run() -> None:
    failed = run(AT_TWO, "FAILED", 2, exit_code=1)
    known = {"last": failed, "completed": run(AT_TWO - DAY), "recent": (failed, run(AT_TWO - DAY))}
    said = "expected at 2025-01-12 02:00 UTC, and not completed by 2025-01-12 05:00 UTC"
    details = {"expected_at": "2025-01-12T02:00:00.000Z"}
    unfinished = Problem("unfinished", said, "r2", AT_TWO + 3 * HOUR, details)
    assert problems(AT_TWO + 3 * HOUR - 1, FINISHED, **known) == []
    assert problems(AT_TWO + 3 * HOUR, FINISHED, **known) == [unfinished]
    assert problems(AT_TWO + 3 * HOUR, NIGHTLY, **known) == []
    assert due(AT_TWO + HOUR, FINISHED, **known) == AT_TWO + 3 * HOUR


def test_a_deadline_without_a_schedule_says_nothing() -> None:
    assert problems(AT_TWO + DAY, {"finish_by": "3h"}, since=0.0) == []


def test_before_the_turn_its_deadline_is_the_moment_to_ask_again() -> None:
    done = run(AT_TWO - DAY)
    known = {"last": run(AT_TWO), "completed": run(AT_TWO)}
    assert due(AT_TWO + HOUR, {**FINISHED, "grace": 9 * HOUR}, **known) == AT_TWO + DAY + 3 * HOUR
    assert due(AT_TWO - HOUR, {**FINISHED, "grace": 9 * HOUR}, last=done, completed=done) == AT_TWO + 3 * HOUR


def test_a_turn_that_was_skipped_or_paused_over_need_not_finish_but_the_next_one_has_to() -> None:
    done, skipped = run(AT_TWO - DAY), run(AT_TWO - 4, "SKIPPED", 2)
    again = run(AT_TWO + DAY, "RUNNING", 3)
    known = {"last": again, "completed": done, "recent": (again, skipped, done)}
    (unfinished,) = problems(AT_TWO + DAY + 3 * HOUR, FINISHED, **known)
    assert (unfinished.since, unfinished.run_id) == (AT_TWO + DAY + 3 * HOUR, "r3")
    known = {"last": again, "completed": done, "recent": (again, done), "pauses": ((AT_TWO - 1, AT_TWO + 1),)}
    (unfinished,) = problems(AT_TWO + DAY + 3 * HOUR, FINISHED, **known)
    assert unfinished.since == AT_TWO + DAY + 3 * HOUR


def test_one_that_was_skipped_and_then_run_has_to_finish() -> None:
    done, skipped, failed = (
        run(AT_TWO - DAY),
        run(AT_TWO, "SKIPPED", 2),
        run(AT_TWO + 60, "FAILED", 3, exit_code=1),
    )
    known = {"last": failed, "completed": done, "recent": (failed, skipped, done)}
    assert [each.event for each in problems(AT_TWO + 3 * HOUR, FINISHED, **known)] == ["unfinished"]


def test_a_run_just_before_the_next_turn_belongs_to_that_one() -> None:
    done, skipped = run(AT_TWO - DAY), run(AT_TWO + DAY - 5, "SKIPPED", 2)
    known = {"last": skipped, "completed": done, "recent": (skipped, done)}
    (unfinished,) = problems(AT_TWO + DAY + HOUR, FINISHED, **known)
    assert unfinished.since == AT_TWO + 3 * HOUR  # the first turn's: nothing skipped it
    first = run(AT_TWO - 5, "SKIPPED", 2)
    assert problems(AT_TWO + 4 * HOUR, FINISHED, last=first, completed=done, recent=(first, done)) == []


# --- how often, how fresh ---


def test_too_many_runs_are_a_problem_until_the_first_of_them_is_an_hour_ago() -> None:
    starts = [AT_TWO, AT_TWO + 600, AT_TWO + 1200]
    recent = tuple(run(at, number=number) for number, at in enumerate(starts))[::-1]
    often = Problem("frequent", "3 runs in 1h, at most 2 are expected", "r2", AT_TWO + 1200)
    assert problems(AT_TWO + 1201, {"max_runs_per": "2 per 1h"}, recent=recent) == [often]
    assert problems(AT_TWO + 1201, {"max_runs_per": "3 per 1h"}, recent=recent) == []
    assert due(AT_TWO + 1201, {"max_runs_per": "2 per 1h"}, recent=recent) == AT_TWO + HOUR
    assert problems(AT_TWO + HOUR, {"max_runs_per": "2 per 1h"}, recent=recent) == []


def test_runs_that_were_skipped_are_not_too_many() -> None:
    states = ["COMPLETED", "SKIPPED", "COMPLETED", "SKIPPED"]
    recent = tuple(run(AT_TWO - number, state, number) for number, state in enumerate(states))
    assert problems(AT_TWO + 1, {"max_runs_per": "2 per 1h"}, recent=recent) == []
    (often,) = problems(AT_TWO + 1, {"max_runs_per": "1 per 1h"}, recent=recent)
    assert (often.reason, often.since) == ("2 runs in 1h, at most 1 are expected", AT_TWO)


def test_too_many_are_so_since_the_first_that_was_one_too_many() -> None:
    starts = [AT_TWO, AT_TWO + 1800, AT_TWO + 5400, AT_TWO + 6000, AT_TWO + 7200]
    recent = tuple(run(at, number=number) for number, at in enumerate(starts))[::-1]
    (often,) = problems(AT_TWO + 7201, {"max_runs_per": "1 per 1h"}, recent=recent)
    assert often.since == AT_TWO + 6000  # an hour before it, none was one too many


def test_nothing_is_fresh_from_the_bound_on() -> None:
    done = run(AT_TWO)
    said = "last completed at 2025-01-12 02:01 UTC, expected within 1h"
    stale = Problem("not_fresh", said, "r1", AT_TWO + 60 + HOUR)
    assert problems(AT_TWO + 59 + HOUR, {"fresh_within": HOUR}, completed=done) == []
    assert problems(AT_TWO + 60 + HOUR, {"fresh_within": HOUR}, completed=done) == [stale]
    assert due(AT_TWO + 100, {"fresh_within": HOUR}, completed=done) == AT_TWO + 60 + HOUR
    never = Problem("not_fresh", "never completed, expected within 1h", None, AT_TWO + HOUR)
    assert problems(AT_TWO + HOUR, {"fresh_within": HOUR}, since=AT_TWO) == [never]
    (stale,) = problems(AT_TWO + DAY, {"fresh_within": HOUR}, completed=run(AT_TWO, ended_at=None))
    assert stale.since == AT_TWO + HOUR


# --- when to ask again, and how a schedule was kept ---


def test_a_job_is_well_of_which_there_is_nothing_to_say() -> None:
    nothing = judge(JobRecord("etl"), Expectation(), AT_TWO)
    assert (nothing.well, nothing.next_at, nothing.due_at) == (True, None, None)
    assert not judge(JobRecord("etl", ended=run(AT_TWO, "FAILED")), Expectation(), AT_TWO).well


def test_every_so_often_counts_from_the_last_start_or_from_when_it_was_expected() -> None:
    hourly = Expectation.of({"schedule": "every 1h"})
    assert judge(JobRecord("etl", since=AT_TWO), hourly, AT_TWO + 5).next_at == AT_TWO + HOUR
    assert judge(JobRecord("etl", last=run(AT_TWO + 5)), hourly, AT_TWO + 9).next_at == AT_TWO + 5 + HOUR


declared = st.fixed_dictionaries(
    {"grace": st.sampled_from([60.0, 3000.0, 9000.0])},
    optional={
        "schedule": st.sampled_from(["0 * * * *", "every 30m", "0 2 * * *"]),
        "finish_by": st.sampled_from(["10m", "2h"]),
        "max_runs_per": st.just("2 per 1h"),
        "fresh_within": st.just(5400.0),
    },
)


@given(
    st.lists(st.integers(0, 600), max_size=5, unique=True),
    declared,
    st.integers(600, 2000),
    st.integers(1, 900),
)
def test_until_the_moment_to_ask_again_the_answer_is_the_same(
    minutes: list[int], check: dict[str, Any], now: int, later: int
) -> None:
    recent = tuple(run(MIDNIGHT + at * 60.0, number=at) for at in sorted(minutes, reverse=True))
    newest = recent[0] if recent else None
    job = JobRecord("etl", last=newest, ended=newest, completed=newest, recent=recent, since=MIDNIGHT)
    expected, at = Expectation.of(check), MIDNIGHT + now * 60.0
    verdict = judge(job, expected, at)
    assert verdict.due_at is None or verdict.due_at > at
    until = at + later * 60.0 if verdict.due_at is None else min(at + later * 60.0, verdict.due_at - 0.5)
    assert judge(job, expected, until).problems == verdict.problems


def test_a_turn_whose_grace_ends_just_now_is_still_open() -> None:
    expected = Expectation.of(NIGHTLY)
    assert turns(expected, [], MIDNIGHT, AT_TWO + 900) == []
    assert turns(expected, [], MIDNIGHT, AT_TWO + 900.5) == [Turn(AT_TWO)]


def test_every_so_often_counts_from_the_start_before_but_only_turns_after_it_are_asked_for() -> None:
    expected = Expectation.of({"schedule": "every 1h", "grace": 0.0})
    assert turns(expected, [AT_TWO], AT_TWO + 60, AT_TWO + HOUR + 1) == [Turn(AT_TWO + HOUR)]
    assert turns(expected, [AT_TWO], AT_TWO + 5 * HOUR, AT_TWO + 6 * HOUR + 1) == [Turn(AT_TWO + 6 * HOUR)]
    assert turns(expected, [], AT_TWO + 60, AT_TWO + HOUR + 61) == [Turn(AT_TWO + HOUR + 60)]


def test_figures_are_of_the_turns_that_were_answered() -> None:
    kept = [Turn(10.0, 7.0), Turn(20.0, 24.0), Turn(30.0), Turn(40.0, 41.0)]
    assert completeness(kept) == 0.75
    assert (lateness(kept), lateness(kept[:1]), lateness(kept[2:3])) == (1.0, 0.0, None)
