"""The fold: what a run's events add up to. That order and batches do not matter is tested with the contract."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from holter.backends.digest import digest
from holter.backends.fold import apply, settle, transitions
from holter.backends.records import Run
from holter.backends.soundness import sound

AT = 1_800_000_000.0


def start(at: float = AT, **fields: Any) -> dict[str, Any]:
    return {"event": "start", "run": "r1", "at": at, "kind": "flow", "name": "etl", **fields}


def said(event: str, at: float, **fields: Any) -> dict[str, Any]:
    return {"event": event, "run": "r1", "at": at, **fields}


def fold(*events: dict[str, Any], journal: str = "j1") -> dict[str, Any]:
    doc: dict[str, Any] = {"id": "r1", "root_id": "r1"}
    for event in events:
        apply(doc, event, journal)
    settle(doc)
    return doc


@pytest.mark.parametrize(
    ("own", "marked", "state"),
    [
        ("CRASHED", False, "CANCELLED"),
        ("FAILED", False, "CANCELLED"),
        ("COMPLETED", False, "COMPLETED"),
        (None, False, "CANCELLED"),
        (None, True, "FAILED"),
    ],
)
def test_what_a_process_says_after_it_was_cancelled_is_the_echo_unless_it_completed(
    own: str | None, marked: bool, state: str
) -> None:
    later = [said("judge", AT + 3, state="CRASHED", by="proof"), said("end", AT + 2, state=own)]
    told = [start(), said("judge", AT + 1, state="CANCELLED", by="cancel"), *(later if own else later[:1])]
    told += [said("judge", AT + 4, state="FAILED", by="mark")] if marked else []
    for events in permutations(told):
        assert fold(*events)["state"] == state


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([start(pending=True)], "PENDING"),
        ([start()], "RUNNING"),
        ([start(pending=True), said("attempt", AT, attempt=1)], "RUNNING"),
        ([start(), said("retry", AT, attempt=1)], "RETRYING"),
        ([start(), said("retry", AT, attempt=1), said("attempt", AT, attempt=2)], "RUNNING"),
        ([start(), said("end", AT, state="SKIPPED")], "SKIPPED"),
        ([start(), said("judge", AT, state="CRASHED")], "CRASHED"),
        ([start(), said("log", AT, text="x"), said("progress", AT, done=1)], "RUNNING"),
    ],
)
def test_a_run_is_where_its_last_phase_put_it(events: list[dict[str, Any]], state: str) -> None:
    for order in permutations(events):
        assert fold(*order)["state"] == state


def test_attempts_are_told_one_by_one_and_the_last_one_ends_with_the_run() -> None:
    events = [
        start(AT, pending=True),
        said("attempt", AT + 1, attempt=1),
        said("retry", AT + 2, attempt=1, error={"type": "A"}, delay=0.5, reason="again"),
        said("attempt", AT + 3, attempt=2),
        said("end", AT + 5, state="FAILED", error={"type": "B"}, reason="no", seconds=4.0),
    ]
    for order in permutations(events):
        run = Run.from_doc(fold(*order), {})
        assert (run.created_at, run.started_at, run.ended_at, run.duration_seconds) == (
            AT,
            AT + 1,
            AT + 5,
            4.0,
        )
        assert [
            (
                each["attempt"],
                each["started_at"],
                each["ended_at"],
                each["error"],
                each["reason"],
                each["delay_seconds"],
            )
            for each in run.attempts
        ] == [
            (1, AT + 1, AT + 2, {"type": "A"}, "again", 0.5),
            (2, AT + 3, AT + 5, {"type": "B"}, "no", None),
        ]


def test_a_duration_comes_from_the_monotonic_clock_of_the_run_or_else_from_the_wall() -> None:
    assert fold(start(AT), said("end", AT + 9, state="COMPLETED", seconds=2.0))["duration_seconds"] == 2.0
    assert fold(start(AT), said("end", AT + 9, state="COMPLETED"))["duration_seconds"] == 9.0
    assert fold(start(AT), said("end", AT - 9, state="COMPLETED"))["duration_seconds"] == 0.0
    assert fold(start(AT, pending=True), said("end", AT, state="SKIPPED"))["duration_seconds"] is None


def test_conditions_come_with_their_reasons_and_leave_none_behind_an_ending() -> None:
    on = [
        said("judge", AT + 1, condition="stalled", on=True, reason="no progress"),
        said("judge", AT + 1, condition="overdue", on=True, reason="over 2 h"),
        said("judge", AT + 1, condition="lost", on=True),
    ]
    doc = fold(start(), *on)
    assert (doc["conditions"], doc["reason"]) == (["lost", "overdue", "stalled"], "over 2 h; no progress")
    doc = fold(start(), *on, said("judge", AT + 2, condition="overdue", on=False))
    assert (doc["conditions"], doc["reason"]) == (["lost", "stalled"], "no progress")
    assert fold(*on, said("end", AT, state="COMPLETED"), start())["conditions"] == []


def test_what_others_say_is_no_sign_of_life() -> None:
    assert fold(start(AT), said("judge", AT + 99, condition="lost", on=True))["active_at"] == AT
    assert fold(start(AT), said("log", AT + 99, text="x"))["active_at"] == AT + 99


def test_a_run_belongs_to_the_latest_journal_of_its_own_process() -> None:
    for order in permutations(
        [("j1", start()), ("j2", said("end", AT, state="FAILED")), ("w9", said("log", AT))]
    ):
        doc: dict[str, Any] = {"id": "r1", "root_id": "r1"}
        for journal, event in order:
            apply(doc, event, journal)
        assert doc["journal"] == "j2"


def test_dropped_lines_add_up_and_pruned_ones_still_count() -> None:
    doc = fold(
        start(),
        said("drop", AT, lines=2, bytes=10),
        said("drop", AT, lines=1, bytes=5),
        said("log", AT, text="x"),
        said("forgot", AT, lines=40),
    )
    assert (doc["dropped"], doc["log_lines"]) == ({"lines": 3, "bytes": 15}, 41)


def test_transitions_are_nothing_until_the_start_is_known() -> None:
    assert transitions(None, fold(said("end", AT, state="FAILED")), AT) == []
    [row] = transitions(None, fold(said("end", AT, state="FAILED"), start()), AT + 5)
    assert row == {
        "run_id": "r1",
        "at": AT + 5,
        "from": None,
        "to": "FAILED",
        "condition": None,
        "reason": None,
    }


def test_a_digest_does_not_change_what_it_was_not_given() -> None:
    process: dict[str, Any] = {}
    lines: list[tuple[int, dict[str, Any] | None]] = [
        (0, {"event": "process", "host": "a", "c": "00000000"}),
        (10, start()),
        (20, None),
        (30, {"event": "start", "run": "r2", "at": "then"}),
        (40, {"event": "beat", "at": AT, "seq": 3}),
        (50, {"event": "close", "at": AT + 1}),
    ]
    out = digest("j1", lines, process, lambda ids: {}, AT + 2)
    assert out.process == {
        "header": {"host": "a"},
        "damaged": 1,
        "beat_at": AT,
        "beats": 3,
        "closed_at": AT + 1,
        "received_at": AT + 2,
    }
    assert list(out.docs) == ["r1"]
    assert [(run, position) for run, position, _ in out.events] == [("r1", 10)]


@pytest.mark.parametrize(
    "run",
    ["", ".", "-", ".a", "a b", "a/b", "a\\b", "ä", "a%b", "a\n", "x" * 81, None, 5, ["a"], "..", "a_b"],
)
def test_an_id_that_is_no_id_is_refused(run: object) -> None:
    assert not sound({"event": "log", "run": run, "at": AT})


@pytest.mark.parametrize("run", ["a", "1kd3v8x2q7f4m9a0", "1kd3v8x2q7f4m9a0.q7f4m9a0-12", "A-1", "x" * 80])
def test_an_id_is_letters_digits_dots_and_dashes(run: str) -> None:
    assert sound({"event": "log", "run": run, "at": AT})


@pytest.mark.parametrize("at", [None, "noon", True, -1, 1e11, 10**400, float("nan"), float("inf"), [], {}])
def test_a_time_that_is_no_time_is_refused(at: object) -> None:
    assert not sound({"event": "log", "run": "r1", "at": at})
