"""Defects planted into real watchdogs, collectors and stores: what judges the soak finds each of them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from holter.backends.queries import Retention, RunQuery
from holter.backends.urls import open_backend

from ..acceptance.collecting import Collector
from ..acceptance.conftest import Host, wait_until
from .auditor import Auditor
from .flatness import growing
from .fleet import Fleet, Watch, is_linux
from .measures import as_series
from .sampler import Sampler
from .truth import Truth, alert_faults, faults, read_truth, retention_faults

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not is_linux(), reason="/proc says what a process takes"),
]

STORE = "sqlite:///holter.db"
LOOKS = 45  # at a process, 0.15 s apart


def planted(folder: Path, defect: str) -> dict[str, str]:
    """The environment in which every Python runs this line first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(defect)
    return {"PYTHONPATH": str(folder)}


def grown(name: str, pid: int) -> list[str]:
    """What is not flat of a process, looked at for some seconds."""
    sampler = Sampler(lambda: {name: pid}, {}, None, every=0.15)
    sampler.start()
    wait_until(lambda: len(sampler.samples) >= 2 * LOOKS, "enough samples", 60.0)
    sampler.finish()
    values = {of: sampler.values(of, 0.0, float("inf")) for of in sampler.names()}
    return growing(as_series(values))


# --- processes that grow -------------------------------------------------------------------------------------

PASSING = (
    "import os, holter.agent.watchdog.watchdog as w; s = w.Watchdog.step;"
    " w.Watchdog.step = lambda self: ({}, s(self))[1]"
)
WATCHDOGS = {
    "": [],
    PASSING.format("os.dup(2)"): ["descriptors of the watchdog"],
    PASSING.format("w.__dict__.setdefault('kept', []).append(bytearray(os.urandom(10**6)))"): [
        "memory of the watchdog"
    ],
}


@contextmanager
def watching(folder: Path, defect: str) -> Iterator[Watch]:
    (folder / "host").mkdir()
    with closing(Host(folder / "host")) as host:
        host.settings("watchdog: {interval: 0.1}")
        host.env.update(planted(folder / "planted", defect))
        with closing(Watch(host, "the watchdog")) as watch:
            watch.start()
            watch.ready()
            yield watch


@pytest.mark.parametrize("defect", WATCHDOGS, ids=["none", "a descriptor", "memory"])
def test_a_watchdog_that_keeps_something_of_each_pass_is_not_flat(
    tmp_path: Path, proof: Any, defect: str
) -> None:
    with watching(tmp_path, defect) as watch:
        assert watch.pid is not None
        assert grown("the watchdog", watch.pid) == WATCHDOGS[defect]
    proof.count(int(bool(defect)), "planted defects found")


ANSWERING = "import os, holter.agent.web.reads as r; s = r._plain; r._plain = lambda found: ({}, s(found))[1]"
COLLECTORS = {
    "": [],
    ANSWERING.format("os.dup(2)"): ["descriptors of the collector"],
    ANSWERING.format("r.__dict__.setdefault('kept', []).append(bytearray(os.urandom(3 * 10**5)))"): [
        "memory of the collector"
    ],
}


@pytest.mark.parametrize("defect", COLLECTORS, ids=["none", "a descriptor", "memory"])
def test_a_collector_that_keeps_something_of_each_answer_is_not_flat(
    tmp_path: Path, proof: Any, defect: str
) -> None:
    with closing(Collector(tmp_path)) as collector:
        collector.env.update(planted(tmp_path / "planted", defect))
        collector.start()
        assert collector.process is not None
        reader = Auditor(lambda: open_backend(collector.url, str(tmp_path)), 1e9, every=0.02)
        reader.start()
        found = grown("the collector", collector.process.pid)
        reader.finish()
    assert found == COLLECTORS[defect]
    proof.count(int(bool(defect)), "planted defects found")


# --- stores that lost, doubled and misjudged -----------------------------------------------------------------


class Left:
    """What some writers left, one of them killed and one that failed: their truth, and a store to spoil."""

    def __init__(self, host: Host, fleet: Fleet) -> None:
        self.host, self.killed = host, fleet.killed
        self.truth = read_truth(fleet.folder)
        self.path = host.home / "holter.db"
        self._whole = self.path.read_bytes()

    def look(self, spoil: str = "") -> Auditor:
        """As the soak reads it, after this SQL."""
        self.path.write_bytes(self._whole)
        with closing(sqlite3.connect(self.path)) as database:
            assert not spoil or database.execute(spoil).rowcount > 0, spoil
            database.commit()
        auditor = Auditor(lambda: self.host.store, 1e9)
        with closing(open_backend(STORE, str(self.host.home))) as store:
            while auditor.look(store):
                continue
        return auditor

    def faults(self, spoil: str = "") -> list[str]:
        auditor = self.look(spoil)
        return faults(self.truth, auditor.seen, self.killed) + auditor.strays


