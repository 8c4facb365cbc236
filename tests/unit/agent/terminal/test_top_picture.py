"""What `holter top` reads from a store."""

from __future__ import annotations

from pathlib import Path

from holter.agent.settings import load
from holter.agent.terminal.top_picture import Observer, Trouble, troubles
from holter.agent.watchdog import outbox, pulse
from holter.agent.watchdog.incidents import Board, Incident
from holter.backends.base import Backend
from holter.backends.clock import token
from holter.backends.lines import encode
from holter.backends.queries import RunQuery
from holter.backends.records import Json
from holter.backends.urls import open_backend

HEADER = {"event": "journal", "v": 1, "host": "box", "pid": 7, "project": "default"}


def a_store(*events: Json) -> Backend:
    store = open_backend(f"memory:{token(16)}", "")
    store.append("j", 0, b"".join(encode(each) for each in (HEADER, *events)))
    return store


def started(run: str, at: float, name: str = "etl", **more: object) -> Json:
    return {"event": "start", "run": run, "at": at, "kind": "flow", "name": name, **more}


def ended(run: str, at: float, state: str = "COMPLETED") -> Json:
    return {"event": "end", "run": run, "at": at, "state": state}


def test_what_is_usual_is_the_median_of_what_completed(tmp_path: Path) -> None:
    past = [
        each
        for n, long in enumerate((10, 20, 90))
        for each in (started(f"r{n}", n), ended(f"r{n}", n + long))
    ]
    failed = [started("bad", 50.0), ended("bad", 51.0, "FAILED")]
    store = a_store(*past, *failed, started("now", 100.0), started("new", 100.0, "other"))
    picture = Observer(load(str(tmp_path), environ={}), store, RunQuery(roots=True)).look(130.0)
    assert {each.run.id: each.usual for each in picture.live} == {"now": 20.0, "new": None}
    assert [each.run.id for each in picture.recent] == ["bad", "r2", "r1", "r0"]
    assert picture.unwatched is not None and picture.to_json()["live"][0]["elapsed_seconds"] == 30.0


def test_progress_of_a_step_is_that_of_its_run(tmp_path: Path) -> None:
    told = {"event": "progress", "run": "now.1", "at": 101.0, "done": 3, "total": 4}
    step = {**started("now.1", 100.5, "step"), "kind": "task", "parent": "now"}
    store = a_store(started("now", 100.0), step, told)
    pulse.beat(store, 129.0, started_at=1.0)
    picture = Observer(load(str(tmp_path), environ={}), store, RunQuery(roots=True)).look(130.0)
    (flow,) = picture.live
    assert flow.progress and (flow.progress["done"], flow.progress["total"]) == (3, 4)
    assert picture.unwatched is None and picture.watcher


def test_trouble_is_told_once_though_it_is_an_incident_and_an_alert_on_two_channels() -> None:
    store = a_store()
    late = Incident("late", "late:etl", "it did not\x1b[31m start", 50.0, job="etl")
    Board(store).settle("checks", [late, Incident("disk", "disk:box", "full", 40.0, host="box")], 60.0)
    for channel in ("ops", "hook"):
        for event, key in (("late", "late:etl"), ("crashed", "crashed:r1")):
            alert = {"event": event, "dedupe_key": key, "job": "etl", "reason": "killed"}
            order = outbox.Order(channel, 1, "flow", 45.0, open=True)
            outbox.post(store, outbox.draft(alert, order, 60.0))
    assert troubles(store) == [
        Trouble("disk", "box", "full", 40.0),
        Trouble("crashed", "etl", "killed", 45.0),
        Trouble("late", "etl", "it did not start", 50.0),
    ]
