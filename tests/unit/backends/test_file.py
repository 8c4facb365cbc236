"""The file store: plain files that tools understand, kills between any two steps, copies, and an index that may go."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holter.backends.clock import Clock, new_id, time_of
from holter.backends.errors import OffsetMismatch, StorageError, StoreTooNew
from holter.backends.file import FileBackend
from holter.backends.file_format import chunks
from holter.backends.lines import decode, encode
from holter.backends.queries import LogQuery, Retention, RunQuery
from holter.backends.records import Document, Run

ALL = RunQuery(limit=None)
NOON = 1_800_000_000.0


class Standing(Clock):
    def wall(self) -> float:
        return NOON


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def stores() -> Iterator[Callable[[Path], FileBackend]]:
    opened: list[FileBackend] = []

    def open_store(folder: Path) -> FileBackend:
        opened.append(FileBackend(f"file:///{folder}", home="", clock=Standing()))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def store(folder: Path, stores: Callable[[Path], FileBackend]) -> FileBackend:
    return stores(folder)


def header(journal: str) -> bytes:
    return encode({"event": "process", "journal": journal, "host": "web-1", "pid": 7, "at": NOON})


def story(run: str, at: float = NOON, lines: int = 2, state: str = "COMPLETED") -> list[bytes]:
    """What a run says of itself, start to end."""
    said = [
        {"event": "log", "run": run, "at": at + number, "text": f"line {number}"}
        for number in range(1, lines + 1)
    ]
    start = {"event": "start", "run": run, "at": at, "kind": "flow", "name": "etl"}
    end = {"event": "end", "run": run, "at": at + lines + 1, "state": state}
    return [encode(each) for each in (start, *said, end)]


def two_runs(journal: str = "j1") -> bytes:
    """One batch that touches two files."""
    mixed = [line for pair in zip(story("r1"), story("r2"), strict=True) for line in pair]
    return b"".join((header(journal), *mixed))


def told(store: FileBackend) -> tuple[list[object], ...]:
    """All that readers can see."""
    runs = store.runs(ALL)
    return (
        runs,
        [store.events(run.id) for run in runs],
        [store.logs(LogQuery(run.id)) for run in runs],
        store.transitions(0),
        store.processes(open_only=False),
        store.summarize(ALL),
    )


def run_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("runs/**/*.jsonl"))


def in_child(work: Callable[[], object]) -> int:
    with warnings.catch_warnings():  # other tests may have left threads, which a child does not use
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            sys.setprofile(None)
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- the files -----------------------------------------------------------------------------------------------


def test_a_run_is_one_file_in_the_folder_of_the_day_that_its_id_names(
    store: FileBackend, folder: Path
) -> None:
    run = new_id()
    made = time_of(run)
    assert made is not None
    store.append("j1", 0, b"".join((header("j1"), *story(run), *story(f"{run}.a-1"), *story("short"))))
    day = run_files(folder)[0].parent.relative_to(folder / "runs")
    assert [path.relative_to(folder) for path in run_files(folder)] == [
        Path("runs") / day / f"{run}.jsonl",
        Path("runs/undated/short.jsonl"),
    ]
    assert str(day).count("/") == 2


def test_a_file_is_plain_json_lines_complete_in_itself(store: FileBackend, folder: Path) -> None:
    data = two_runs()
    store.append("j1", 0, data)
    [r1, _] = run_files(folder)
    events = [json.loads(line) for line in r1.read_text().splitlines()]
    assert [event["event"] for event in events] == ["process", "start", "log", "log", "end", "commit"]
    assert events[0]["host"] == "web-1"
    commit = events[-1]
    assert (commit["journal"], commit["from"], commit["to"], commit["at"]) == ("j1", 0, len(data), NOON)
    assert [move["to"] for move in commit["transitions"]] == ["COMPLETED"]
    assert len(commit["logs"]) == 2
    assert all(event is not None for _, event in decode(r1.read_bytes()))
    found = subprocess.run(["grep", "-rl", "line 2", str(folder / "runs")], capture_output=True, text=True)
    assert len(found.stdout.split()) == 2


def test_lines_are_kept_byte_for_byte_and_the_header_once_per_journal(
    store: FileBackend, folder: Path
) -> None:
    first, *rest = story("r1")
    batches = [header("j1") + first, *rest]
    offset = 0
    for batch in batches:
        offset = store.append("j1", offset, batch)
    store.append(
        "j2", 0, header("j2") + encode({"event": "log", "run": "r1", "at": NOON, "text": "from another"})
    )
    data = run_files(folder)[0].read_bytes()
    assert all(line in data for line in (first, *rest))
    assert data.count(b'"event":"process"') == 2


def test_folders_go_with_their_last_file(store: FileBackend, folder: Path) -> None:
    store.append("j1", 0, two_runs() + encode({"event": "close", "at": NOON}))
    store.prune(Retention(NOON * 2, NOON * 2, NOON * 2))
    assert not (folder / "runs").exists()
    assert not (folder / "journals").exists()
    store.append("j2", 0, header("j2") + b"".join(story("r1")))
    assert len(run_files(folder)) == 1


def test_beats_touch_no_run_file(store: FileBackend, folder: Path) -> None:
    data = two_runs()
    offset = store.append("j1", 0, data)
    before = [path.read_bytes() for path in run_files(folder)]
    for number in range(5):
        offset = store.append("j1", offset, encode({"event": "beat", "at": NOON, "seq": number}))
    assert [path.read_bytes() for path in run_files(folder)] == before
    assert store.processes()[0].beats == 4


def test_nothing_but_what_it_names_is_left_in_the_folder(store: FileBackend, folder: Path) -> None:
    store.append("j1", 0, two_runs())
    store.put("check", "etl", {}, 0)
    assert {path.name for path in folder.iterdir()} <= {
        *("format.json", "lock", "runs", "journals", "registry"),
        *("index.db", "index.db-wal", "index.db-shm", "index.db.gate"),
    }


def test_a_link_in_place_of_a_file_is_not_followed(store: FileBackend, folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder / "runs/undated").mkdir(parents=True)
    (folder / "runs/undated/r1.jsonl").symlink_to(victim)
    with pytest.raises(StorageError):
        store.append("j1", 0, two_runs())
    assert victim.read_text() == "precious"


# --- kills ---------------------------------------------------------------------------------------------------


def dies_at(number: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process that is gone at its `number`th call into system or database; whether it came that far."""

    def doomed() -> None:
        seen = 0

        def watch(frame: object, event: str, called: object) -> None:
            nonlocal seen
            if event == "c_call" and (
                (getattr(called, "__module__", None) == "posix" and "stat" not in str(called))
                or isinstance(getattr(called, "__self__", None), sqlite3.Connection)
            ):
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        work()

    return in_child(doomed) == -signal.SIGKILL


