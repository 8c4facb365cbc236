"""What a store answers: runs, events, lines."""

from __future__ import annotations

from typing import Any

import pytest

from ..backends.base import Backend
from ..backends.queries import LogQuery, RunQuery
from .places import NOON
from .tapes import Tape, ids, outbox

# --- runs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def history(store: Backend) -> Backend:
    """Two hosts, two projects; flows with a task and a command among them; one of each fate."""
    one = Tape("j1", NOON, host="web-1", project="shop")
    one.start("r1", "etl-night", tags=["daily", "eu"]).start("r1.a", "fetch", "task").end("r1.a").end("r1")
    one.start("r2", "etl-day", tags=["daily"]).end("r2", "FAILED")
    two = Tape("j2", NOON + 100, host="db-1", project="bank")
    two.start("r3", "Report", "command", project="audit").start("r4", "etl-night").start(
        "r5", "idle", pending=True
    )
    two.judge("r4", condition="stalled", on=True, reason="no progress")
    two.judge("r3", condition="overdue", on=True, reason="too long")
    one.send(store)
    two.send(store)
    return store


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["r5", "r4", "r3", "r2", "r1.a", "r1"]),
        ({"limit": 2}, ["r5", "r4"]),
        ({"limit": 2, "offset": 3}, ["r2", "r1.a"]),
        ({"limit": None, "offset": 5}, ["r1"]),
        ({"limit": 0}, []),
        ({"roots": True}, ["r5", "r4", "r3", "r2", "r1"]),
        ({"project": "shop"}, ["r2", "r1.a", "r1"]),
        ({"project": "audit"}, ["r3"]),
        ({"job": "etl-night"}, ["r4", "r1"]),
        ({"job": "etl-*"}, ["r4", "r2", "r1"]),
        ({"job": "[!e]*"}, ["r5", "r3", "r1.a"]),
        ({"job": "report"}, []),
        ({"job": "?dle"}, ["r5"]),
        ({"kinds": ("task",)}, ["r1.a"]),
        ({"kinds": ("task", "command")}, ["r3", "r1.a"]),
        ({"states": ("COMPLETED",)}, ["r1.a", "r1"]),
        ({"states": ("failed", "PENDING")}, ["r5", "r2"]),
        ({"states": ("RUNNING",)}, ["r4", "r3"]),
        ({"states": ("stalled",)}, ["r4"]),
        ({"states": ("stale",)}, ["r4"]),
        ({"states": ("overdue", "FAILED")}, ["r3", "r2"]),
        ({"states": ("lost",)}, []),
        ({"states": ("%",)}, []),
        ({"tags": ("daily",)}, ["r2", "r1"]),
        ({"tags": ("daily", "eu")}, ["r1"]),
        ({"tags": ("dail",)}, []),
        ({"host": "web-1"}, ["r2", "r1.a", "r1"]),
        ({"host": "db-*"}, ["r5", "r4", "r3"]),
        ({"since": NOON + 101}, ["r5", "r4", "r3"]),
        ({"since": NOON + 102}, ["r5", "r4"]),
        ({"until": NOON + 102}, ["r3", "r2", "r1.a", "r1"]),
        ({"root_id": "r1"}, ["r1.a", "r1"]),
        ({"parent_id": "r1"}, ["r1.a"]),
        ({"journal": "j2"}, ["r5", "r4", "r3"]),
        ({"prefix": "r1"}, ["r1.a", "r1"]),
        ({"prefix": "r1."}, ["r1.a"]),
        ({"prefix": ""}, ["r5", "r4", "r3", "r2", "r1.a", "r1"]),
        ({"prefix": "*"}, []),
        ({"project": "shop", "states": ("FAILED",), "tags": ("daily",), "roots": True}, ["r2"]),
    ],
    ids=str,
)
def test_a_query_finds_what_all_of_its_filters_allow_newest_first(
    history: Backend, query: dict[str, Any], found: list[str]
) -> None:
    assert ids(history, **query) == found


def test_runs_of_the_same_instant_come_by_greater_id_first(store: Backend) -> None:
    tape = Tape()
    for run in ("b", "c", "a"):
        tape.at = NOON
        tape.start(run)
    tape.send(store)
    assert ids(store) == ["c", "b", "a"]


def test_a_store_without_runs_answers_with_nothing(store: Backend) -> None:
    assert store.runs(RunQuery()) == []
    assert store.run("r1") is None
    assert store.events("r1") == []
    assert store.logs(LogQuery("r1")) == []
    assert store.summarize(RunQuery()) == []
    assert store.transitions(0) == []
    assert store.processes() == []