def _have(fleet: Fleet, steps: int) -> bool:
    return len(read_truth(fleet.folder).latency) >= steps


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder = tmp_path_factory.mktemp("left")
    with closing(Host(folder, STORE)) as host, closing(Fleet([host], folder / "truth", 5)) as fleet:
        fleet.tend()
        for steps in (20, 40):
            wait_until(partial(_have, fleet, steps), "some steps")
            fleet.kill_one()
            fleet.tend()
        fleet.stop()
        wait_until(lambda: host.catch_up() and not host.journals(), "all to arrive")
        host.close()
        yield Left(host, fleet)


COMPLETED = "(SELECT id FROM runs WHERE parent_id IS NULL AND state='COMPLETED' ORDER BY id LIMIT 1)"
CRASHED = COMPLETED.replace("COMPLETED", "CRASHED")
LINE = f"(SELECT min(seq) FROM logs WHERE root_id={COMPLETED})"
SAID = (
    "INSERT INTO transitions SELECT (SELECT max(seq) + 1 FROM transitions), run_id, at, {} FROM transitions"
)
OF_ONE = f" WHERE run_id={COMPLETED} LIMIT 1"
LOG = "root_id, run_id, at, level, stream, text"
SPOILT = {
    "a line is lost": (f"DELETE FROM logs WHERE seq={LINE}", "step 1 was recorded, and is stored as"),
    "a line is there twice": (
        f"INSERT INTO logs({LOG}) SELECT {LOG} FROM logs WHERE seq={LINE}",
        "step 1 was recorded, and is stored as",
    ),
    "a step is lost": (f"DELETE FROM runs WHERE id={COMPLETED} || '.1'", "has the runs"),
    "an event is lost": (f"DELETE FROM events WHERE run_id={COMPLETED}", "has the events"),
    "an event is there twice": (
        f"INSERT INTO events SELECT run_id, at, 'x', position, body FROM events{OF_ONE}",
        "has the events",
    ),
    "an ending is lost": (f"DELETE FROM transitions WHERE run_id={COMPLETED}", "is not in the store"),
    "a run ends twice": (SAID.format("'COMPLETED', 'CRASHED', NULL, NULL") + OF_ONE, "it was told"),
    "a healthy run was lost": (SAID.format("'RUNNING', 'RUNNING', '+lost', NULL") + OF_ONE, "it was told"),
    "a killed run has completed": (
        f"UPDATE runs SET doc=json_set(doc, '$.state', 'COMPLETED') WHERE id={CRASHED}",
        "is COMPLETED, but its writer told",
    ),
}


def test_what_writers_left_is_as_they_told(left: Left) -> None:
    assert left.faults() == []
    assert len(left.truth.runs) >= 5
    assert {one.state for one in left.look().seen.values()} >= {"COMPLETED", "CRASHED"}


@pytest.mark.parametrize("what", SPOILT)
def test_a_store_that_lost_doubled_or_misjudged_is_seen(left: Left, proof: Any, what: str) -> None:
    spoil, said = SPOILT[what]
    assert said in "\n".join(left.faults(spoil))
    proof.count(1, "planted defects found")


def test_a_run_that_nobody_recorded_and_one_that_was_left_without_a_kill_are_seen(
    left: Left, proof: Any
) -> None:
    seen = left.look().seen
    one = next(run for run, its in seen.items() if its.state == "COMPLETED")
    others = {run: told for run, told in left.truth.runs.items() if run != one}
    assert "nobody recorded it" in faults(Truth(others), seen, left.killed)[0]
    assert "which nobody killed" in faults(left.truth, seen, ())[0]
    proof.count(2, "planted defects found")


# --- alerts and retention ------------------------------------------------------------------------------------


def test_alerts_that_are_missing_doubled_or_wrong_are_seen(left: Left, proof: Any) -> None:
    seen = left.look().seen
    good = [run for run, one in seen.items() if one.state == "COMPLETED"]
    right = [
        {"run_id": run, "event": one.state.lower(), "dedupe_key": run}
        for run, one in seen.items()
        if one.state in ("CRASHED", "FAILED")
    ]
    assert alert_faults(seen, right) == alert_faults(seen, [*right, right[0]]) == []
    wrong: dict[str, list[dict[str, str]]] = {
        "nobody was told": right[1:],
        "told 3 times": [*right, right[0], right[0]],
        "told 2 times": [*right, {**right[0], "dedupe_key": "another"}],
        "told as crashed, but": [*right, {**right[0], "run_id": good[0], "event": "crashed"}],
        "told as lost, but": [*right, {**right[0], "event": "lost"}],
    }
    for said, alerts in wrong.items():
        assert said in "\n".join(alert_faults(seen, alerts))
    proof.count(len(wrong), "planted defects found")


def test_what_is_kept_too_long_or_forgotten_too_early_is_seen(left: Left, proof: Any) -> None:
    auditor = left.look()
    created = auditor.created()
    moment = sorted(created.values())[len(created) // 2] + 0.001

    def after(retention: float) -> list[str]:
        with closing(open_backend(STORE, str(left.host.home))) as store:
            store.prune(Retention(retention, retention, retention))
            kept = store.runs(RunQuery(roots=True, limit=None))
        return retention_faults(auditor.seen, kept, created, (moment, moment))

    assert "is old, and still there" in after(0.0)[0]
    assert after(moment) == []
    assert "is not old, and gone" in after(time.time() + 1)[0]
    proof.count(2, "planted defects found")
