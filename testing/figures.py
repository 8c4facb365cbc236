"""What a store answers: figures, transitions, processes."""

from __future__ import annotations

from typing import Any

import pytest

from ..backends.base import Backend
from ..backends.queries import RunQuery
from .places import NOON, Place
from .tapes import Tape, outbox

# --- figures -------------------------------------------------------------------------------------------------


def test_figures_are_per_project_name_and_kind_over_the_runs_that_match(store: Backend) -> None:
    tape = Tape()
    for number in range(1, 21):
        tape.ran(f"r{number:02}", seconds=float(number))
    tape.ran("s1", "FAILED", 100.0).start("s2").ran("s3", name="zip", kind="command", seconds=7.0)
    tape.ran("s4", project="bank", seconds=2.0).judge("s2", condition="lost", on=True)
    tape.send(store)
    bank, etl, zipped = store.summarize(RunQuery(limit=1, offset=9))
    assert [(each.project, each.name, each.kind) for each in (bank, etl, zipped)] == [
        ("bank", "etl", "flow"),
        ("shop", "etl", "flow"),
        ("shop", "zip", "command"),
    ]
    assert (etl.runs, etl.by_state) == (22, {"COMPLETED": 20, "FAILED": 1, "RUNNING": 1})
    assert (etl.duration_p50_seconds, etl.duration_p95_seconds) == (10.0, 19.0)
    assert (bank.duration_p50_seconds, bank.duration_p95_seconds) == (2.0, 2.0)
    newest = store.run("s2")
    assert newest is not None
    assert etl.last == {
        "id": "s2",
        "state": "RUNNING",
        "conditions": ["lost"],
        "created_at": newest.created_at,
        "duration_seconds": None,
    }
    [failed] = store.summarize(RunQuery(states=("FAILED",)))
    assert (failed.runs, failed.duration_p50_seconds, failed.duration_p95_seconds) == (1, None, None)


def test_the_newest_runs_of_every_job_are_answered_together(store: Backend) -> None:
    tape = Tape()
    for number in range(1, 6):
        tape.ran(f"r{number}", seconds=float(number))
    tape.ran("s1", "FAILED", 100.0, name="zip", kind="command").ran("s2", project="bank", seconds=2.0)
    tape.send(store)
    found = store.newest(RunQuery(limit=1, offset=9), 3)
    assert [(job.project, job.name, job.kind, [run["id"] for run in job.runs]) for job in found] == [
        ("bank", "etl", "flow", ["s2"]),
        ("shop", "etl", "flow", ["r5", "r4", "r3"]),
        ("shop", "zip", "command", ["s1"]),
    ]
    [[failed]] = [job.runs for job in store.newest(RunQuery(job="z*", states=("FAILED",)), 1)]
    run = store.run("s1")
    assert run is not None
    assert failed == {
        "id": "s1",
        "state": "FAILED",
        "conditions": [],
        "created_at": run.created_at,
        "duration_seconds": 100.0,
    }
    assert store.newest(RunQuery(job="none"), 3) == []


def test_a_timeline_counts_what_was_created_in_each_span(store: Backend) -> None:
    tape = Tape()
    for number in range(1, 4):
        tape.ran(f"r{number}", "FAILED" if number == 3 else "COMPLETED", 100.0)
    tape.send(store)
    runs = store.runs(RunQuery())
    spans = store.timeline(RunQuery(limit=1), 60.0)
    assert sum(sum(span.by_state.values()) for span in spans) == len(runs)
    for span in spans:
        inside = [run.state for run in runs if span.at <= run.created_at < span.at + 60.0]
        assert {state: inside.count(state) for state in inside} == span.by_state
    assert [span.at for span in spans] == sorted(span.at for span in spans)


@pytest.mark.parametrize("count", [1, 2, 3, 19, 20, 21, 39, 40, 41, 100])
def test_percentiles_are_nearest_rank(store: Backend, count: int) -> None:
    tape = Tape()
    for number in range(count):
        tape.ran(f"r{number}", seconds=float(number * 11 % count + 1))
    tape.send(store)
    [job] = store.summarize(RunQuery())
    for percent, found in ((50, job.duration_p50_seconds), (95, job.duration_p95_seconds)):
        below = [value for value in range(1, count + 1) if value * 100 >= percent * count]
        assert found == float(below[0])


# --- transitions ---------------------------------------------------------------------------------------------