def test_a_run_is_found_by_its_whole_id_only_and_once_its_start_has_come(store: Backend) -> None:
    late = Tape("j2").log("r1", "early line").end("r1")
    late.send(store)
    assert store.run("r1") is None
    assert ids(store) == []
    assert store.transitions(0) == []
    Tape("j1").start("r1").send(store)
    run = store.run("r1")
    assert run is not None
    assert (run.state, run.log_lines) == ("COMPLETED", 1)
    assert store.run("r") is None
    assert [each.to_state for each in outbox(store)] == ["COMPLETED"]


def test_all_that_was_recorded_of_a_run_comes_back(store: Backend) -> None:
    error = {"type": "ValueError", "message": "köln 🚂", "traceback": "...", "fingerprint": "ab"}
    tape = Tape(
        user="ann", argv=["python", "etl.py"], cwd="/srv", code={"file": "etl.py", "git_commit": None}
    )
    tape.start(
        "r1",
        run_name="etl of monday",
        parameters={"day": "monday", "deep": [1, {"x": None}]},
        tags=["a"],
        check={"schedule": "0 2 * * *"},
        pending=True,
    )
    tape.say("attempt", run="r1", attempt=1).say("progress", run="r1", done=3, total=9, text="files")
    tape.say("retry", run="r1", attempt=1, delay=2.5, reason="again", error=error).say(
        "attempt", run="r1", attempt=2
    )
    tape.say("artifact", run="r1", key="t", type="table", description="d", data=[[1, 2]])
    tape.say("slot", run="r1", limit="db", occupy=2, waited=0.5, held=None).log("r1", "x")
    tape.say("drop", run="r1", lines=4, bytes=100)
    tape.end(
        "r1",
        "FAILED",
        error=error,
        reason="bad",
        exit_code=3,
        signal=None,
        usage={"cpu_seconds": 1.5},
        result=None,
    )
    tape.send(store)
    run = store.run("r1")
    assert run is not None
    assert (run.state, run.attempt, run.reason, run.exit_code, run.error) == ("FAILED", 2, "bad", 3, error)
    assert [(each["attempt"], each["error"], each["delay_seconds"]) for each in run.attempts] == [
        (1, error, 2.5),
        (2, error, None),
    ]
    assert (run.created_at, run.started_at, run.ended_at) == (NOON + 1, NOON + 2, NOON + 10)
    assert run.parameters == {"day": "monday", "deep": [1, {"x": None}]}
    assert run.progress == {"at": NOON + 3, "done": 3, "total": 9, "text": "files"}
    assert run.artifacts[0]["data"] == [[1, 2]]
    assert run.slots[0]["limit"] == "db"
    assert (run.log_lines, run.dropped) == (1, {"lines": 4, "bytes": 100})
    assert (run.user, run.argv, run.cwd, run.host, run.pid) == (
        "ann",
        ("python", "etl.py"),
        "/srv",
        "web-1",
        42,
    )
    assert (run.run_name, run.tags, run.check) == ("etl of monday", ("a",), {"schedule": "0 2 * * *"})
    assert store.runs(RunQuery()) == [run]


# --- events and lines ----------------------------------------------------------------------------------------


def test_events_are_the_runs_own_in_order_of_time_without_lines_progress_and_beats(store: Backend) -> None:
    judge = Tape("j0", NOON + 1.5).judge("r1", condition="stalled", on=True)
    tape = Tape("j1", NOON).start("r1").log("r1", "x").say("progress", run="r1", done=1).say("beat", seq=1)
    tape.start("r1.a").say("attempt", run="r1", attempt=2).end("r1")
    for each in (judge, tape):
        each.send(store)
    events = store.events("r1")
    assert [event["event"] for event in events] == ["start", "judge", "attempt", "end"]
    assert events[0] == {"event": "start", "at": NOON + 1, "run": "r1", "kind": "flow", "name": "etl"}


def lines(store: Backend, run: str, **query: Any) -> list[str]:
    return [log.text for log in store.logs(LogQuery(run, **query))]


def test_lines_come_in_the_order_in_which_the_store_received_them(store: Backend) -> None:
    early, late = Tape("j1", NOON), Tape("j2", NOON + 50)
    late.start("r1.b").log("r1.b", "third by clock").send(store)
    early.start("r1").log("r1", "one").start("r1.a").log("r1.a", "two").log("r1", "").send(store)
    assert lines(store, "r1") == ["third by clock", "one", "two", ""]
    seqs = [log.seq for log in store.logs(LogQuery("r1"))]
    assert seqs == sorted(set(seqs))


