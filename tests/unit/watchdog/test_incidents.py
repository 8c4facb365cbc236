"""Incidents: detection says what should be open, alerting is told of each beginning and each end, once."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from holter.agent.watchdog.incidents import Board, Incident, handled, news, open_incidents
from holter.backends.clock import token
from holter.backends.memory import MemoryBackend

LATE = Incident("late", "default:etl:late:100", "expected 02:00", 100.0, job="etl")
MISSED = Incident("missed", "default:etl:missed:100", "no run came", 200.0, job="etl")


def told(store: Any) -> list[tuple[str, bool]]:
    """What alerting hears, and handles."""
    heard = [
        (each.incident.event, each.over_at is not None)
        for each in news(store)
        if each.told or each.over_at is None
    ]
    assert all(handled(store, each) for each in news(store))
    return heard


def test_a_beginning_and_an_end_are_told_once_each(store: Any) -> None:
    assert Board(store).settle("job:etl", [LATE], 101.0) == 1
    assert Board(store).settle("job:etl", [LATE], 102.0) == 0
    assert told(store) == [("late", False)]
    assert told(store) == []
    assert [each.event for each in open_incidents(store)] == ["late"]
    assert Board(store).settle("job:etl", [], 103.0) == 1
    assert told(store) == [("late", True)]
    assert (told(store), open_incidents(store), store.list("incident")) == ([], [], [])


def test_a_scope_says_nothing_of_others(store: Any) -> None:
    Board(store).settle("job:etl", [LATE], 101.0)
    board = Board(store)
    board.settle("host:web-1", [], 102.0)
    assert board.open("job:etl") == {LATE.key: LATE}
    assert board.scopes("job:") == {"job:etl"}


def test_what_ended_before_anybody_was_told_goes_without_a_word(store: Any) -> None:
    Board(store).settle("job:etl", [LATE], 101.0)
    Board(store).settle("job:etl", [MISSED], 102.0)
    assert told(store) == [("missed", False)]


def test_one_that_comes_back_before_its_end_was_told_just_goes_on(store: Any) -> None:
    Board(store).settle("job:etl", [LATE], 101.0)
    told(store)
    Board(store).settle("job:etl", [], 102.0)
    Board(store).settle("job:etl", [LATE], 103.0)
    assert told(store) == []


def test_what_was_heard_of_one_says_nothing_of_the_next_of_the_same_name_and_version(store: Any) -> None:
    """A watchdog stood still between hearing and handling, while another told the end and it set in again."""
    Board(store).settle("job:etl", [LATE], 101.0)
    (begun,) = news(store)
    assert told(store) == [("late", False)]
    Board(store).settle("job:etl", [], 103.0)
    assert told(store) == [("late", True)]
    Board(store).settle("job:etl", [evolve(LATE, since=200.0)], 201.0)
    assert not handled(store, begun)
    assert told(store) == [("late", False)]


def test_the_text_of_one_that_stays_is_kept_up_to_date_without_news(store: Any) -> None:
    Board(store).settle("job:etl", [MISSED], 101.0)
    told(store)
    later = Incident("missed", MISSED.key, "2 runs did not come", 200.0, job="etl")
    Board(store).settle("job:etl", [later], 102.0)
    assert told(store) == []
    assert [each.reason for each in open_incidents(store)] == ["2 runs did not come"]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 1), st.sets(st.sampled_from("abc")), st.booleans())))
def test_two_watchdogs_and_any_passes_leave_exactly_what_was_wanted_last(
    passes: list[tuple[int, set[str], bool]],
) -> None:
    """A board may be a pass old: what it loses by that, its next pass makes up for."""
    store: Any = MemoryBackend(f"memory:{token(8)}")
    boards = [Board(store), Board(store)]
    begun: dict[str, bool] = {}
    wanted: list[Incident] = []
    for number, keys, collect in passes:
        wanted = [Incident("late", key, "", 0.0) for key in sorted(keys)]
        boards[number].settle("s", wanted, 1.0)
        boards[number] = Board(store)
        if collect:
            for each in news(store):
                if handled(store, each):
                    key, over = each.incident.key, each.over_at is not None
                    assert begun.get(key, False) is each.told
                    begun[key] = not over
    Board(store).settle("s", wanted, 2.0)
    assert {each.key for each in open_incidents(store)} == {each.key for each in wanted}