def until_it_survives(work: Callable[[int], bool]) -> int:
    number = 1
    while work(number):
        number += 1
    return number


def test_a_kill_between_any_two_steps_of_an_append_leaves_all_of_it_or_nothing(
    tmp_path: Path, stores: Callable[[Path], FileBackend]
) -> None:
    first, second = two_runs(), b"".join((*story("r1.a"), *story("r3")))
    whole = stores(tmp_path / "whole")
    whole.append("j1", 0, first)
    nothing = told(whole)
    whole.append("j1", len(first), second)
    everything = told(whole)
    outcomes = []

    def one(number: int) -> bool:
        folder = tmp_path / f"killed-{number}"
        before = stores(folder)
        before.append("j1", 0, first)
        died = dies_at(number, lambda: stores(folder).append("j1", len(first), second))
        after = stores(folder)
        after.append("j2", 0, header("j2"))  # any write brings it in order
        stood = {each.journal: each.offset for each in after.processes()}["j1"]
        outcomes.append(stood == len(first))
        seen = list(told(after)[:4])
        assert seen == list((nothing if stood == len(first) else everything)[:4]), number
        if stood == len(first):
            after.append("j1", stood, second)
        assert list(told(after)[:4]) == list(everything[:4]), number
        for path in folder.glob("index.db*"):
            path.unlink()
        assert list(told(stores(folder))[:4]) == list(everything[:4]), number
        assert after.check()["ok"], after.check()
        return died

    steps = until_it_survives(one)
    assert steps > 10
    assert {True, False} == set(outcomes)


