"""Bytes that changed and bytes that are gone: never a traceback, never a wrong run, and it is said."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from holter.agent.identity import me
from holter.agent.watchdog.adopt import catch_up
from holter.backends.base import Backend
from holter.backends.errors import HolterError
from holter.backends.file import FileBackend
from holter.backends.lines import decode
from holter.backends.memory import MemoryBackend
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.records import Run
from holter.backends.urls import open_backend
from tests.fuzz.fields import specimen, tape
from tests.prove import Proof

from .conftest import NOON, TAPE

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]
HOLTER = str(Path(sysconfig.get_path("scripts"), "holter"))
FLIPS = (0x01, 0x20, 0x80, 0xFF)
EVENTS = [event for _, event in decode(TAPE)]
ALL = RunQuery(limit=None)
_names = count()


def damages(data: bytes, step: int, seed: int) -> Iterator[bytes]:
    """Every `step`-th of: all flips of every byte, all truncations, and random bytes over some stretch."""
    whole = len(data) * (len(FLIPS) + 1)
    for number in range(seed % step, whole, step):
        position, kind = divmod(number, len(FLIPS) + 1)
        if kind == len(FLIPS):
            yield data[:position]
        else:
            yield data[:position] + bytes([data[position] ^ FLIPS[kind]]) + data[position + 1 :]
    chance = random.Random(seed)
    for _ in range(len(data) // step + 1):
        start = chance.randrange(len(data))
        yield data[:start] + chance.randbytes(chance.randrange(60)) + data[start + chance.randrange(60) :]


def told(store: Backend) -> dict[str, object]:
    """All that readers can see of the runs, by id."""
    return {
        run.id: (run, store.events(run.id), [line.text for line in store.logs(LogQuery(run.id))])
        for run in store.runs(ALL)
    }


def folded(lines: bytes) -> dict[str, object]:
    store = MemoryBackend(f"memory:{next(_names)}", home="")
    store.append("j1", 0, lines)
    return told(store)


def test_a_damaged_journal_is_read_but_for_the_lines_that_are_damaged(proof: Proof) -> None:
    """What is read is what the undamaged lines say, no more and no less, and the store counts the others."""
    lines = TAPE.splitlines(keepends=True)
    for damaged in damages(TAPE, proof.of(41, 1), 7):
        data = damaged + b"\n"  # as whoever adopts a torn journal closes it
        sound = [event for _, event in decode(data) if event is not None]
        assert all(event in EVENTS for event in sound)
        left = [line for line in lines if line in damaged or line[:-1] + b"\n" in data]
        assert len(sound) >= len([line for line in left if data.count(line)]) - 1
        store = MemoryBackend(f"memory:{next(_names)}", home="")
        store.append("j1", 0, data)
        assert told(store) == folded(b"".join(line for line in data.splitlines(keepends=True) if whole(line)))
        bad = sum(event is None for _, event in decode(data))
        assert [each.damaged for each in store.processes(open_only=False)] == [bad]
        assert bad or len(sound) == data.count(b"\n") - data.count(b"\n\n") - data.startswith(b"\n")
        proof.count(1, "damaged journals")


def whole(line: bytes) -> bool:
    return any(event is not None for _, event in decode(line))


def test_a_damaged_journal_of_a_dead_process_is_adopted_or_reported(tmp_path: Path, proof: Proof) -> None:
    """Through the way that `holter watch` takes: what can be read is in the store, a first line that cannot is told."""
    header = {**me(), "event": "process", "journal": "x", "project": "default", "at": NOON, "pid": 2**22 + 5}
    header |= {"start_ticks": 1, "store": "sqlite:///holter.db", "heartbeat": 10.0, "argv": [], "code": {}}
    data = tape([header, *specimen("r1", "first", NOON)[1:], *specimen("r2", "second", NOON)[1:]])
    for number, damaged in enumerate(damages(data, proof.of(997, 61), 3)):
        home = tmp_path / str(number)
        (home / "journals").mkdir(parents=True)
        (home / "journals" / "1kd3v8x2q7f4m9a0.jsonl").write_bytes(damaged)
        store = open_backend("sqlite:///holter.db", str(home))
        out = catch_up(str(home), store)
        runs = store.runs(ALL)
        first_is_whole = whole(damaged[: damaged.find(b"\n") + 1])
        assert first_is_whole or out.damaged == 1, out
        assert all(run.name in ("first", "second") and run.ended for run in runs)
        store.close()
        shutil.rmtree(home)
        proof.count(1, "damaged journals adopted")


def opened(folder: Path) -> FileBackend:
    return FileBackend(f"file:///{folder}", home="")


def parts(run: Run) -> set[tuple[str, str]]:
    """What a run says, field by field."""
    return {(name, json.dumps(value, sort_keys=True)) for name, value in run.to_json().items()}


def test_a_damaged_file_of_a_run_loses_no_more_than_its_batch_and_is_reported(
    folder: Path, proof: Proof
) -> None:
    """Read anew from the damaged file (without the index): every event is as written or missing; doctor says so."""
    before = opened(folder)
    good, events = told(before), {run.id: before.events(run.id) for run in before.runs(ALL)}
    before.close()
    index = (folder / "index.db").read_bytes()
    for path in sorted(folder.glob("runs/**/*.jsonl")):
        data, (other,) = path.read_bytes(), [run for run in good if run != path.stem]
        for damaged in damages(data, proof.of(499, 23), 11):
            if damaged == data:
                continue
            path.write_bytes(damaged)
            (folder / "index.db").write_bytes(index)  # as it was before the damage
            kept = opened(folder)
            assert not kept.check()["ok"], "with the index"
            kept.close()
            for name in folder.glob("index.db*"):
                name.unlink()
            store = opened(folder)
            now = told(store)
            assert now[other] == good[other], "the run beside it"
            held = store.events(path.stem)
            assert all(event in events[path.stem] for event in held)
            said = store.check()
            between_batches = not damaged or damaged.splitlines()[-1].startswith(b'{"event":"commit"')
            assert not said["ok"] or "end in a part" in said["detail"] or between_batches, (
                len(damaged),
                said,
            )
            store.close()
            proof.count(1, "damaged run files")
        path.write_bytes(data)


def test_a_damaged_document_is_as_if_it_were_not_there_and_is_reported(folder: Path, proof: Proof) -> None:
    (path,) = folder.glob("registry/check/a.json")
    data, store = path.read_bytes(), opened(folder)
    good, other = store.get("check", "a"), store.get("check", "b")
    for damaged in damages(data, proof.of(3, 1), 5):
        path.write_bytes(damaged)
        found = store.get("check", "a")
        assert found in (None, good)
        listed = dict(store.list("check"))
        assert listed.pop("b") == other and listed in ({}, {"a": good})
        if found is None and damaged:
            assert not store.check()["ok"]
        proof.count(1, "damaged documents")
    path.write_bytes(b"\x00" * len(data))
    assert store.put("check", "a", {"job": "a"}, 0) == 1, "it can be written again"
    store.close()


def test_a_damaged_record_of_a_journal_loses_and_doubles_nothing(folder: Path, proof: Proof) -> None:
    """The sender goes on from where the store says; whatever that is, no event counts twice and none is lost."""
    (path,) = folder.glob("journals/**/*.json")
    data, store = path.read_bytes(), opened(folder)
    good = told(store)
    store.close()
    for number, damaged in enumerate(damages(data, proof.of(397, 17), 5)):
        copy = folder.with_name(f"copy-{number}")
        shutil.copytree(folder, copy)
        path_of_copy = copy / path.relative_to(folder)
        path_of_copy.write_bytes(damaged)
        (copy / "index.db").unlink()
        again = opened(copy)
        send_rest(again)
        assert told(again) == good
        again.close()
        shutil.rmtree(copy)
        proof.count(1, "damaged records of journals")


def send_rest(store: Backend) -> None:
    """As a shipper does: from the offset that the store answers with."""
    from holter.backends.errors import OffsetMismatch

    try:
        store.append("j1", len(TAPE), b"")
    except OffsetMismatch as stands:
        store.append("j1", stands.expected, TAPE[stands.expected :])


@pytest.mark.parametrize("url", ["file:///store", "sqlite:///store.db"])
def test_a_damaged_database_is_made_anew_or_refused_in_a_sentence(
    tmp_path: Path, proof: Proof, url: str
) -> None:
    """Of an index all pages may go: it is made anew from the files. A database of its own is refused, never with more
    than an error of ours. Not covered: a byte inside a page's content, for which SQLite has no checksum."""
    store = open_backend(url, str(tmp_path))
    store.append("j1", 0, TAPE)
    store.put("check", "a", {"job": "a"}, 0)
    good = told(store)
    store.close()
    path = tmp_path / ("store/index.db" if url.startswith("file") else "store.db")
    data = path.read_bytes()
    chance = random.Random(1)
    for number in range(proof.of(60, 2000)):
        start = chance.choice((chance.randrange(100), chance.randrange(len(data))))
        damaged = bytearray(data)
        size = chance.choice((1, 16, 4096))
        damaged[start : start + size] = chance.randbytes(len(damaged[start : start + size]))
        path.write_bytes(damaged if number % 3 else data[:start])
        for side in ("-wal", "-shm"):
            Path(f"{path}{side}").unlink(missing_ok=True)
        try:
            store = open_backend(url, str(tmp_path))
        except HolterError:
            proof.count(1, "damaged databases")
            continue
        try:
            found = told(store)
            if url.startswith("file") and number % 3 == 0:
                assert found == good
            store.check()
        except HolterError:
            assert url.startswith("sqlite")
        finally:
            store.close()
        proof.count(1, "damaged databases")


