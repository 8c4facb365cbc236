"""The SQLite store where SQLite itself is in the way: foreign locks, other handles, a growing log, other schemas."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from holter.backends import sqlite_reads
from holter.backends.errors import StorageError, StoreTooNew
from holter.backends.lines import encode
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.sqlite import SqliteBackend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "holter.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteBackend]:
    store = at(path)
    yield store
    store.close()


def at(path: Path, timeout: float | None = 10.0) -> SqliteBackend:
    return SqliteBackend(f"sqlite:///{path}", home="", timeout=timeout)


def start(run: str) -> bytes:
    return encode({"event": "start", "run": run, "at": 1.0, "kind": "flow", "name": "etl"})


def line(text: str) -> bytes:
    return encode({"event": "log", "run": "r1", "at": 2.0, "text": text})


def test_a_newer_schema_is_refused_and_left_alone(store: SqliteBackend, path: Path) -> None:
    store.append("j1", 0, start("r1"))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StoreTooNew, match=r"schema 99, this holter knows \d+ \(upgrade"):
        at(path)
    assert [run.id for run in store.runs(RunQuery())] == ["r1"]


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"precious" * 1000)
    with pytest.raises(StorageError, match="not a database"):
        at(path)
    assert path.read_bytes() == b"precious" * 1000


def test_a_program_that_locks_the_file_is_waited_for_so_long_and_changes_nothing(
    store: SqliteBackend, path: Path
) -> None:
    store.append("j1", 0, start("r1"))
    impatient = at(path, timeout=0.1)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with pytest.raises(StorageError, match="locked"):
        impatient.append("j2", 0, start("r2"))
    assert 0.05 < time.monotonic() - began < 5
    assert [run.id for run in impatient.runs(RunQuery())] == ["r1"]
    foreign.execute("ROLLBACK")
    foreign.close()
    assert impatient.append("j2", 0, start("r2"))
    impatient.close()


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="the kernel shows no locks here")
def test_another_handle_of_this_process_does_not_drop_the_locks_of_the_first(
    store: SqliteBackend, path: Path
) -> None:
    store.append("j1", 0, start("r1"))
    inode = path.stat().st_ino

    def locked() -> bool:
        lines = Path("/proc/locks").read_text().splitlines()
        return any(f":{inode} " in line and "POSIX" in line and f" {os.getpid()} " in line for line in lines)

    assert locked()
    other = at(path)
    assert locked()
    other.close()


def test_the_log_of_writes_stays_small_while_readers_read(store: SqliteBackend, path: Path) -> None:
    reader = at(path)
    offset = 0
    for number in range(60):
        batch = b"".join(
            encode({"event": "log", "run": f"r{number}", "at": 1.0, "text": "x" * 1000}) for _ in range(300)
        )
        offset = store.append("j1", offset, start(f"r{number}") + batch)
        assert len(reader.runs(RunQuery(limit=None))) == number + 1
    assert os.path.getsize(f"{path}-wal") < 8 * 2**20
    reader.close()


def test_closing_while_another_writer_is_busy_neither_hangs_nor_loses(path: Path) -> None:
    store, other = at(path), at(path)
    store.append("j1", 0, start("r1"))
    with other._write() as db:
        db.execute("DELETE FROM logs")
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < 5
    assert [run.id for run in other.runs(RunQuery())] == ["r1"]
    other.close()


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch(mode=0o600)
    store = at(path)
    assert store.append("j1", 0, start("r1"))
    assert store.check()["ok"]
    store.close()


def test_a_store_of_an_older_schema_is_upgraded_and_its_lines_and_new_ones_are_found(path: Path) -> None:
    first = at(path)
    first.append("j1", 0, start("r1") + line("an old line"))
    first.close()
    with closing(sqlite3.connect(path)) as db:
        Database(db).table("logs").enable_fts(["text"], create_triggers=True)
        db.execute("DELETE FROM _sqlite_migrations WHERE name LIKE 'm004%'")
        db.execute("PRAGMA user_version=3")
        db.commit()
    again = at(path)
    again.append("j2", 0, line("a new line"))
    assert [log.text for log in again.logs(LogQuery("r1", text="line"))] == ["an old line", "a new line"]
    again.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'logs%' AND name <> 'logs_root'"
        ).fetchall() == [("logs",)]


def test_damage_that_sqlite_quotes_in_its_message_is_refused_in_a_sentence(path: Path) -> None:
    SqliteBackend(f"sqlite:///{path}", home="").close()
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE \x98\x98\x98\x98\x98"))
    with pytest.raises(StorageError, match="cannot open"):
        SqliteBackend(f"sqlite:///{path}", home="")


def test_a_check_of_a_large_database_ends_in_time_and_says_how_far_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_reads, "CHECK_SECONDS", 0.0)
    store = SqliteBackend("sqlite:///h.db", home=str(tmp_path))
    lines = [{"event": "log", "run": "r1", "at": 1.0, "text": f"line {n}"} for n in range(3000)]
    store.append("j1", 0, b"".join(encode(line) for line in lines))
    found = store.check()
    assert found["ok"] and "as far as it was read" in found["detail"]
    assert store.processes()
    store.close()


def test_who_only_reads_sees_the_store_that_took_the_place_of_one_that_was_deleted(path: Path) -> None:
    reader, writer = at(path), at(path)
    writer.append("j1", 0, start("r1"))
    assert [run.id for run in reader.runs(RunQuery())] == ["r1"]
    for each in path.parent.glob("holter.db*"):
        each.unlink()
    assert reader.runs(RunQuery()) == []
    writer.append("j2", 0, start("r2"))
    assert [run.id for run in reader.runs(RunQuery())] == ["r2"]
    reader.close()
    writer.close()


def test_an_older_schema_that_can_only_be_read_is_refused(
    store: SqliteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append("j1", 0, start("r1"))
    store.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=4")
    monkeypatch.setattr(SqliteBackend, "_open_gate", lambda self: None)
    with pytest.raises(StorageError, match="has schema 4 and can only be read"):
        at(path)
