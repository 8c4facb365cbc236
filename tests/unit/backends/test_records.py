"""What readers get: a run in JSON, as documented."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs.exceptions import FrozenInstanceError

from holter.backends.fold import apply, settle
from holter.backends.queries import RunQuery
from holter.backends.records import Log, Run

KEYS = (
    "id kind name run_name project state conditions parent_id root_id attempt attempts parameters result tags error "
    "reason created_at started_at ended_at duration_seconds host pid user code argv cwd exit_code signal usage "
    "about progress artifacts cause slots log_lines dropped"
).split()
AT = 1795413582.12345


def run_of(*events: dict[str, Any], header: dict[str, Any] | None = None) -> Run:
    doc: dict[str, Any] = {"id": "r1", "root_id": "r1"}
    for event in events:
        apply(doc, {"run": "r1", **event}, "j1")
    settle(doc)
    return Run.from_doc(doc, header or {})


START = {"event": "start", "at": AT, "kind": "flow", "name": "etl"}


def test_a_run_in_json_has_the_documented_keys_in_their_order() -> None:
    assert list(run_of(START).to_json()) == KEYS


def test_a_run_in_json_is_plain_json_with_times_in_rfc_3339() -> None:
    run = run_of(
        {**START, "tags": ["a"]},
        {"event": "progress", "at": AT, "done": 1, "total": 2, "text": None},
        {"event": "artifact", "at": AT, "key": "k", "type": "link", "data": "x"},
        {"event": "slot", "at": AT, "limit": "db", "occupy": 1, "waited": 0.0},
        {"event": "end", "at": AT + 1.5, "state": "FAILED", "error": {"type": "E"}, "exit_code": 3},
        header={"host": "web-1", "argv": ["x.py"], "project": "shop"},
    )
    shown = json.loads(json.dumps(run.to_json()))
    assert shown["created_at"] == shown["started_at"] == "2026-11-23T05:59:42.123Z"
    assert shown["ended_at"] == "2026-11-23T05:59:43.623Z"
    assert shown["attempts"] == [
        {
            "attempt": 1,
            "started_at": "2026-11-23T05:59:42.123Z",
            "ended_at": "2026-11-23T05:59:43.623Z",
            "error": {"type": "E"},
            "reason": None,
            "delay_seconds": None,
        }
    ]
    assert (shown["tags"], shown["argv"], shown["conditions"]) == (["a"], ["x.py"], [])
    assert (
        shown["progress"]["at"]
        == shown["artifacts"][0]["at"]
        == shown["slots"][0]["at"]
        == shown["created_at"]
    )
    assert (shown["project"], shown["host"], shown["exit_code"]) == ("shop", "web-1", 3)
    assert shown["duration_seconds"] == pytest.approx(1.5)


def test_a_run_without_anything_has_empty_values_not_missing_ones() -> None:
    shown = run_of({**START, "pending": True}).to_json()
    assert (shown["state"], shown["attempt"], shown["attempts"]) == ("PENDING", 1, [])
    assert (shown["started_at"], shown["ended_at"], shown["duration_seconds"]) == (None, None, None)
    assert (shown["parameters"], shown["tags"], shown["artifacts"], shown["log_lines"]) == ({}, [], [], 0)
    assert shown["project"] == "default"


def test_a_log_line_in_json_has_the_documented_keys() -> None:
    assert Log(7, "r1", AT, "INFO", "print", "x").to_json() == {
        "run_id": "r1",
        "at": "2026-11-23T05:59:42.123Z",
        "level": "INFO",
        "stream": "print",
        "text": "x",
    }


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        run_of(START).state = "COMPLETED"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("state", "conditions", "well"),
    [
        ("COMPLETED", (), True),
        ("SKIPPED", (), True),
        ("CANCELLED", (), True),
        ("RUNNING", (), True),
        ("RUNNING", ("stalled",), False),
        ("FAILED", (), False),
        ("TIMED_OUT", (), False),
        ("CRASHED", (), False),
    ],
)
def test_a_run_is_well_when_nobody_has_to_look(state: str, conditions: tuple[str, ...], well: bool) -> None:
    assert Run("r1", "flow", "etl", state, "r1", conditions=conditions).well is well


def test_states_and_conditions_of_a_query_are_told_apart_in_any_case() -> None:
    query = RunQuery(states=("failed", "RUNNING", "Stale", "overdue"))
    assert query.plain_states() == ("FAILED", "RUNNING")
    assert query.plain_conditions() == ("lost", "overdue", "stalled", "unresponsive")