def test_transitions_tell_every_change_of_state_and_condition_once(store: Backend, place: Place) -> None:
    tape = Tape().start("r1", pending=True)
    steps: list[tuple[float, dict[str, Any]]] = [
        (10.0, {"event": "attempt", "run": "r1", "attempt": 1}),
        (20.0, {"event": "judge", "run": "r1", "condition": "stalled", "on": True, "reason": "quiet"}),
        (30.0, {"event": "judge", "run": "r1", "condition": "stalled", "on": True, "reason": "still quiet"}),
        (40.0, {"event": "judge", "run": "r1", "condition": "stalled", "on": False}),
        (50.0, {"event": "retry", "run": "r1", "attempt": 1}),
        (60.0, {"event": "log", "run": "r1", "text": "x"}),
        (70.0, {"event": "judge", "run": "r1", "condition": "lost", "on": True, "reason": "silence"}),
        (80.0, {"event": "end", "run": "r1", "state": "FAILED", "reason": "boom"}),
        (90.0, {"event": "judge", "run": "r1", "state": "CRASHED", "reason": "too late"}),
    ]
    tape.send(store)
    for at, step in steps:
        place.clock.now = at
        tape.say(**step).send(store)
    told = [(each.at, each.from_state, each.to_state, each.condition, each.reason) for each in outbox(store)]
    assert told == [
        (NOON, None, "PENDING", None, None),
        (10.0, "PENDING", "RUNNING", None, None),
        (20.0, "RUNNING", "RUNNING", "+stalled", "quiet"),
        (40.0, "RUNNING", "RUNNING", "-stalled", None),
        (50.0, "RUNNING", "RETRYING", None, None),
        (70.0, "RETRYING", "RETRYING", "+lost", "silence"),
        (80.0, "RETRYING", "FAILED", None, "boom"),
    ]


def test_transitions_can_be_read_from_where_a_reader_stopped(store: Backend, rival: Backend) -> None:
    tape = Tape()
    for number in range(12):
        tape.ran(f"r{number}")
    tape.send(store)
    first = store.transitions(0, limit=5)
    rest = rival.transitions(first[-1].seq)
    assert [each.run_id for each in first + rest] == [f"r{number}" for number in range(12)]
    assert [each.seq for each in first + rest] == sorted({each.seq for each in first + rest})
    assert store.transitions(rest[-1].seq) == []
    assert store.transitions(0) == first + rest


# --- processes -----------------------------------------------------------------------------------------------


def test_what_a_process_used_is_kept_thinned_out(store: Backend) -> None:
    tape = Tape("j1", NOON).start("r1")
    for number in range(500):
        tape.say("beat", seq=number + 1, rss=1000 + number, cpu=number / 10)
        if number % 7 == 0:
            tape.send(store)
    tape.say("beat", seq=501).say("beat", seq=502, rss="much", cpu=[]).send(store)
    [process] = store.processes()
    found = process.samples
    assert 30 <= len(found) <= 60
    assert found[0] == {"at": NOON + 2, "rss_bytes": 1000, "cpu_seconds": 0.0}
    assert found[-1]["at"] > NOON + 400
    assert [each["at"] for each in found] == sorted(each["at"] for each in found)
    assert process.beats == 502


def test_processes_of_some_journals_only(store: Backend) -> None:
    for name in ("j1", "j2", "j3"):
        Tape(name).start(f"r-{name}").send(store)
    named = [each.journal for each in store.processes(journals=["j3", "j1", "none"])]
    assert named == ["j3", "j1"]
    assert store.processes(journals=[]) == []


def test_processes_tell_what_is_known_of_each_journal_newest_first(store: Backend, place: Place) -> None:
    one = Tape("j1").start("r1").say("beat", seq=7)
    place.clock.now = NOON + 500
    one.send(store)
    place.clock.now = NOON + 600
    two = Tape("j2", host="db-1").say("close")
    two.send(store)
    [first] = store.processes()
    assert (first.journal, first.offset, first.beats, first.beat_at) == ("j1", len(one.data), 7, NOON + 2)
    assert (first.received_at, first.closed_at, first.damaged) == (NOON + 500, None, 0)
    assert (first.header["host"], first.header["pid"]) == ("web-1", 42)
    assert [(each.journal, each.closed_at) for each in store.processes(open_only=False)] == [
        ("j2", NOON + 1),
        ("j1", None),
    ]


def test_a_process_that_goes_on_in_another_journal_says_so(store: Backend) -> None:
    Tape("j1").start("r1").say("moved", to="j2").send(store)
    Tape("j2").say("carry", runs=["r1"], after="j1").send(store)
    assert [(each.journal, each.moved_to, each.closed_at) for each in store.processes()] == [
        ("j2", None, None),
        ("j1", "j2", None),
    ]


def test_after_a_rotation_the_run_belongs_to_the_newer_journal(store: Backend) -> None:
    one = Tape("j1", NOON, pid=1).start("r1")
    two = Tape("j2", NOON + 10, pid=2).say("carry", runs=["r1"], after="j1").log("r1", "on").end("r1")
    for tape in (two, one):
        tape.send(store)
    run = store.run("r1")
    assert run is not None
    assert (run.journal, run.pid, run.state) == ("j2", 2, "COMPLETED")
