"""The ledger of expected times, pure: one outcome for each turn, whatever is known and in whatever order it came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.backends.expected import Expectation, longest
from holter.backends.ledger import (
    ANSWERED,
    OUTCOMES,
    Entry,
    Evidence,
    completeness,
    counts,
    day_of,
    decide,
    lateness,
    merge,
    pack,
    unpack,
)

DAY = 86400.0
MIDNIGHT = 20_100 * DAY
END = MIDNIGHT + DAY
HALF_HOURLY = Expectation.of({"schedule": "*/30 * * * *", "grace": 300.0})
EVERY = Expectation.of({"schedule": "every 30m", "grace": 300.0})


def outcomes(evidence: Evidence, now: float, expected: Expectation = HALF_HOURLY) -> list[str]:
    return [each.outcome for each in decide(expected, evidence, MIDNIGHT, min(now, END), now)[0]]


def test_a_turn_is_open_until_it_is_answered_or_over() -> None:
    at = MIDNIGHT + 1800
    assert outcomes(Evidence(), at + 1799 - 5) == []
    assert outcomes(Evidence((at + 300,)), at + 301) == ["on_time"]
    assert outcomes(Evidence((at + 301,)), at + 302) == ["late"]
    assert outcomes(Evidence(), at + 1800) == ["missed"]
    assert outcomes(Evidence(), at + 1795) == ["missed"]  # from then on, a start answers the next one


def test_a_start_of_seconds_before_its_time_answers_the_turn_and_not_the_one_before() -> None:
    at = MIDNIGHT + 3600
    assert outcomes(Evidence((at - 4,)), at + 10) == ["missed", "on_time"]
    assert outcomes(Evidence((at - 6,)), at + 10) == ["late"]


def test_the_moment_at_which_the_next_outcome_is_due_is_told() -> None:
    _, until, due = decide(HALF_HOURLY, Evidence(), MIDNIGHT, MIDNIGHT + 1900, MIDNIGHT + 1900)
    assert (until, due) == (MIDNIGHT, MIDNIGHT + 3595)


def test_the_ledger_is_all_there_is_up_to_the_last_turn_that_has_an_outcome() -> None:
    now = MIDNIGHT + 3700
    entries, until, due = decide(HALF_HOURLY, Evidence(), MIDNIGHT, now, now)
    assert ([each.expected_at for each in entries], until) == ([MIDNIGHT + 1800], MIDNIGHT + 1800)
    assert due == MIDNIGHT + 5395


def test_a_grace_that_is_longer_than_the_time_between_two_turns_is_waited_for() -> None:
    patient = Expectation.of({"schedule": "*/30 * * * *", "grace": 4000.0})
    now = MIDNIGHT + 4000
    assert decide(patient, Evidence(), MIDNIGHT, now, now)[2] == MIDNIGHT + 1800 + 4000
    assert outcomes(Evidence(), MIDNIGHT + 1800 + 4000, patient) == ["missed"]


def test_what_fell_into_a_gap_is_unknown_by_its_deadline_and_what_fell_into_a_pause_is_skipped() -> None:
    first = MIDNIGHT + 1800
    watched_again = Evidence(unwatched=((MIDNIGHT, first + 300),))
    assert outcomes(watched_again, first + 1800) == ["missed"]
    assert outcomes(Evidence(unwatched=((first + 300, first + 301),)), first + 1800) == ["unknown"]
    assert outcomes(Evidence(pauses=((first, first + 1),)), first + 1800) == ["skipped"]


def test_a_run_that_was_skipped_is_no_answer_where_another_run_came() -> None:
    at = MIDNIGHT + 1800
    both = Evidence((at + 1, at + 600), frozenset({at + 1}))
    assert outcomes(both, at + 1800) == ["late"]
    assert outcomes(Evidence((at + 1,), frozenset({at + 1})), at + 1800) == ["skipped"]


def test_a_run_that_answers_the_next_turn_does_not_answer_for_one_that_was_skipped() -> None:
    at = MIDNIGHT + 1800
    both = Evidence((at + 1, at + 1795), frozenset({at + 1}))
    assert outcomes(both, at + 1801) == ["skipped", "on_time"]


def test_unknown_and_skipped_turns_say_nothing_of_completeness() -> None:
    kept = [Entry(float(n), outcome) for n, outcome in enumerate([*OUTCOMES, "on_time"])]
    assert completeness(kept) == 3 / 4
    assert counts(kept) == {"on_time": 2, "late": 1, "missed": 1, "skipped": 1, "unknown": 1}
    assert completeness([Entry(0.0, "unknown")]) is None
    assert lateness([Entry(0.0, "late", 4.0), Entry(5.0, "skipped", 6.0), Entry(9.0, "missed")]) == 4.0


def test_figures_are_of_the_turns_that_a_run_answered() -> None:
    assert completeness([Entry(0.0, "on_time", 0.0), Entry(9.0, "missed")]) == 0.5
    assert completeness([Entry(0.0, "missed")]) == 0.0
    assert lateness([Entry(10.0, "on_time", 7.0)]) == 0.0  # nobody comes earlier than in time
    assert lateness([Entry(10.0, "late", 14.5)]) == 4.5
    assert lateness([Entry(10.0, "skipped", 14.5), Entry(20.0, "unknown")]) is None


def test_what_a_run_answered_stays_answered_when_the_run_is_forgotten() -> None:
    old = [Entry(MIDNIGHT + 1800, "on_time", MIDNIGHT + 1801), Entry(MIDNIGHT + 3600, "unknown")]
    new = [Entry(MIDNIGHT + 1800, "missed"), Entry(MIDNIGHT + 3600, "late", MIDNIGHT + 4500)]
    assert merge(old, new, MIDNIGHT, END, [MIDNIGHT + 4500]) == [old[0], new[1]]


def test_what_a_run_answered_that_is_there_and_answers_it_no_more_is_answered_no_more() -> None:
    old, new = Entry(MIDNIGHT + 1800, "on_time", MIDNIGHT + 1801), Entry(MIDNIGHT + 1800, "missed")
    assert merge([old], [new], MIDNIGHT, END, [MIDNIGHT + 1801]) == [new]


def test_what_was_said_first_of_a_turn_that_nobody_answered_stays() -> None:
    old, new = Entry(MIDNIGHT + 1800, "unknown"), Entry(MIDNIGHT + 1800, "missed")
    assert merge([old], [new], MIDNIGHT, END, []) == [old]


def test_a_stretch_is_after_its_beginning_and_up_to_its_end() -> None:
    since, until = MIDNIGHT + 1800, MIDNIGHT + 5400
    first, second = Entry(since, "missed"), Entry(since + 1800, "missed")
    last = Entry(until, "on_time", until + 1)
    assert merge([first, second, last], [], since, until, []) == [first, last]
    assert merge([first, second, last], [], since, until, [until + 1]) == [first]


def test_a_run_longer_than_so_many_times_the_median_is_overdue_once_there_are_three() -> None:
    expected = Expectation.of({"max_times_median": 3, "median_of": 5})
    assert longest(expected, [10.0, 10.0]) is None
    assert longest(expected, [10.0, 20.0, 30.0, 40.0, 50.0, 9000.0]) == (
        90.0,
        "runs longer than 3 times the median of the last 5 runs, 30s",
    )
    both = Expectation.of({"max_times_median": 3, "max_duration": 60.0})
    assert longest(both, [30.0] * 3) == (60.0, "runs longer than max_duration 1m")


@given(st.floats(0, 2e9))
def test_a_day_begins_at_the_midnight_before_in_utc(at: float) -> None:
    assert day_of(at) <= at < day_of(at) + DAY
    assert day_of(at) % DAY == 0.0


def test_a_page_whose_columns_are_not_of_one_length_is_refused() -> None:
    page = pack([Entry(MIDNIGHT + 1800, "missed"), Entry(MIDNIGHT + 3600, "missed")], MIDNIGHT)
    with pytest.raises(ValueError, match="shorter"):
        unpack({**page, "waits": [None]})


starts = st.lists(st.floats(MIDNIGHT, END), max_size=60, unique=True).map(sorted)
spans = st.lists(st.tuples(st.floats(MIDNIGHT, END), st.floats(0, 9000)), max_size=3).map(
    lambda found: tuple((at, at + long) for at, long in found)
)


@given(starts, spans, spans, st.lists(st.floats(MIDNIGHT, END), max_size=8).map(sorted))
def test_a_day_in_any_stretches_is_the_same_day(
    at: list[float],
    gaps: tuple[tuple[float, float], ...],
    pauses: tuple[tuple[float, float], ...],
    cuts: list[float],
) -> None:
    evidence = Evidence(tuple(at), frozenset(at[::3]), gaps, pauses)
    now = END + DAY
    whole, _, _ = decide(HALF_HOURLY, evidence, MIDNIGHT, END, now)
    pieces: list[Entry] = []
    for since, until in zip([MIDNIGHT, *cuts], [*cuts, END], strict=True):
        found, _, _ = decide(HALF_HOURLY, evidence, since, until, now)
        pieces = merge(pieces, found, since, until, at)
    assert pieces == whole
    assert [each.expected_at for each in whole] == [MIDNIGHT + n * 1800 for n in range(1, 49)]
    assert unpack(pack(whole, MIDNIGHT)) == whole


@given(starts, st.sampled_from([HALF_HOURLY, EVERY]), st.randoms(use_true_random=False))
def test_evidence_in_any_order_leaves_the_same_answers(
    at: list[float], expected: Expectation, random: object
) -> None:
    whole, _, _ = decide(expected, Evidence(tuple(at)), MIDNIGHT, END, END + DAY)
    shuffled = list(at)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    book: list[Entry] = []
    for count in range(len(at) + 1):
        known = sorted(shuffled[:count])
        found, _, _ = decide(expected, Evidence(tuple(known)), MIDNIGHT, END, END + DAY)
        book = merge(book, found, MIDNIGHT, END, known)
    assert book == whole
    answers = [each.started_at for each in whole if each.outcome in ANSWERED]
    assert len(answers) == len(set(answers))
