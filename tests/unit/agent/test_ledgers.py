"""The ledger of expected times in a store: since when it holds, what is written of each day, and what corrects it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent import ledgers
from holter.agent.ledgers import CORRECTED, HEAD, KEPT, PAGE, Head, Job
from holter.backends.clock import token
from holter.backends.expected import Expectation
from holter.backends.ledger import Entry
from holter.backends.lines import encode
from holter.backends.memory import MemoryBackend

HOUR, DAY = 3600.0, 86400.0
MIDNIGHT = 20_100 * DAY  # 2025-01-12, UTC
HOURLY = {"schedule": "0 * * * *", "grace": 600.0}
EVERY = {"schedule": "every 1h", "grace": 600.0}


class Store(MemoryBackend):
    """A store to which runs are written in a line, and in which a rival may be faster by one write."""

    def __init__(self) -> None:
        super().__init__(f"memory:{token(12)}")
        self._numbers = count(1)
        self.rival: Callable[[], object] | None = None

    def put(self, kind: str, key: str, value: dict[str, Any], expect_version: int) -> int | None:
        rival, self.rival = self.rival, None
        if rival is not None:
            rival()
        return super().put(kind, key, value, expect_version)

    def ran(
        self,
        *starts: float,
        state: str = "COMPLETED",
        name: str = "etl",
        project: str = "default",
        below: str = "",
    ) -> None:
        for at in starts:
            number = next(self._numbers)
            told: dict[str, Any] = {"run": f"{below}r{number}", "at": at}
            start = {"event": "start", **told, "kind": "flow", "name": name, "project": project}
            end = {"event": "end", **told, "at": at + 1, "state": state}
            self.append(f"j{number}", 0, encode(start) + encode(end))


@pytest.fixture
def store() -> Store:
    return Store()


def job(declared: dict[str, Any] | None = None, name: str = "etl", **fields: Any) -> Job:
    return Job("default", name, Expectation.of(HOURLY if declared is None else declared), **fields)


def written(
    store: Store, since: float, until: float, now: float, mine: Job | None = None, **known: Any
) -> list[Entry]:
    """All that there is to write from `since` on, and what stands there then."""
    mine = mine or job()
    begin: float | None = since
    for _ in range(20):
        if begin is None:
            return ledgers.entries(store, mine.key, since, until)
        begin, _ = ledgers.write(store, mine, known.get("unwatched", ()), now, begin)
    raise AssertionError("it does not end")


def said(entries: list[Entry]) -> list[tuple[float, str]]:
    """The outcomes by hours after the midnight."""
    return [((each.expected_at - MIDNIGHT) / HOUR, each.outcome) for each in entries]


# --- since when ---


def test_a_store_remembers_when_it_was_first_watched(store: Store) -> None:
    assert ledgers.begun(store, 5.0) == 5.0
    assert ledgers.begun(store, 9.0) == 5.0


def test_a_job_has_a_key_by_project_and_name() -> None:
    assert job(name="a/b").key == "default~a%2Fb"


def test_a_job_without_a_schedule_has_no_ledger(store: Store) -> None:
    assert ledgers.opened(store, job({}), None, MIDNIGHT) is None
    assert ledgers.head(store, job().key) is None


def test_a_schedule_that_was_written_down_holds_since_then_but_no_more_than_a_week(store: Store) -> None:
    top = Head("0 * * * *", "Europe/Berlin", MIDNIGHT - 5, MIDNIGHT - 5)
    berlin = job({**HOURLY, "timezone": "Europe/Berlin"})
    assert ledgers.opened(store, berlin, MIDNIGHT - 5, MIDNIGHT) == top
    assert ledgers.head(store, berlin.key) == top
    older = job(name="older")
    assert ledgers.opened(store, older, MIDNIGHT - 30 * DAY, MIDNIGHT) == Head(
        "0 * * * *", None, MIDNIGHT - CORRECTED, MIDNIGHT - CORRECTED
    )


def test_a_schedule_that_is_the_same_holds_on_and_one_that_changed_holds_from_now_on(store: Store) -> None:
    first = ledgers.opened(store, job(), MIDNIGHT, MIDNIGHT)
    assert ledgers.opened(store, job({**HOURLY, "grace": 1.0}), MIDNIGHT + 5, MIDNIGHT + 9) == first
    zone = job({**HOURLY, "timezone": "Europe/Berlin"})
    assert ledgers.opened(store, zone, MIDNIGHT, MIDNIGHT + 9) == Head(
        "0 * * * *", "Europe/Berlin", MIDNIGHT + 9, MIDNIGHT + 9
    )
    other = job({"schedule": "5 * * * *", "timezone": "Europe/Berlin"})
    assert ledgers.opened(store, other, None, MIDNIGHT + 10) == Head(
        "5 * * * *", "Europe/Berlin", MIDNIGHT + 10, MIDNIGHT + 10
    )


def test_of_two_who_open_it_at_once_both_have_what_the_first_wrote(store: Store) -> None:
    store.rival = lambda: ledgers.opened(store, job(), MIDNIGHT - 5, MIDNIGHT)
    opened = ledgers.opened(store, job(), MIDNIGHT - 3, MIDNIGHT)
    assert opened is not None and opened.since == MIDNIGHT - 5


@pytest.mark.parametrize(
    ("start", "since"),
    [
        (MIDNIGHT - HOUR + 30, MIDNIGHT - HOUR - 0.001),  # in time: its turn is the first
        (MIDNIGHT - HOUR + 600, MIDNIGHT - HOUR - 0.001),
        (MIDNIGHT - HOUR - 5, MIDNIGHT - HOUR - 0.001),
        (MIDNIGHT - HOUR + 601, MIDNIGHT - HOUR + 601),  # out of time: nothing was expected before
    ],
)
def test_a_schedule_that_a_run_taught_holds_from_the_turn_that_it_answered(
    store: Store, start: float, since: float
) -> None:
    store.ran(start, MIDNIGHT - 10, MIDNIGHT - 5)
    store.ran(MIDNIGHT - DAY, name="another")
    store.ran(MIDNIGHT - DAY, project="another")
    store.ran(MIDNIGHT - CORRECTED - 1)
    opened = ledgers.opened(store, job(), None, MIDNIGHT)
    assert opened is not None and opened.since == since


def test_one_that_counts_from_the_last_start_holds_from_the_first_run(store: Store) -> None:
    store.ran(MIDNIGHT - 1000, MIDNIGHT - 500)
    opened = ledgers.opened(store, job(EVERY), None, MIDNIGHT)
    assert opened is not None and opened.since == MIDNIGHT - 1000
    store.ran(MIDNIGHT - HOUR + 30, name="on the hour")
    opened = ledgers.opened(store, job(EVERY, "on the hour"), None, MIDNIGHT)
    assert opened is not None and opened.since == MIDNIGHT - HOUR + 30


def test_one_run_is_enough_to_teach_a_schedule(store: Store) -> None:
    store.ran(MIDNIGHT - HOUR)
    opened = ledgers.opened(store, job(), None, MIDNIGHT)
    assert opened is not None and opened.since == MIDNIGHT - HOUR - 0.001


def test_without_a_run_it_holds_from_now_on(store: Store) -> None:
    opened = ledgers.opened(store, job(), None, MIDNIGHT)
    assert opened is not None and opened.since == MIDNIGHT


def test_a_name_is_no_pattern(store: Store) -> None:
    store.ran(MIDNIGHT - DAY, name="e1")
    opened = ledgers.opened(store, job(name="e[1-3]"), None, MIDNIGHT)
    assert opened is not None and opened.since == MIDNIGHT


# --- from where on ---


def test_what_is_new_of_a_run_is_written_from_its_turn_on(store: Store) -> None:
    top = Head("0 * * * *", None, MIDNIGHT, MIDNIGHT + 9 * HOUR)
    now = MIDNIGHT + 10 * HOUR
    assert ledgers.redo_from(store, job(), top, MIDNIGHT + 3 * HOUR + 9, now) == MIDNIGHT + 3 * HOUR - 0.001
    assert ledgers.redo_from(store, job(), top, MIDNIGHT + 3 * HOUR - 5, now) == MIDNIGHT + 3 * HOUR - 0.001
    assert ledgers.redo_from(store, job(), top, MIDNIGHT + 3 * HOUR - 6, now) == MIDNIGHT + 2 * HOUR - 0.001
    assert ledgers.redo_from(store, job(), top, now, now) == top.until
    assert ledgers.redo_from(store, job(), top, MIDNIGHT - DAY, now) == top.since
    assert ledgers.redo_from(store, job(), top, MIDNIGHT, MIDNIGHT + 8 * DAY) == MIDNIGHT + DAY


def test_of_one_that_counts_from_the_last_start_it_is_written_from_the_start_before_it(store: Store) -> None:
    top = Head("every 1h", None, MIDNIGHT - DAY, MIDNIGHT + 9 * HOUR)
    store.ran(MIDNIGHT, MIDNIGHT + 1000, MIDNIGHT + 2000)
    store.ran(MIDNIGHT + 1500, name="another")
    now = MIDNIGHT + 10 * HOUR
    assert ledgers.redo_from(store, job(EVERY), top, MIDNIGHT + 2000, now) == MIDNIGHT + 1000
    assert ledgers.redo_from(store, job(EVERY), top, MIDNIGHT, now) == MIDNIGHT - HOUR
    assert ledgers.redo_from(store, job({}), top, MIDNIGHT, now) == MIDNIGHT


# --- written ---


def test_each_turn_has_its_outcome(store: Store) -> None:
    store.ran(MIDNIGHT + HOUR - 5, MIDNIGHT + 2 * HOUR + 601)
    store.ran(MIDNIGHT + 4 * HOUR, state="SKIPPED")
    store.ran(MIDNIGHT + 6 * HOUR, name="another")
    gap = ((MIDNIGHT + 5 * HOUR, MIDNIGHT + 5 * HOUR + 601),)
    pause = ((MIDNIGHT + 7 * HOUR, MIDNIGHT + 7 * HOUR + 1),)
    found = written(store, MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + 8 * HOUR, job(pauses=pause), unwatched=gap)
    outcomes = ["on_time", "late", "missed", "skipped", "unknown", "missed", "skipped"]
    assert said(found) == list(zip(range(1, 8), outcomes, strict=True))
    assert found[0].started_at == MIDNIGHT + HOUR - 5


def test_only_a_run_of_its_own_answers_a_turn_and_not_one_within_another_run(store: Store) -> None:
    store.ran(MIDNIGHT + HOUR, below="r0.")
    assert said(written(store, MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + 2 * HOUR)) == [(1, "missed")]


def test_however_many_runs_there_are_in_a_day_each_turn_has_its_first(store: Store) -> None:
    store.ran(*(MIDNIGHT + HOUR + 60 * number for number in range(70)))
    found = written(store, MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + 3 * HOUR)
    assert [each.started_at for each in found] == [MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR]


def test_a_run_beside_one_that_was_skipped_at_the_same_time_counts(store: Store) -> None:
    store.ran(MIDNIGHT + HOUR, state="SKIPPED")
    store.ran(MIDNIGHT + HOUR)
    assert said(written(store, MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + 2 * HOUR)) == [(1, "on_time")]


def test_the_start_that_answers_a_turn_may_come_before_the_stretch_or_after_it(store: Store) -> None:
    store.ran(MIDNIGHT + HOUR - 4, MIDNIGHT + 2 * HOUR + 30)
    top = ledgers.opened(store, job(), MIDNIGHT, MIDNIGHT)
    assert top is not None
    ledgers.write(store, job(), (), MIDNIGHT + 2 * HOUR + 40, MIDNIGHT + HOUR - 1)
    assert said(ledgers.entries(store, job().key, MIDNIGHT, MIDNIGHT + DAY)) == [
        (1, "on_time"),
        (2, "on_time"),
    ]


def test_of_one_that_counts_from_the_last_start_the_start_before_the_stretch_is_known(store: Store) -> None:
    store.ran(MIDNIGHT - 1800, MIDNIGHT + 1800, MIDNIGHT + 5400)
    found = written(store, MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + 6000, job(EVERY))
    assert said(found) == [(0.5, "on_time"), (1.5, "on_time")]


def test_how_far_the_ledger_is_written_stands_in_its_head_and_never_goes_back(store: Store) -> None:
    ledgers.opened(store, job(), MIDNIGHT, MIDNIGHT)
    assert ledgers.write(store, job(), (), MIDNIGHT + 2 * HOUR + 5, MIDNIGHT) == (
        None,
        MIDNIGHT + 3 * HOUR - 5,
    )
    top = ledgers.head(store, job().key)
    assert top == Head("0 * * * *", None, MIDNIGHT, MIDNIGHT + HOUR)
    store.ran(MIDNIGHT + 2 * HOUR + 1)
    ledgers.write(store, job(), (), MIDNIGHT + 2 * HOUR + 5, MIDNIGHT + HOUR)
    top = ledgers.head(store, job().key)
    assert top is not None and top.until == MIDNIGHT + 2 * HOUR + 5
    ledgers.write(store, job(), (), MIDNIGHT + 2 * HOUR, MIDNIGHT)
    assert ledgers.head(store, job().key) == top


def test_when_all_is_answered_the_next_outcome_is_due_after_the_next_turns_grace(store: Store) -> None:
    store.ran(MIDNIGHT + HOUR + 5)
    assert ledgers.write(store, job(), (), MIDNIGHT + HOUR + 9, MIDNIGHT) == (None, MIDNIGHT + 2 * HOUR + 600)
    store.ran(MIDNIGHT + HOUR + 7, name="every")
    due = ledgers.write(store, job(EVERY, "every"), (), MIDNIGHT + HOUR + 9, MIDNIGHT + HOUR)
    assert due == (None, MIDNIGHT + 2 * HOUR + 7 + 600)


def test_a_turn_that_was_answered_ahead_of_its_time_is_due_as_if_it_were_not(store: Store) -> None:
    store.ran(MIDNIGHT + HOUR - 4)
    due = ledgers.write(store, job(), (), MIDNIGHT + HOUR - 3, MIDNIGHT)
    assert due == (None, MIDNIGHT + HOUR + 600)  # it is written down when its time has come


def test_a_start_of_this_moment_moves_when_the_next_outcome_is_due(store: Store) -> None:
    store.ran(MIDNIGHT + 60, name="every")
    assert ledgers.write(store, job(EVERY, "every"), (), MIDNIGHT + 60, MIDNIGHT) == (
        None,
        MIDNIGHT + 60 + HOUR + 600,
    )


def test_a_start_that_is_yet_to_come_does_not_move_when_the_next_outcome_is_due(store: Store) -> None:
    store.ran(MIDNIGHT + 60, MIDNIGHT + 1800, name="every")
    due = ledgers.write(store, job(EVERY, "every"), (), MIDNIGHT + 120, MIDNIGHT)
    assert due == (None, MIDNIGHT + 60 + HOUR + 600)


def test_after_downtime_a_day_is_written_at_a_time(store: Store) -> None:
    ledgers.opened(store, job(), MIDNIGHT + HOUR, MIDNIGHT + HOUR)
    now = MIDNIGHT + 3 * DAY + 5
    assert ledgers.write(store, job(), (), now, MIDNIGHT + 12 * HOUR) == (MIDNIGHT + DAY, None)
    top = ledgers.head(store, job().key)
    assert top is not None and top.until == MIDNIGHT + DAY
    found = written(store, MIDNIGHT, now, now)
    assert [each.expected_at for each in found] == [MIDNIGHT + n * HOUR for n in range(1, 72)]
    assert [key for key, _ in store.list(PAGE)] == [f"default~etl~2025-01-{day}" for day in (12, 13, 14)]


def test_the_last_turn_of_a_day_is_answered_by_a_start_of_the_next(store: Store) -> None:
    store.ran(MIDNIGHT + DAY + 30)
    ledgers.write(store, job(), (), MIDNIGHT + 3 * DAY, MIDNIGHT + 22 * HOUR)
    found = ledgers.entries(store, job().key, MIDNIGHT, MIDNIGHT + 3 * DAY)
    assert said(found) == [(23, "missed"), (24, "on_time")]


def test_writing_it_again_changes_nothing(store: Store) -> None:
    ledgers.opened(store, job(), MIDNIGHT, MIDNIGHT)
    written(store, MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + 9 * HOUR)
    before = store.list(PAGE) + store.list(HEAD)
    written(store, MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + 9 * HOUR)
    assert store.list(PAGE) + store.list(HEAD) == before  # nor their versions


def test_where_somebody_was_faster_it_is_written_again_from_the_same_place(store: Store) -> None:
    ledgers.opened(store, job(), MIDNIGHT, MIDNIGHT)
    now = MIDNIGHT + 9 * HOUR
    store.rival = lambda: ledgers.write(store, job(), (), now - 4 * HOUR, MIDNIGHT)
    assert ledgers.write(store, job(), (), now, MIDNIGHT) == (MIDNIGHT, None)
    top = ledgers.head(store, job().key)
    assert top is not None and top.until == MIDNIGHT + 4 * HOUR
    assert len(written(store, MIDNIGHT, MIDNIGHT + DAY, now)) == 8


def test_a_page_that_is_a_hundred_days_old_goes_when_a_new_one_begins(store: Store) -> None:
    for days in (99, 100, 101):
        written(store, MIDNIGHT - days * DAY, MIDNIGHT, MIDNIGHT - days * DAY + 3 * HOUR)
    assert len(store.list(PAGE)) == 3
    written(store, MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + HOUR + 5)
    assert len(store.list(PAGE)) == 3  # nothing was written yet
    written(store, MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + 3 * HOUR)
    assert [key for key, _ in store.list(PAGE)] == [
        f"default~etl~{day}" for day in ("2024-10-03", "2024-10-05", "2025-01-12")
    ]
    ledgers.write(store, job(), (), MIDNIGHT + 5 * HOUR, MIDNIGHT)
    assert len(store.list(PAGE)) == 3


def test_the_outcomes_are_read_from_a_moment_on_and_before_another(store: Store) -> None:
    written(store, MIDNIGHT, MIDNIGHT + 2 * DAY, MIDNIGHT + 2 * DAY)
    part = ledgers.entries(store, job().key, MIDNIGHT + 23 * HOUR, MIDNIGHT + 25 * HOUR)
    assert said(part) == [(23, "missed"), (24, "missed")]
    assert ledgers.entries(store, job(name="another").key, MIDNIGHT, MIDNIGHT + DAY) == []
    late = ledgers.entries(store, job().key, MIDNIGHT - 900 * DAY, MIDNIGHT + DAY + KEPT)
    assert [each.expected_at for each in late] == [
        MIDNIGHT + n * HOUR for n in range(24, 48)
    ]  # of a hundred days
    assert ledgers.entries(store, job().key, MIDNIGHT + DAY, MIDNIGHT + DAY) == []


@given(
    st.lists(st.integers(0, 2800), max_size=12, unique=True),
    st.sampled_from([HOURLY, EVERY, {**HOURLY, "timezone": "Asia/Kolkata"}]),
    st.lists(st.integers(60, 1400), min_size=1, max_size=6),
)
def test_whoever_writes_it_and_however_often_it_is_the_same(
    minutes: list[int], declared: dict[str, Any], steps: list[int]
) -> None:
    """One who writes it once when all is there, and one who comes now and then, while runs come in."""
    once, often, now = Store(), Store(), MIDNIGHT + 2 * DAY
    starts = [MIDNIGHT + 60.0 * at for at in sorted(minutes)]
    once.ran(*starts)
    whole = written(once, MIDNIGHT, now, now, job(declared))
    ledgers.opened(often, job(declared), MIDNIGHT, MIDNIGHT)
    moments = [MIDNIGHT]
    for step in steps:
        moments.append(min(now, moments[-1] + 60.0 * step))
    for before, at in zip(moments, [*moments[1:], now], strict=True):
        often.ran(*(start for start in starts if before <= start < at))
        top = ledgers.head(often, job(declared).key)
        assert top is not None
        redo: float | None = top.until
        while redo is not None:
            redo, _ = ledgers.write(often, job(declared), (), at, redo)
    assert ledgers.entries(often, job(declared).key, MIDNIGHT, now) == whole