def test_holter_says_what_is_damaged_and_goes_on(tmp_path: Path, proof: Proof) -> None:
    """Real processes: a traceback is never printed, doctor names the damage."""
    home, run = tmp_path / "home", commands(tmp_path / "home")
    store = open_backend("file:///store", str(home))
    store.append("j1", 0, TAPE)
    store.close()
    assert " 0 damaged" in run("doctor")
    path = next((home / "store").glob("runs/**/r1.jsonl"))
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    (home / "store" / "index.db").unlink()
    assert " 1 damaged line" in run("doctor")
    for text in ("runs", "show r2", "explain r2", "status", "report", "logs r1"):
        run(text)
        proof.count(1, "commands on damaged stores")


def commands(home: Path) -> Callable[[str], str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLTER_")}
    environ = {**kept, "HOLTER_HOME": str(home), "HOLTER_BACKEND": "file:///store"}

    def run(text: str) -> str:
        done = subprocess.run(
            [HOLTER, *text.split()], env=environ, capture_output=True, text=True, timeout=60
        )
        assert "Traceback" not in done.stderr and done.returncode in (0, 1), done.stderr[-2000:]
        return done.stdout + done.stderr

    return run


def test_time_to_read_damage_is_bounded(proof: Proof) -> None:
    """A megabyte of anything is read within seconds."""
    for data in (
        b"{" * 2**20,
        b"\n" * 2**20,
        b"[" * 2**20 + b"\n",
        TAPE * (2**20 // len(TAPE)),
        os.urandom(2**20),
    ):
        began = time.monotonic()
        sum(event is None for _, event in decode(data + b"\n"))
        assert time.monotonic() - began < 20
        proof.count(1, "megabytes of anything")
