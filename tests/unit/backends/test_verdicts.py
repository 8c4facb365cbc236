"""Whether a job is well: expectation against record, at one frozen moment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.backends.errors import ScheduleError
from holter.backends.records import Run
from holter.backends.verdicts import Expectation, JobRecord, Turn, completeness, judge, lateness, turns

DAY = 86400.0
MIDNIGHT = 20_100 * DAY  # a midnight in winter, UTC
NIGHTLY = {"schedule": "0 2 * * *", "grace": 900.0}
AT_TWO = MIDNIGHT + 2 * 3600


def run(at: float, state: str = "COMPLETED", **fields: Any) -> Run:
    took = fields.pop("took", 60.0)
    ended = None if state in ("RUNNING", "PENDING", "RETRYING") else at + took
    told = {
        "created_at": at,
        "started_at": at,
        "ended_at": ended,
        "duration_seconds": ended and took,
        **fields,
    }
    return Run(id="r1", kind="flow", name="etl", state=state, root_id="r1", **told)


def job(last: Run | None = None, **fields: Any) -> JobRecord:
    completed = last if last is not None and last.state == "COMPLETED" else None
    ended = last if last is not None and last.ended else None
    return JobRecord("etl", **{"last": last, "ended": ended, "completed": completed, **fields})


def events(record: JobRecord, declared: dict[str, Any], now: float) -> list[str]:
    return [problem.event for problem in judge(record, Expectation.of(declared), now).problems]


@pytest.mark.parametrize("state", ["FAILED", "TIMED_OUT", "CRASHED"])
def test_a_job_whose_last_run_ended_badly_is_not_well(state: str) -> None:
    assert events(job(run(AT_TWO, state)), {}, AT_TWO + 100) == [state.lower()]


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED"])
def test_a_job_whose_last_run_completed_or_was_cancelled_is_well(state: str) -> None:
    assert events(job(run(AT_TWO, state)), {}, AT_TWO + 100) == []


def test_the_reason_is_the_error_where_there_is_no_better_word() -> None:
    failed = run(AT_TWO, "FAILED", error={"type": "ValueError", "message": "no such day"})
    verdict = judge(job(failed), Expectation(), AT_TWO + 100)
    assert verdict.problems[0].reason == "ValueError: no such day"
    assert verdict.problems[0].run_id == "r1"


def test_every_condition_of_a_live_run_is_a_problem() -> None:
    live = run(AT_TWO, "RUNNING", conditions=("overdue", "stalled"), reason="no progress for 10m")
    assert events(job(live, live=(live,)), {"max_duration": 60.0}, AT_TWO + 100) == ["overdue", "stalled"]


def test_a_run_past_its_max_duration_is_overdue_although_no_watchdog_said_so() -> None:
    live = run(AT_TWO, "RUNNING")
    assert events(job(live, live=(live,)), {"max_duration": 60.0}, AT_TWO + 59) == []
    assert events(job(live, live=(live,)), {"max_duration": 60.0}, AT_TWO + 61) == ["overdue"]


def test_a_hanging_run_is_a_problem_although_the_next_one_completed() -> None:
    hanging = run(AT_TWO - DAY, "RUNNING")
    assert events(job(run(AT_TWO), live=(hanging,)), {"max_duration": 7200.0}, AT_TWO + 100) == ["overdue"]


def test_a_completed_run_that_was_too_quick_is_a_problem() -> None:
    assert events(job(run(AT_TWO, took=1.0)), {"min_duration": 5.0}, AT_TWO + 100) == ["short"]
    assert events(job(run(AT_TWO, took=6.0)), {"min_duration": 5.0}, AT_TWO + 100) == []


def test_a_run_is_late_only_after_its_grace() -> None:
    yesterday = job(run(AT_TWO - DAY + 1))
    assert events(yesterday, NIGHTLY, AT_TWO - 1) == []
    assert events(yesterday, NIGHTLY, AT_TWO + 899) == []
    assert events(yesterday, NIGHTLY, AT_TWO + 901) == ["late"]


def test_a_run_that_never_came_before_the_next_turn_is_missed() -> None:
    assert events(job(run(AT_TWO - 2 * DAY + 1)), NIGHTLY, AT_TWO + 1) == ["missed"]


def test_a_run_answers_its_turn_however_it_goes() -> None:
    for state in ("RUNNING", "SKIPPED", "PENDING"):
        assert events(job(run(AT_TWO + 3, state), ended=None), NIGHTLY, AT_TWO + 3600) == []


def test_a_host_whose_clock_is_seconds_behind_is_not_late() -> None:
    assert events(job(run(AT_TWO - 4)), NIGHTLY, AT_TWO + 3600) == []


def test_a_job_that_has_never_run_is_expected_from_when_its_check_was_written_down() -> None:
    assert events(job(since=AT_TWO + 1), NIGHTLY, AT_TWO + 3600) == []
    assert events(job(since=AT_TWO + 1), NIGHTLY, AT_TWO + DAY + 3600) == ["late"]
    assert events(job(since=AT_TWO + 1), NIGHTLY, AT_TWO + 2 * DAY + 1) == ["missed"]


def test_every_15m_counts_from_the_last_start_and_not_from_the_full_hour() -> None:
    declared = {"schedule": "every 15m", "grace": 60.0}
    started = MIDNIGHT + 7 * 60
    assert events(job(run(started)), declared, started + 15 * 60 + 59) == []
    assert events(job(run(started)), declared, started + 15 * 60 + 61) == ["late"]
    assert events(job(run(started)), declared, started + 30 * 60 - 1) == ["late"]
    assert events(job(run(started)), declared, started + 30 * 60) == ["missed"]


def test_the_next_time_is_told() -> None:
    assert judge(job(run(AT_TWO)), Expectation.of(NIGHTLY), AT_TWO + 5).next_at == AT_TWO + DAY
    assert (
        judge(job(run(AT_TWO)), Expectation.of({"schedule": "every 1h"}), AT_TWO + 5).next_at == AT_TWO + 3600
    )
    assert judge(job(run(AT_TWO)), Expectation(), AT_TWO + 5).next_at is None


def test_a_time_zone_moves_the_turn() -> None:
    berlin = {**NIGHTLY, "timezone": "Europe/Berlin"}  # in winter two hours after midnight is one o'clock UTC
    assert judge(job(), Expectation.of(berlin), MIDNIGHT).next_at == MIDNIGHT + 3600


def test_freshness_counts_from_the_last_completed_run() -> None:
    declared = {"fresh_within": DAY}
    failed_since = job(run(AT_TWO + DAY, "FAILED"), completed=run(AT_TWO))
    assert events(failed_since, declared, AT_TWO + DAY + 50) == ["failed"]
    assert events(failed_since, declared, AT_TWO + DAY + 100) == ["failed", "not_fresh"]
    assert events(job(since=AT_TWO), declared, AT_TWO + DAY - 1) == []
    assert events(job(since=AT_TWO), declared, AT_TWO + DAY + 1) == ["not_fresh"]


def test_of_a_paused_job_only_what_its_runs_say_is_said_and_the_end_of_the_pause_is_the_time_to_look_again() -> (
    None
):
    paused = job(run(AT_TWO, "FAILED"), pauses=((AT_TWO + DAY, AT_TWO + 3 * DAY),))
    verdict = judge(paused, Expectation.of({**NIGHTLY, "fresh_within": DAY}), AT_TWO + 2 * DAY)
    assert [each.event for each in verdict.problems] == ["failed"]
    assert verdict.due_at == AT_TWO + 3 * DAY


def test_a_verdict_names_the_moment_at_which_it_becomes_another_one() -> None:
    yesterday, expected = job(run(AT_TWO - DAY + 1)), Expectation.of({**NIGHTLY, "finish_by": "3h"})
    assert judge(yesterday, expected, AT_TWO - 1).due_at == AT_TWO + 900
    assert judge(yesterday, expected, AT_TWO + 900).due_at == AT_TWO + 3 * 3600
    assert judge(yesterday, expected, AT_TWO + 3 * 3600).due_at == AT_TWO + DAY


def test_settings_overrule_the_decorator_name_by_name() -> None:
    class Check:
        grace = 60.0
        max_duration = None

    expected = Expectation.of({**NIGHTLY, "max_duration": 7200.0}, Check())
    assert (expected.grace, expected.max_duration) == (60.0, 7200.0)
    assert expected.schedule is not None and expected.schedule.text == "0 2 * * *"


def test_a_schedule_that_does_not_parse_is_refused() -> None:
    with pytest.raises(ScheduleError):
        Expectation.of({"schedule": "61 * * * *"})


# --- how a job kept its schedule ----------------------------------------------------------------------------


def test_each_turn_is_answered_by_the_first_start_before_the_next() -> None:
    starts = [AT_TWO + 3, AT_TWO + 7200, AT_TWO + 2 * DAY + 9]
    found = turns(Expectation.of(NIGHTLY), starts, MIDNIGHT, MIDNIGHT + 3 * DAY)
    assert found == [
        Turn(AT_TWO, AT_TWO + 3),
        Turn(AT_TWO + DAY, None),
        Turn(AT_TWO + 2 * DAY, AT_TWO + 2 * DAY + 9),
    ]
    assert completeness(found) == 2 / 3
    assert lateness(found) == 3


def test_a_turn_whose_grace_still_runs_does_not_count_against_the_job() -> None:
    expected = Expectation.of(NIGHTLY)
    assert turns(expected, [], MIDNIGHT, AT_TWO + 60) == []
    assert turns(expected, [], MIDNIGHT, AT_TWO + 901) == [Turn(AT_TWO)]
    assert turns(expected, [AT_TWO + 1], MIDNIGHT, AT_TWO + 60) == [Turn(AT_TWO, AT_TWO + 1)]


def test_without_a_schedule_nothing_was_expected() -> None:
    assert turns(Expectation(), [1.0, 2.0], 0.0, 10.0) == []
    assert completeness([]) is None
    assert lateness([]) is None


def test_drift_of_every_15m_is_no_fault_and_a_gap_is_counted_turn_by_turn() -> None:
    expected = Expectation.of({"schedule": "every 15m", "grace": 60.0})
    drifting = [MIDNIGHT + number * 920.0 for number in range(40)]
    assert completeness(turns(expected, drifting, MIDNIGHT, drifting[-1])) == 1.0
    gap = [MIDNIGHT, MIDNIGHT + 4 * 900]  # three turns in between, the fourth is answered
    found = turns(expected, gap, MIDNIGHT, gap[-1] + 1)
    assert [turn.started_at is not None for turn in found] == [False, False, False, True]


@given(
    st.lists(st.floats(MIDNIGHT, MIDNIGHT + 5 * DAY), max_size=30).map(sorted),
    st.sampled_from(["0 2 * * *", "*/30 * * * *", "every 15m", "every 2h"]),
    st.floats(0.0, 7200.0),
)
def test_turns_are_in_order_and_each_start_answers_at_most_one(
    starts: list[float], schedule: str, grace: float
) -> None:
    expected = Expectation.of({"schedule": schedule, "grace": grace})
    found = turns(expected, starts, MIDNIGHT, MIDNIGHT + 5 * DAY)
    answers = [turn.started_at for turn in found if turn.started_at is not None]
    assert len(answers) == len(set(answers)) or len(starts) != len(set(starts))
    assert answers == sorted(answers)
    assert set(answers) <= set(starts)
    assert completeness(found) is None or 0.0 <= (completeness(found) or 0.0) <= 1.0
