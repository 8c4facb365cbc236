"""Waits, attempts and delays of a run's parts on one axis, and 100,000 parts in a few rows."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holter.agent.waterfall import GRAIN, Span, waterfall
from holter.backends.records import Run


def a_run(
    run_id: str = "r", name: str = "etl", state: str = "COMPLETED", at: float = 1000.0, **more: Any
) -> Run:
    begun = more.pop("started_at", at)
    ended = more.pop("ended_at", at + 10 if state not in ("PENDING", "RUNNING", "RETRYING") else None)
    tries = more.pop("attempts", None)
    if tries is None:
        tries = ({"attempt": 1, "started_at": begun, "ended_at": ended},) if begun is not None else ()
    parent = None if run_id == "r" else "r"
    return Run(
        **{"parent_id": parent, **more, "id": run_id, "name": name, "state": state},
        kind="flow" if run_id == "r" else "task",
        root_id="r",
        created_at=at,
        started_at=begun,
        ended_at=ended,
        attempts=tries,
    )


def spans(*found: Span) -> list[tuple[str, float, float]]:
    return [(each.kind, each.start, each.end) for each in found]


def test_a_run_that_waited_and_was_tried_again_has_all_of_it_in_its_row() -> None:
    tries = (
        {"attempt": 1, "started_at": 1004.0, "ended_at": 1006.0, "delay_seconds": 1.0},
        {"attempt": 2, "started_at": 1007.0, "ended_at": 1010.0},
    )
    (row,) = waterfall(a_run(started_at=1004.0, attempts=tries, attempt=2), [], 2000.0).rows
    assert spans(*row.spans) == [("waits", 0, 4), ("fails", 4, 6), ("delays", 6, 7), ("runs", 7, 10)]
    assert (row.start, row.end, row.attempts, row.failures) == (0, 10, 2, 0)


def test_what_failed_for_good_failed_in_its_last_attempt_too() -> None:
    (row,) = waterfall(a_run(state="TIMED_OUT"), [], 2000.0).rows
    assert spans(*row.spans) == [("fails", 0, 10)]


def test_what_is_live_reaches_until_now() -> None:
    tries = ({"attempt": 1, "started_at": 1000.0, "ended_at": 1002.0, "delay_seconds": 60.0},)
    family = [
        a_run("r.1", "load", "RETRYING", attempts=tries),
        a_run("r.2", "copy", "PENDING", started_at=None),
    ]
    found = waterfall(a_run(state="RUNNING"), family, 1030.0)
    assert [spans(*row.spans) for row in found.rows] == [
        [("runs", 0, 30)],
        [("fails", 0, 2), ("delays", 2, 30)],
        [("waits", 0, 30)],
    ]
    assert [row.live for row in found.rows] == [1, 1, 1] and found.seconds == 30


def test_a_wait_for_a_slot_lies_over_the_attempt_that_waited() -> None:
    slot = {"limit": "db", "occupy": 1, "at": 1009.0, "waited": 3.0, "held": 4.0}
    (row,) = waterfall(a_run(slots=(slot,)), [], 2000.0).rows
    assert spans(*row.spans) == [("runs", 0, 10), ("waits", 2, 5)]


def test_the_tree_stands_in_its_order_and_the_axis_takes_in_a_child_of_a_slower_clock() -> None:
    family = [
        a_run("r.1", "early", at=995.0),
        a_run("r.2", "outer", at=1001.0),
        a_run("r.3", "other", at=1002.0, ended_at=1020.0),
        a_run("r.4", "inner", at=1003.0, parent_id="r.2"),
    ]
    found = waterfall(a_run(), family, 2000.0)
    assert [(row.name, row.depth) for row in found.rows] == [
        ("etl", 0),
        ("early", 1),
        ("outer", 1),
        ("inner", 2),
        ("other", 1),
    ]
    assert (found.origin, found.seconds, found.left_out) == (995.0, 25.0, 0)


def test_many_parts_are_put_together_by_name_and_the_first_in_trouble_stay() -> None:
    family = [
        a_run(f"r.{n}", "page", "FAILED" if n % 100 == 50 else "COMPLETED", at=1000.0 + n)
        for n in range(1000)
    ]
    family.append(a_run("r.x", "join", at=1999.0))
    found = waterfall(a_run(ended_at=2100.0), family, 3000.0, most=6)
    assert [(row.name, row.id, row.count, row.failures) for row in found.rows] == [
        ("etl", "r", 1, 0),
        ("page", None, 1000, 10),
        *[("page", f"r.{50 + 100 * n}", 1, 1) for n in range(4)],
        ("join", "r.x", 1, 0),
    ]
    assert found.grouped and found.left_out == 0 and found.rows[1].seconds == 10_000


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e3), st.sampled_from("abcdefghij")), max_size=80),
    st.integers(1, 20),
)
def test_no_run_is_lost_and_no_picture_grows(parts: list[tuple[float, float, str]], most: int) -> None:
    family = [
        a_run(
            f"r.{n}", name, "FAILED" if name == "a" else "COMPLETED", at=1000 + at, ended_at=1000 + at + long
        )
        for n, (at, long, name) in enumerate(sorted(parts))
    ]
    found = waterfall(a_run(), family, 2e4, most=most)
    assert len(found.rows) <= most + 1
    told = sum(row.count for row in found.rows if not (found.grouped and row.depth == 2))
    assert told + found.left_out == len(family) + 1
    for row in found.rows:
        assert len(row.spans) <= 4 * (GRAIN + 1)
        assert all(0 <= span.start <= span.end <= found.seconds + 1e-6 for span in row.spans)
