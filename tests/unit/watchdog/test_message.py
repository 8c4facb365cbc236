"""Messages: what people and programs read in an alert."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holter.agent.setting_types import EVENTS
from holter.agent.watchdog import message, samples
from holter.agent.watchdog.message import Facts, compose, duration_text
from holter.backends.records import Run


def run(**fields: Any) -> Run:
    said = {
        "id": "r1",
        "kind": "flow",
        "name": "etl",
        "root_id": "r1",
        "state": "FAILED",
        "host": "web-1",
        **fields,
    }
    return Run(**said)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.42, "0.4 s"),
        (9.96, "10.0 s"),
        (59.4, "59 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (90 * 86400.0, "90 d 0 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("event", "title"),
    [
        ("failed", "etl failed on web-1"),
        ("overdue", "etl is overdue on web-1"),
        ("late", "etl late on web-1"),
    ],
)
def test_the_title_says_what_and_where(event: str, title: str) -> None:
    assert compose(run(), Facts(event, "k", 0.0))["title"] == title


def test_a_project_is_named_where_there_is_one() -> None:
    assert (
        compose(run(project="billing", host=None), Facts("failed", "k", 0.0))["title"] == "billing/etl failed"
    )


def test_a_live_run_has_lasted_until_now() -> None:
    alert = compose(run(state="RUNNING", started_at=100.0), Facts("stalled", "k", 160.0, usual=30.0))
    assert alert["duration_seconds"] == 60.0
    assert "after 1 min 0 s (usually 30 s)" in alert["body"]


def test_endless_lines_are_cut_and_the_whole_is_json() -> None:
    error = {"type": "ValueError", "message": "x" * 100_000}
    alert = compose(run(error=error), Facts("failed", "k", 0.0, tail=("y" * 100_000,)))
    assert len(alert["body"]) < 2000
    assert len(alert["log_tail"][0]) < 600
    json.dumps(alert)


def test_a_test_alert_has_every_field_of_a_real_one() -> None:
    assert set(message.test_alert("ops", 0.0)) == set(compose(run(), Facts("failed", "k", 0.0)))


@pytest.mark.parametrize("event", [*EVENTS, "digest"])
def test_a_sample_of_each_event_is_whole_and_says_that_it_is_a_test(event: str) -> None:
    alert = samples.sample(event, "ops", 1_800_000_000.0)
    assert set(message.test_alert("ops", 0.0)) | {"test"} <= set(alert)
    assert alert["event"] == event and alert["title"].startswith("TEST: ")
    assert alert["body"].splitlines()[0].startswith("This is a test") and "See more: holter" in alert["body"]
    json.dumps(alert)
