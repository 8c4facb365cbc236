"""Handles and processes on one place: first use, reopening, modes, and writers that are killed."""

from __future__ import annotations

import os
import random
import signal
import stat
import time
from functools import partial
from pathlib import Path

from ..backends.queries import LogQuery
from ..backends.records import Document
from .places import Place
from .processes import child, ended, running
from .tapes import EVERYTHING, Tape, answers, ids, outbox, push, send_all


def test_everything_is_still_there_after_reopening(place: Place) -> None:
    store = place.open()
    tape = Tape().start("r1").log("r1", "x").start("r1.a").end("r1.a", "FAILED")
    tape.send(store)
    store.put("check", "etl", {"n": 1}, 0)
    before = answers(store)
    place.close()
    again = place.open()
    assert answers(again) == before
    assert again.get("check", "etl") == Document({"n": 1}, 1)
    tape.end("r1").send(again)
    assert [run.state for run in again.runs(EVERYTHING)] == ["FAILED", "COMPLETED"]


def test_a_rival_sees_at_once_what_was_appended_and_put(place: Place) -> None:
    store, rival = place.open(), place.open()
    tape = Tape()
    for number in range(5):
        tape.start(f"r{number}").send(store)
        assert len(ids(rival)) == number + 1
        store.put("seen", str(number), {}, 0)
        assert len(rival.list("seen")) == number + 1


def test_fifty_first_uses_at_once_make_one_store(shared: Place) -> None:
    together = time.monotonic() + 0.3

    def first_use(number: int) -> None:
        time.sleep(max(0.0, together - time.monotonic()))
        store = shared.open(timeout=60.0)
        Tape(f"j{number:02}").ran(f"r{number:02}").send(store)
        assert store.put("seen", str(number), {}, 0) == 1
        store.close()

    pids = [child(partial(first_use, number)) for number in range(50)]
    assert [ended(pid) for pid in pids] == [0] * 50
    store = shared.open()
    assert sorted(ids(store, limit=None)) == [f"r{number:02}" for number in range(50)]
    assert len(store.list("seen")) == 50
    assert store.check()["ok"]


def test_handles_that_come_and_go_lose_nothing_of_one_that_stays(shared: Place) -> None:
    store = shared.open()
    tape = Tape()
    for number in range(20):
        tape.start(f"r{number}").send(store)
        other = shared.open()
        assert len(ids(other)) == number + 1
        other.close()
        assert ended(child(lambda: shared.open().close())) == 0
    assert len(ids(shared.open())) == 20


def test_files_and_folders_are_for_their_owner_only(local: Place) -> None:
    mask = os.umask(0)
    try:
        store = local.open()
        Tape().ran("r1").send(store)
        store.put("check", "etl", {}, 0)
    finally:
        os.umask(mask)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in Path(local.home).rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} <= {0o700}


def test_a_writer_that_is_killed_leaves_whole_batches_and_others_go_on(shared: Place) -> None:
    """Writers are killed at random moments; every journal is then sent to its end by somebody else."""
    store = shared.open()
    chance = random.Random(1)
    tapes = []
    for number in range(20):
        tape = Tape(f"j{number:02}")
        for run in range(30):
            tape.start(f"{number}x{run}").log(f"{number}x{run}", "one").end(f"{number}x{run}")
        tapes.append(tape)
        with running(partial(send_all, shared, tape, 3)) as pid:
            time.sleep(chance.uniform(0.0, 0.04))
            os.kill(pid, signal.SIGKILL)
    for tape in tapes:
        push(store, tape.journal, tape.lines, 7)
    runs = store.runs(EVERYTHING)
    assert len(runs) == 600
    assert {(run.state, run.log_lines) for run in runs} == {("COMPLETED", 1)}
    assert len(store.logs(LogQuery("19x29"))) == 1
    told = [(each.run_id, each.from_state, each.to_state) for each in outbox(store)]
    assert len(told) == len(set(told))
    assert sorted(run for run, _, to in told if to == "COMPLETED") == sorted(run.id for run in runs)
    assert store.check()["ok"], store.check()
