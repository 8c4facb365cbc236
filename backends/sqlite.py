"""One SQLite file for one host: WAL, one writer transaction per batch, every write under a fair gate.

The gate is a blocking `flock` on a file beside the database. SQLite's own busy handler is a lottery with tails of
seconds; with the gate the worst wait of 16 writers fell from 530 to 17 ms. It also closes the WAL-reset race of SQLite
before 3.51.3: nobody commits while somebody checkpoints, because both hold the gate. It covers closing, too, since
the last connection to close checkpoints.

The write side, which runs at the end of every script, uses only `sqlite3`; sqlite-utils makes the schema, once.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from json import dumps, loads

from .clock import SYSTEM, root_of
from .errors import OffsetMismatch, StorageError, StoreTooNew
from .fold import digest
from .lines import decode, whole
from .sqlite_registry import SqliteRegistry
from .urls import path_of, redacted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .clock import Clock
    from .records import JobSummary, Json, Log, LogQuery, Process, Pruned, Retention, Run, RunQuery, Transition

SCHEMA_VERSION = 1
_OPEN: set[SqliteBackend] = set()
_WAL_LIMIT = 4 * 2**20  # bytes; past it the next writer checkpoints
_CHUNK = 500  # names in one IN (...), under SQLite's limit of bound parameters in every version


class SqliteBackend(SqliteRegistry):
    """See `holter.backends.base` for the contract. `timeout` None blocks as long as another writer lives."""

    def __init__(self, url: str, *, home: str, clock: Clock = SYSTEM, timeout: float | None = 10.0) -> None:
        self.url = redacted(url)
        self.path = path_of(url, home)
        self._clock = clock
        self._timeout = timeout
        self._gate = -1
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            self._gate = os.open(f"{self.path}.gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # never by SQLite's umask
            _OPEN.add(self)
            self._db = self._connect()
        except OSError as error:
            self.close()
            raise StorageError(f"cannot open {self.path}: {error.strerror}") from error
        except sqlite3.Error as error:
            self.close()
            raise StorageError(f"cannot open {self.path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        seconds = 30.0 if self._timeout is None else self._timeout
        self._db = db = sqlite3.connect(self.path, timeout=seconds, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA wal_autocheckpoint=0")
        version = self._version()
        if version < SCHEMA_VERSION:
            with self._gated():
                if self._version() < SCHEMA_VERSION:
                    from .sqlite_schema import upgrade

                    upgrade(db)
        elif version > SCHEMA_VERSION:
            raise StoreTooNew(f"{self.path} has schema {version}, this holter knows {SCHEMA_VERSION}")
        return db

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        db, self._db = getattr(self, "_db", None), None  # type: ignore[assignment]
        gate, self._gate = self._gate, -1
        if db is not None:
            held = gate >= 0 and _lock(gate, 1.0)
            if held:
                db.close()
            # Without the gate the connection is left to the end of the process: a close may checkpoint.
        if gate >= 0:
            os.close(gate)
        _OPEN.discard(self)

    def check(self) -> dict[str, Any]:
        wal = os.path.getsize(f"{self.path}-wal") if os.path.exists(f"{self.path}-wal") else 0
        quick = self._rows("PRAGMA quick_check(1)")[0][0]
        race = (3, 7, 0) <= sqlite3.sqlite_version_info < (3, 51, 3)
        note = " (its WAL-reset race is closed by the write gate)" if race else ""
        size = os.path.getsize(self.path)
        return {
            "ok": quick == "ok",
            "detail": f"{self.path}, {size / 2**20:.1f} MiB + {wal / 2**20:.1f} MiB WAL, {quick}, "
            f"SQLite {sqlite3.sqlite_version}{note}",
        }

    # --- transactions ---

    @contextmanager
    def _gated(self) -> Iterator[None]:
        if not _lock(self._gate, self._timeout):
            raise StorageError(f"another writer holds {self.path}", hint="try again; `holter doctor` shows its size")
        try:
            yield
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One gated transaction, begun IMMEDIATE: a deferred one that reads and then writes fails when it races."""
        with self._gated():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
                self._checkpoint()
            except sqlite3.Error as error:
                with suppress(sqlite3.Error):
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                raise StorageError(f"{self.path}: {error}") from error

    def _checkpoint(self) -> None:
        with suppress(OSError):
            if os.stat(f"{self.path}-wal").st_size > _WAL_LIMIT:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows at once: an open cursor would hold a read transaction and let the WAL grow without end."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: {error}") from error

    # --- ledger: writing ---

    def append(self, journal: str, offset: int, data: bytes) -> int:
        with self._write() as db:
            self._append(db, journal, offset, data)
        return offset + len(data)

    def _append(self, db: sqlite3.Connection, journal: str, offset: int, data: bytes) -> list[dict[str, Any]]:
        """The body of `append`, inside a transaction; returns the transitions with their seq."""
        if whole(data) != len(data):
            raise ValueError("a batch ends in a newline")
        row = db.execute("SELECT offset, record FROM journals WHERE journal=?", (journal,)).fetchone()
        stood, record = (row[0], loads(row[1])) if row else (0, {})
        if stood != offset:
            raise OffsetMismatch(journal, expected=stood, given=offset)
        out = digest(journal, decode(data, offset), record, self._load, self._clock.wall())
        header = out.process.get("header", {})
        db.execute(
            "INSERT OR REPLACE INTO journals VALUES (?,?,?,?)",
            (journal, offset + len(data), "closed_at" in out.process, dumps(out.process)),
        )
        db.executemany(_PUT_RUN, [_run_row(doc, header) for doc in out.docs.values()])
        db.executemany(
            "INSERT INTO events VALUES (?,?,?,?,?)",
            [(run, event["at"], journal, position, _body(event)) for run, position, event in out.events],
        )
        db.executemany(
            "INSERT INTO logs(root_id, run_id, at, level, stream, text) VALUES (?,?,?,?,?,?)",
            [
                (
                    root_of(run),
                    run,
                    event["at"],
                    str(event.get("level") or "INFO"),
                    str(event.get("stream") or "log"),
                    str(event.get("text") or ""),
                )
                for run, event in out.logs
            ],
        )
        for row in out.transitions:
            row["seq"] = db.execute(
                "INSERT INTO transitions(run_id, at, from_state, to_state, condition, reason) VALUES (?,?,?,?,?,?)",
                (row["run_id"], row["at"], row["from"], row["to"], row["condition"], row["reason"]),
            ).lastrowid
        return out.transitions

    def _load(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        found = {}
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            marks = ",".join("?" * len(part))
            for run_id, doc in self._db.execute(f"SELECT id, doc FROM runs WHERE id IN ({marks})", part):
                found[run_id] = loads(doc)
        return found

    def prune(self, retention: Retention) -> Pruned:
        from .sqlite_reads import prune

        return prune(self, retention)

    # --- ledger: reading (loaded on first use, with the classes that it returns) ---

    def runs(self, query: RunQuery) -> list[Run]:
        from .sqlite_reads import runs

        return runs(self, query)

    def run(self, run_id: str) -> Run | None:
        from .sqlite_reads import run

        return run(self, run_id)

    def events(self, run_id: str) -> list[Json]:
        rows = self._rows("SELECT body FROM events WHERE run_id=? ORDER BY at, journal, position", run_id)
        return [loads(body) for (body,) in rows]

    def logs(self, query: LogQuery) -> list[Log]:
        from .sqlite_reads import logs

        return logs(self, query)

    def summarize(self, query: RunQuery) -> list[JobSummary]:
        from .sqlite_reads import summarize

        return summarize(self, query)

    def transitions(self, after: int, limit: int = 500) -> list[Transition]:
        from .records import Transition

        rows = self._rows("SELECT * FROM transitions WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
        return [Transition(*row) for row in rows]

    def processes(self, *, open_only: bool = True) -> list[Process]:
        from .sqlite_reads import processes

        return processes(self, open_only=open_only)


_PUT_RUN = f"INSERT OR REPLACE INTO runs VALUES ({','.join('?' * 15)})"


def _let_go_after_fork() -> None:
    """The child keeps neither gate (it would outlive a killed parent) nor connection (closing it could checkpoint)."""
    for backend in tuple(_OPEN):
        if backend._gate >= 0:
            os.close(backend._gate)
        if getattr(backend, "_db", None) is not None:
            import ctypes

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(backend._db))  # never finalised in the child
        backend._gate, backend._db = -1, None  # type: ignore[assignment]
    _OPEN.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)


def _run_row(doc: dict[str, Any], header: dict[str, Any]) -> tuple[Any, ...]:
    return (
        doc["id"],
        doc["root_id"],
        doc.get("parent_id"),
        doc.get("kind"),
        doc.get("name"),
        doc.get("project") or header.get("project") or "default",
        doc["state"],
        "".join(f" {name} " for name in doc["conditions"]),
        dumps(doc.get("tags") or []),
        header.get("host"),
        doc.get("journal"),
        doc.get("created_at"),
        doc.get("ended_at"),
        doc.get("duration_seconds"),
        dumps(doc, separators=(",", ":")),
    )


def _body(event: dict[str, Any]) -> str:
    return dumps({key: value for key, value in event.items() if key != "c"}, separators=(",", ":"))


def _lock(descriptor: int, timeout: float | None) -> bool:
    """Take the gate: blocking (fair, no polling) or, with a timeout in seconds, by polling every few ms."""
    if timeout is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.004)
        else:
            return True