def test_lines_can_be_followed_and_cut(store: Backend) -> None:
    tape = Tape().start("r1")
    for number in range(10):
        tape.log("r1", f"line {number}")
    tape.send(store)
    found = store.logs(LogQuery("r1"))
    assert lines(store, "r1", limit=3) == ["line 0", "line 1", "line 2"]
    assert lines(store, "r1", limit=2, last=True) == ["line 8", "line 9"]
    assert lines(store, "r1", limit=0, last=True) == []
    assert lines(store, "r1", after=found[6].seq) == ["line 7", "line 8", "line 9"]
    assert lines(store, "r1", after=found[6].seq, limit=1) == ["line 7"]
    assert lines(store, "r1", after=found[9].seq) == []
    tape.log("r1", "line 10").send(store)
    assert lines(store, "r1", after=found[9].seq) == ["line 10"]


def test_a_window_of_lines_ends_before_a_line(store: Backend) -> None:
    tape = Tape().start("r1")
    for number in range(10):
        tape.log("r1", f"line {number}")
    tape.send(store)
    found = store.logs(LogQuery("r1"))
    assert lines(store, "r1", before=found[2].seq) == ["line 0", "line 1"]
    assert lines(store, "r1", before=found[5].seq, limit=2, last=True) == ["line 3", "line 4"]
    assert lines(store, "r1", before=found[5].seq, after=found[2].seq) == ["line 3", "line 4"]
    assert lines(store, "r1", before=found[0].seq) == lines(store, "r1", before=0) == []


def test_lines_of_some_levels_only(store: Backend) -> None:
    tape = Tape().start("r1").log("r1", "all is well")
    for level in ("ERROR", "WARNING", "error"):
        tape.say("log", run="r1", level=level, stream="log", text=f"{level} here")
    tape.send(store)
    assert lines(store, "r1", levels=("ERROR",)) == ["ERROR here"]
    assert lines(store, "r1", levels=("WARNING", "ERROR"), limit=1, last=True) == ["WARNING here"]
    assert lines(store, "r1", levels=("DEBUG",)) == []


def test_lines_of_a_run_may_include_those_of_its_descendants_only(store: Backend) -> None:
    tape = Tape().start("r1").start("r1.a").start("r1.b", parent="r1.a").start("r1.c").start("r2")
    for run in ("r1", "r1.a", "r1.b", "r1.c", "r2"):
        tape.log(run, run)
    tape.send(store)
    assert lines(store, "r1") == ["r1", "r1.a", "r1.b", "r1.c"]
    assert lines(store, "r1.a") == ["r1.a", "r1.b"]
    assert lines(store, "r1.b") == ["r1.b"]
    assert lines(store, "r1", tree=False) == ["r1"]
    assert lines(store, "r1.a", tree=False) == ["r1.a"]


def test_text_search_finds_lines_with_all_the_words_without_regard_to_case(store: Backend) -> None:
    tape = Tape().start("r1")
    for text in (
        "Reading file /srv/übung.csv",
        "read_timeout after 30s",
        "file missing",
        "",
        "ÜBUNG macht den Meister",
    ):
        tape.log("r1", text)
    tape.send(store)
    assert lines(store, "r1", text="FILE") == ["Reading file /srv/übung.csv", "file missing"]
    assert lines(store, "r1", text="srv file") == ["Reading file /srv/übung.csv"]
    assert lines(store, "r1", text="übung") == ["Reading file /srv/übung.csv", "ÜBUNG macht den Meister"]
    assert lines(store, "r1", text="timeout 30s") == ["read_timeout after 30s"]
    assert lines(store, "r1", text="fil") == []
    assert lines(store, "r1", text='file" OR "a') == []
    assert lines(store, "r1", text="file", limit=1, last=True) == ["file missing"]
    assert len(lines(store, "r1", text=" -- ")) == 5


def test_a_line_keeps_level_stream_time_and_any_character(store: Backend) -> None:
    text = 'tab\t, nul \0, newline\n, emoji 🚂, quote " and \\ back, lone \ud800.'
    tape = Tape().start("r1").say("log", run="r1", level="ERROR", stream="stderr", text=text)
    tape.send(store)
    [log] = store.logs(LogQuery("r1"))
    assert (log.level, log.stream, log.at, log.run_id) == ("ERROR", "stderr", NOON + 2, "r1")
    assert log.text == text.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