def test_a_torn_chunk_is_cut_at_any_byte_and_sent_again_once(
    tmp_path: Path, stores: Callable[[Path], FileBackend]
) -> None:
    """The kill comes in the middle of a write, which no kill of a process can be made to do on purpose."""
    first, second = two_runs(), b"".join(story("r1.a", lines=1))
    folder = tmp_path / "store"
    store = stores(folder)
    store.append("j1", 0, first)
    nothing = told(store)[:4]
    store.close()
    path = run_files(folder)[0]
    size = path.stat().st_size
    died = until_it_survives(
        lambda number: (
            dies_at(number, lambda: stores(folder).append("j1", len(first), second))
            and path.stat().st_size == size
        )
    )
    assert died
    full = path.read_bytes()
    assert len(full) > size
    backup = tmp_path / "backup"
    intent = (folder / "intent").read_bytes()
    shutil.copytree(folder, backup)
    for length in range(size, len(full), 7):
        path.write_bytes(full[:length])
        (folder / "intent").write_bytes(intent)
        store = stores(folder)
        assert told(store)[:4] == nothing
        store.append("j2", store.processes()[0].offset if len(store.processes()) > 1 else 0, b"")
        assert path.stat().st_size == size
        store.close()


def test_a_kill_between_any_two_steps_of_prune_forgets_no_more_than_it_should(
    tmp_path: Path, stores: Callable[[Path], FileBackend]
) -> None:
    late = b"".join((header("j2"), *story("r9", NOON + 900)))
    retention = Retention(NOON + 500, NOON + 500, NOON + 902)

    def one(number: int) -> bool:
        folder = tmp_path / f"killed-{number}"
        store = stores(folder)
        store.append("j1", 0, two_runs() + encode({"event": "close", "at": NOON}))
        store.append("j2", 0, late)
        seq = store.transitions(0)[-1].seq
        died = dies_at(number, lambda: stores(folder).prune(retention))
        after = stores(folder)
        after.prune(retention)
        assert [(run.id, run.log_lines) for run in after.runs(ALL)] == [("r9", 2)]
        assert [log.text for log in after.logs(LogQuery("r9"))] == ["line 2"]
        assert after.check()["ok"], after.check()
        seen = told(after)
        for path in folder.glob("index.db*"):
            path.unlink()
        assert told(after) == seen
        after.append("j3", 0, b"".join((header("j3"), *story("r10"))))
        assert after.transitions(seq)[0].run_id == "r10"
        return died

    assert until_it_survives(one) > 10


def test_a_document_is_old_or_new_whenever_its_writer_is_killed(
    tmp_path: Path, stores: Callable[[Path], FileBackend]
) -> None:
    def one(number: int) -> bool:
        folder = tmp_path / f"killed-{number}"
        store = stores(folder)
        store.put("check", "etl", {"n": 1}, 0)
        died = dies_at(number, lambda: stores(folder).put("check", "etl", {"n": 2}, 1))
        held = store.get("check", "etl")
        assert held in (Document({"n": 1}, 1), Document({"n": 2}, 2))
        assert held is not None
        assert store.put("check", "etl", {"n": 3}, held.version)
        assert [key for key, _ in store.list("check")] == ["etl"]
        return died

    assert until_it_survives(one) > 3


# --- the index -----------------------------------------------------------------------------------------------


@pytest.fixture
def filled(store: FileBackend) -> FileBackend:
    store.append("j1", 0, two_runs())
    more = [
        {"event": "judge", "run": "r3", "at": NOON, "condition": "stalled", "on": True, "reason": "quiet"}
    ]
    store.append("j2", 0, b"".join((header("j2"), *map(encode, more))))
    store.append("j3", 0, b"".join((header("j3"), story("r3")[0], encode({"event": "close", "at": NOON}))))
    return store


@pytest.mark.parametrize("gone", ["index.db", "index.db*"])
def test_the_index_may_be_deleted_under_an_open_store(filled: FileBackend, folder: Path, gone: str) -> None:
    before = told(filled)
    for path in folder.glob(gone):
        path.unlink()
    assert told(filled) == before
    for path in folder.glob(gone):
        path.unlink()
    filled.append("j4", 0, header("j4") + b"".join(story("r4")))
    assert len(filled.runs(ALL)) == 4
    assert filled.transitions(0)[:-1] == before[3]


