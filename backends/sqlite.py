"""One SQLite file for one host: WAL, one writer transaction per batch, every write under a fair gate.

With the gate, a lock on a file beside the database, the worst wait of 16 writers fell from 530 to 17 ms. It also closes
the WAL-reset race of SQLite before 3.51.3: nobody commits while somebody checkpoints, because both hold the gate. It
covers closing, too, since the last connection to close checkpoints.

The write side, which runs at the end of every script, uses only `sqlite3`; sqlite-utils makes the schema, once.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from errno import EROFS

from .clock import SYSTEM
from .digest import digest
from .errors import OffsetMismatch, StorageError, StoreTooNew
from .forever import keep
from .gate import Gate
from .lines import batch
from .mounts import file_system, is_network
from .sqlite_registry import SqliteRegistry
from .sqlite_rows import free_seqs, put_journal, put_rows, put_runs
from .sqlite_text import ERRORS, loaded
from .urls import path_of, redacted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from .clock import Clock
    from .digest import Digest
    from .many import Batch
    from .records import (
        Bucket,
        JobRuns,
        JobSummary,
        Json,
        Log,
        LogQuery,
        Process,
        Pruned,
        Retention,
        Run,
        RunQuery,
        Transition,
    )

SCHEMA_VERSION = 5
_OPEN: set[SqliteBackend] = set()
_WAL_LIMIT = 4 * 2**20  # bytes; past it the next writer checkpoints
_NOT_SHARED = (
    "SQLite needs a local one: use postgresql://, http:// or file:///, or add ?force=true if one host uses it"
)
CHUNK = 500  # names in one IN (...), under SQLite's limit of bound parameters in every version


class SqliteBackend(SqliteRegistry):
    """See `holter.backends.base` for the contract. `timeout` None blocks as long as another writer lives.

    On a network file system it raises StorageError, unless the URL ends in `?force=true`: for one single host.
    """

    def __init__(self, url: str, *, home: str, clock: Clock = SYSTEM, timeout: float | None = 10.0) -> None:
        self.url = redacted(url)
        plain, _, options = url.partition("?")
        self.path = path_of(plain, home)
        self._forced = "force=true" in options.split("&")
        self._clock = clock
        self._timeout = timeout
        self._gate: Gate | None = None
        self._file: tuple[int, int] | None = None
        self._db: sqlite3.Connection = None  # type: ignore[assignment]
        try:
            self._open()
        except StorageError:
            self.close()
            raise

    def _open(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            if not self._forced and is_network(kind := file_system(self.path)):
                raise StorageError(f"{self.path} is on a network file system ({kind})", hint=_NOT_SHARED)
            self._gate = self._open_gate()
            if self._gate is not None:
                _create(self.path)
            _OPEN.add(self)
            self._connect()
        except StorageError:
            raise
        except (OSError, *ERRORS) as error:
            raise StorageError(
                f"cannot open {self.path}: {getattr(error, 'strerror', None) or error}"
            ) from error

    def _open_gate(self) -> Gate | None:
        """None where there is a store that can only be read: a disk with errors was mounted read-only, say."""
        try:
            return Gate(f"{self.path}.gate", self._timeout)
        except OSError as error:
            if error.errno == EROFS and os.path.exists(self.path):
                return None
            raise

    def _begin_again(self) -> None:
        """The file was deleted or replaced under us: what has its name now is another store. The old connection is
        never closed, for that would remove the new one's WAL by its name."""
        gate, db = self._opened(), self._db
        try:
            self._open()
        except BaseException:
            if self._gate is not None and self._gate is not gate:
                self._gate.close()
            if self._db is not db:
                _never_close(self._db)
            self._gate, self._db = gate, db  # still the lost ones: the next write tries again
            raise
        gate.close()
        _never_close(db)

    def _lost(self) -> bool:
        """Whether the file that is open here is not, or no longer, the one of that name."""
        return _identity(self.path) != self._file

    def _connect(self) -> None:
        seconds = 30.0 if self._timeout is None else self._timeout
        self._file = _identity(self.path)
        if self._gate is None:
            from .sqlite_reads import opened_to_read

            self._db = opened_to_read(self.path)
        else:
            self._db = sqlite3.connect(
                self.path, timeout=seconds, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA wal_autocheckpoint=0")
        self._upgrade()

    def _upgrade(self) -> None:
        version = self._version()
        if version < SCHEMA_VERSION:
            with self._gated():
                if self._version() < SCHEMA_VERSION:
                    from .sqlite_schema import upgrade

                    upgrade(self._db)
        elif version > SCHEMA_VERSION:
            raise StoreTooNew(f"{self.path} has schema {version}, this holter knows {SCHEMA_VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        db, self._db = self._db, None  # type: ignore[assignment]
        gate, self._gate = self._gate, None
        if db is not None:
            if gate is None or _may_close(gate):  # who only reads checkpoints nothing
                db.close()
            else:
                _never_close(db)
        if gate is not None:
            gate.close()
        _OPEN.discard(self)

    def check(self) -> dict[str, Any]:
        from .sqlite_reads import check

        return check(self)

    # --- transactions ---

    def _gated(self) -> AbstractContextManager[None]:
        return self._opened().held()

    def _must_be_open(self) -> None:
        if self._db is None:
            raise StorageError(
                f"{self.path} is closed here", hint="after a fork or a close, open the store again"
            )

    def _opened(self) -> Gate:
        """The gate, where the store can be written."""
        self._must_be_open()
        if self._gate is None:  # it may be writable again
            self._db.close()
            self._open()
        if self._gate is None:
            raise StorageError(f"{self.path} is on a read-only file system", hint="what is there can be read")
        return self._gate

    @contextmanager
    def _write(self, synced: bool = False) -> Iterator[sqlite3.Connection]:
        """One gated transaction, begun IMMEDIATE: a deferred one that reads and then writes fails when it races.

        It survives the death of this process; `synced`, the loss of power too.
        """
        self._opened()
        if self._lost():
            self._begin_again()
        if synced:
            self._db.execute("PRAGMA synchronous=FULL")
        with self._gated():
            if self._lost():
                raise StorageError(f"{self.path} was replaced just now", hint="try again")
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
                self._checkpoint()
            except BaseException as error:
                with suppress(*ERRORS):  # a full disk has rolled back already
                    self._db.execute("ROLLBACK")
                if isinstance(error, ERRORS):
                    raise StorageError(f"{self.path}: {error}") from error
                raise

    def _checkpoint(self) -> None:
        with suppress(OSError):
            if os.stat(f"{self.path}-wal").st_size > _WAL_LIMIT:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows at once: an open cursor would hold a read transaction and let the WAL grow without end."""
        self._must_be_open()
        if not self._db.in_transaction and self._lost():  # who only reads would read the old file for ever
            self._begin_again()
        try:
            return self._db.execute(sql, values).fetchall()
        except ERRORS as error:
            raise StorageError(f"{self.path}: {error}") from error

    def _each(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The same one by one, for the very many, within a `_moment`: a list of them all is made slower than used."""
        try:
            yield from self._db.execute(sql, values)
        except ERRORS as error:
            raise StorageError(f"{self.path}: {error}") from error

    @contextmanager
    def _moment(self) -> Iterator[None]:
        """Several questions to one and the same state of the store. Short: meanwhile the WAL grows."""
        self._rows("BEGIN")
        try:
            yield
        finally:
            with suppress(*ERRORS):
                self._db.execute("ROLLBACK")

    # --- ledger: writing ---

    def append(self, journal: str, offset: int, data: bytes) -> int:
        lines = batch(data, offset)
        with self._write() as db:
            self._apply(db, journal, offset, offset + len(data), lines)
        return offset + len(data)

    def append_many(self, batches: Sequence[Batch]) -> list[int | OffsetMismatch]:
        """Many batches in one transaction, see `many`; and synced: whoever sent them may forget them now."""
        parsed = [(journal, offset, len(data), batch(data, offset)) for journal, offset, data in batches]
        answers: list[int | OffsetMismatch] = []
        with self._write(synced=True) as db:
            for journal, offset, size, lines in parsed:
                try:
                    self._apply(db, journal, offset, offset + size, lines)
                except OffsetMismatch as other:  # raised before anything is written
                    answers.append(other.with_traceback(None))  # which would keep this frame, and all batches
                else:
                    answers.append(offset + size)
        return answers

    def _apply(
        self,
        db: sqlite3.Connection,
        journal: str,
        offset: int,
        end: int,
        lines: list[tuple[int, Json | None]],
    ) -> tuple[Digest, range]:
        """The body of `append`, inside a transaction; returns what it meant and the seqs of its log lines."""
        row = db.execute("SELECT offset, record FROM journals WHERE journal=?", (journal,)).fetchone()
        stood, record = (row[0], loaded(row[1])) if row else (0, {})
        if stood != offset:
            raise OffsetMismatch(journal, expected=stood, given=offset)
        out = digest(journal, lines, record, self._load, self._clock.wall())
        for moved, seq in zip(
            out.transitions, free_seqs(db, "transitions", len(out.transitions)), strict=True
        ):
            moved["seq"] = seq
        seqs = free_seqs(db, "logs", len(out.logs))
        put_journal(db, journal, end, out.process)
        put_runs(db, out.docs.values())
        put_rows(db, journal, out, seqs)
        return out, seqs

    def _load(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        found = {}
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            marks = ",".join("?" * len(part))
            for run_id, doc in self._db.execute(f"SELECT id, doc FROM runs WHERE id IN ({marks})", part):
                found[run_id] = loaded(doc)
        return found

    def prune(self, retention: Retention) -> Pruned:
        from .sqlite_reads import prune

        return prune(self, retention)

    def size(self) -> int:
        """Bytes in use. The file itself does not shrink: what was forgotten makes room for what comes."""
        [(pages,)], [(free,)], [(each,)] = (
            self._rows(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * each)

    def _drop_roots(self, roots: list[str]) -> None:
        """Called inside the transactions of `prune`, before its deletions: nothing else is kept of these here."""

    def _drop_lines(self, roots: list[str], before: float) -> None: ...

    def _drop_journals(self, journals: list[str]) -> None: ...

    # --- ledger: reading (loaded on first use, with the classes that it returns) ---

    def runs(self, query: RunQuery) -> list[Run]:
        from .sqlite_reads import runs

        return runs(self, query)

    def run(self, run_id: str) -> Run | None:
        from .sqlite_reads import run

        return run(self, run_id)

    def events(self, run_id: str) -> list[Json]:
        rows = self._rows("SELECT body FROM events WHERE run_id=? ORDER BY at, journal, position", run_id)
        return [loaded(body) for (body,) in rows]

    def logs(self, query: LogQuery) -> list[Log]:
        from .sqlite_reads import logs

        return logs(self, query)

    def summarize(self, query: RunQuery) -> list[JobSummary]:
        from .sqlite_figures import summarize

        return summarize(self, query)

    def newest(self, query: RunQuery, each: int) -> list[JobRuns]:
        from .sqlite_figures import newest

        return newest(self, query, each)

    def timeline(self, query: RunQuery, every: float) -> list[Bucket]:
        from .sqlite_figures import timeline

        return timeline(self, query, every)

    def transitions(self, after: int, limit: int = 500) -> list[Transition]:
        from .records import Transition

        rows = self._rows("SELECT * FROM transitions WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
        return [Transition(*row) for row in rows]

    def processes(self, *, open_only: bool = True, journals: Collection[str] | None = None) -> list[Process]:
        from .sqlite_reads import processes

        return processes(self, open_only=open_only, journals=journals)


def _create(path: str) -> None:
    """An empty file of mode 0600, never by SQLite's umask. A file that is there is not even opened: closing it would
    drop every lock that another connection of this process holds on it."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _may_close(gate: Gate | None) -> bool:
    """Whether the gate is ours within a second, or its folder is gone, and with it everybody else."""
    try:
        return gate is not None and gate.take(1.0)
    except OSError:
        return True


def _never_close(db: sqlite3.Connection) -> None:
    """Closing could checkpoint, and so could the finaliser at the end of the process: it never runs."""
    keep(db)


def _let_go_after_fork() -> None:
    """The child keeps no connection: using it corrupts the file, closing it could checkpoint."""
    for backend in tuple(_OPEN):
        if backend._db is not None:
            _never_close(backend._db)
        backend._gate, backend._db = None, None  # type: ignore[assignment]
    _OPEN.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