def test_two_open_handles_agree_after_one_of_them_made_the_index_anew(
    filled: FileBackend, folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    rival = stores(folder)
    (folder / "index.db").unlink()
    filled.append("j4", 0, header("j4") + b"".join(story("r4")))
    assert rival.run("r4") == filled.run("r4")
    rival.append("j5", 0, header("j5") + b"".join(story("r5")))
    assert filled.run("r5") == rival.run("r5")
    assert told(filled) == told(rival)


def test_an_index_that_is_no_database_any_more_is_made_anew(
    filled: FileBackend, folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    before = told(filled)
    filled.close()
    (folder / "index.db").write_bytes(b"nonsense" * 4096)
    assert told(stores(folder)) == before


def test_an_index_that_is_cut_inside_its_last_page_is_made_anew(
    filled: FileBackend, folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    before = told(filled)
    filled.close()
    path = folder / "index.db"
    os.truncate(path, path.stat().st_size - 2000)
    assert told(stores(folder)) == before
    assert path.stat().st_size % 4096 == 0


def test_an_index_with_damaged_pages_is_made_anew_by_whoever_finds_out(
    filled: FileBackend, folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    before = told(filled)
    filled.close()
    path = folder / "index.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    store = stores(folder)
    assert told(store) == before
    assert store.check()["ok"]


def test_a_write_that_finds_the_index_damaged_succeeds_the_next_time(
    filled: FileBackend, folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    filled.close()
    path = folder / "index.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    store = stores(folder)
    data = header("j4") + b"".join(story("r4"))
    try:
        store.append("j4", 0, data)
    except StorageError:
        store.append("j4", 0, data)
    assert len(store.runs(ALL)) == 4


def test_an_index_of_a_newer_schema_is_made_anew(
    filled: FileBackend, folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    before = told(filled)
    filled.close()
    with sqlite3.connect(folder / "index.db") as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    assert told(stores(folder)) == before


def test_an_index_that_disagrees_with_a_journals_file_is_made_anew_before_the_next_write(
    filled: FileBackend, folder: Path
) -> None:
    with sqlite3.connect(folder / "index.db", isolation_level=None) as db:
        db.execute("UPDATE journals SET offset=offset-10 WHERE journal='j1'")
        db.execute("DELETE FROM runs WHERE id='r1'")
    db.close()
    assert not filled.check()["ok"]
    offset = len(two_runs())
    filled.append("j1", offset, encode({"event": "beat", "at": NOON, "seq": 1}))
    assert filled.run("r1") is not None
    assert filled.check()["ok"]


def test_a_newer_format_is_refused_and_left_alone(filled: FileBackend, folder: Path) -> None:
    filled.close()
    (folder / "format.json").write_text('{"format": 2}')
    with pytest.raises(StoreTooNew, match="upgrade"):
        FileBackend(f"file:///{folder}", home="")
    assert len(run_files(folder)) == 3


def test_seqs_are_never_given_twice_even_when_their_files_and_the_index_are_gone(
    store: FileBackend, folder: Path
) -> None:
    store.append("j1", 0, b"".join((header("j1"), *story("r1", NOON + 900))))
    store.append("j2", 0, b"".join((header("j2"), *story("r2", NOON))))
    line, moved = store.logs(LogQuery("r2"))[-1].seq, store.transitions(0)[-1].seq
    store.prune(Retention(NOON + 500, NOON + 500, NOON + 500))
    assert [run.id for run in store.runs(ALL)] == ["r1"]
    for path in folder.glob("index.db*"):
        path.unlink()
    store.append("j3", 0, b"".join((header("j3"), *story("r3", NOON + 950))))
    assert store.logs(LogQuery("r3"))[0].seq > line
    assert [each.run_id for each in store.transitions(moved)] == ["r3"]


# --- copies --------------------------------------------------------------------------------------------------


def test_a_copy_is_a_store_of_its_own(
    filled: FileBackend, folder: Path, tmp_path: Path, stores: Callable[[Path], FileBackend]
) -> None:
    before = told(filled)
    copied = tmp_path / "copied"
    subprocess.run(["cp", "-a", str(folder), str(copied)], check=True)
    copy = stores(copied)
    assert told(copy) == before
    copy.append("j9", 0, header("j9") + b"".join(story("r9")))
    assert told(filled) == before


def test_copies_made_while_a_writer_writes_show_every_chunk_that_they_hold(
    store: FileBackend, folder: Path, tmp_path: Path, stores: Callable[[Path], FileBackend]
) -> None:
    over = threading.Event()

    def write() -> None:
        writer = FileBackend(f"file:///{folder}", home="")
        number = 0
        while not over.is_set():
            number += 1
            lines = [line for run in range(3) for line in story(f"{number}x{run}")]
            writer.append(f"j{number}", 0, b"".join((header(f"j{number}"), *lines)))
        writer.close()

    busy = threading.Thread(target=write)
    busy.start()
    copies = []
    for number in range(8):
        copied = tmp_path / f"copy-{number}"
        subprocess.run(["cp", "-r", str(folder), str(copied)], stderr=subprocess.DEVNULL)
        copies.append(copied)
    over.set()
    busy.join()
    for copied in copies:
        committed = [path.stem for path in run_files(copied) if list(chunks(path.read_bytes()))]
        copy = stores(copied)
        assert sorted(run.id for run in copy.runs(ALL)) == sorted(committed)
        for run in copy.runs(ALL):
            assert (run.state, run.log_lines) == ("COMPLETED", 2)


def test_a_sender_who_goes_on_with_a_copy_that_was_cut_in_a_batch_loses_and_doubles_nothing(
    tmp_path: Path, folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    store = stores(folder)
    first = header("j1") + story("r1")[0] + story("r2")[0]
    second = b"".join(line for pair in zip(story("r1")[1:], story("r2")[1:], strict=True) for line in pair)
    store.append("j1", 0, first)
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    store.append("j1", len(first), second)
    shutil.copy(folder / "runs/undated/r1.jsonl", copied / "runs/undated/r1.jsonl")  # this one a moment later
    copy = stores(copied)
    assert [(run.id, run.state) for run in copy.runs(ALL)] == [("r2", "RUNNING"), ("r1", "COMPLETED")]
    copy.append("j1", len(first), second[: second.index(b"\n") + 1])
    copy.append("j1", len(first) + second.index(b"\n") + 1, second[second.index(b"\n") + 1 :])
    for each in (copy, stores(copied)):
        assert [(run.id, run.state, run.log_lines) for run in each.runs(ALL)] == [
            ("r2", "COMPLETED", 2),
            ("r1", "COMPLETED", 2),
        ]
        assert [len(each.logs(LogQuery(run))) for run in ("r1", "r2")] == [2, 2]
    (copied / "index.db").unlink()
    assert [run.log_lines for run in copy.runs(ALL)] == [2, 2]


def test_a_journals_lost_file_costs_nothing_when_it_is_sent_again(
    filled: FileBackend, folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    before = told(filled)
    filled.close()
    for path in (*folder.glob("journals/**/j1.json"), folder / "index.db"):
        path.unlink()
    store = stores(folder)
    assert store.runs(ALL) == before[0]
    data = two_runs() + encode({"event": "log", "run": "r1", "at": NOON, "text": "new"})
    with pytest.raises(OffsetMismatch) as caught:
        store.append("j1", len(data), b"")
    assert caught.value.expected == 0
    half = data.index(b"\n", len(data) // 2) + 1
    store.append("j1", 0, data[:half])
    store.append("j1", half, data[half:])
    assert [log.text for log in store.logs(LogQuery("r1"))] == ["line 1", "line 2", "new"]
    assert [log.text for log in store.logs(LogQuery("r2"))] == ["line 1", "line 2"]
    assert [each.run_id for each in store.transitions(0)] == [each.run_id for each in before[3]]
    for path in folder.glob("index.db*"):
        path.unlink()
    assert len(store.logs(LogQuery("r1"))) == 3


# --- damage --------------------------------------------------------------------------------------------------


def test_a_flipped_byte_costs_one_line_at_most_or_the_chunk_whose_commit_it_hit(
    filled: FileBackend, folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    path = run_files(folder)[0]
    data = path.read_bytes()
    log_starts = [position for position, event in decode(data) if event and event["event"] == "log"]
    damaged = bytearray(data)
    damaged[log_starts[0] + 5] ^= 1
    path.write_bytes(bytes(damaged))
    (folder / "index.db").unlink()
    assert [log.text for log in filled.logs(LogQuery("r1"))] == ["line 2"]
    assert filled.run("r1") is not None
    said = filled.check()
    assert not said["ok"]
    assert "1 damaged" in said["detail"]


def test_a_line_torn_by_a_copy_costs_no_line_after_it(
    filled: FileBackend, folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    filled.close()
    path = run_files(folder)[0]
    with path.open("ab") as file:
        file.write(story("r1.x")[0][:40])
    (folder / "index.db").unlink()
    store = stores(folder)
    store.append("j1", len(two_runs()), b"".join(story("r1.b")))
    (folder / "index.db").unlink()
    assert sorted(run.id for run in store.runs(ALL)) == ["r1", "r1.b", "r2", "r3"]


def test_a_journal_cannot_forge_a_commit(filled: FileBackend, folder: Path) -> None:
    before = filled.runs(ALL)
    transitions = [
        {"seq": 99, "run_id": "r1", "at": 1, "from": None, "to": "X", "condition": None, "reason": None}
    ]
    forged = {"event": "commit", "run": "r1", "at": NOON, "journal": "j9", "from": 0, "to": 9, "bytes": 0}
    filled.append("j4", 0, header("j4") + encode({**forged, "logs": [], "transitions": transitions}))
    (folder / "index.db").unlink()
    assert filled.runs(ALL) == before
    assert len(filled.transitions(0)) == 4


def test_stray_files_hurt_nobody(filled: FileBackend, folder: Path) -> None:
    before: list[Run] = filled.runs(ALL)
    (folder / "runs/undated/notes.jsonl").write_text("hello\n{}\n")
    (folder / "runs/undated/empty.jsonl").touch()
    (folder / "journals/undated/odd.json").write_text("[1]")
    (folder / "registry").mkdir(exist_ok=True)
    (folder / "registry/odd").mkdir()
    (folder / "registry/odd/x.json").write_text("torn{")
    (folder / "index.db").unlink()
    assert filled.runs(ALL) == before
    assert filled.list("odd") == []


# --- places --------------------------------------------------------------------------------------------------


def test_a_store_whose_folder_was_deleted_begins_again(store: FileBackend, folder: Path) -> None:
    store.append("j1", 0, two_runs())
    shutil.rmtree(folder)
    store.append("j2", 0, header("j2") + b"".join(story("r9")))
    assert [run.id for run in store.runs(ALL)] == ["r9"]


def test_a_writer_who_waits_too_long_is_told(folder: Path) -> None:
    store = FileBackend(f"file:///{folder}", home="", timeout=0.05)
    rival = FileBackend(f"file:///{folder}", home="", timeout=0.05)
    with rival._folder.locked(), pytest.raises(StorageError, match="another writer"):
        store.append("j1", 0, two_runs())
    store.append("j1", 0, two_runs())
    store.close()
    rival.close()


@pytest.mark.parametrize("spoil", ["file", "closed"])
def test_a_place_that_cannot_be_used_is_a_storage_error(tmp_path: Path, spoil: str) -> None:
    place = tmp_path / "place"
    if spoil == "file":
        place.write_text("in the way")
    else:
        place.mkdir(mode=0o500)
        if os.access(place, os.W_OK):
            place.rmdir()
            place.symlink_to("/proc/self/nowhere")
    with pytest.raises(StorageError):
        FileBackend(f"file:///{place}", home="")


def test_a_folder_that_others_may_read_stays_so_but_nothing_new_does(tmp_path: Path) -> None:
    place = tmp_path / "team"
    place.mkdir(mode=0o755)
    store = FileBackend(f"file:///{place}", home="")
    store.append("j1", 0, two_runs())
    store.close()
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    assert stat.S_IMODE((place / "runs").stat().st_mode) == 0o700


def test_a_copy_taken_before_a_file_had_its_first_commit_is_whole(
    folder: Path, stores: Callable[[Path], FileBackend]
) -> None:
    store = stores(folder)
    store.append("j1", 0, two_runs())
    store.close()
    path = run_files(folder)[0]
    path.with_name("zzz.jsonl").write_bytes(path.read_bytes()[:40])
    (folder / "index.db").unlink()
    store = stores(folder)
    assert store.check()["ok"], store.check()
    assert len(store.runs(RunQuery())) == 2
