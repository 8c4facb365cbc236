"""The reading half of the SQLite store: questions in, records out."""

from __future__ import annotations

import os
import sqlite3
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from .answers import has_words, process_of, words_of
from .errors import StorageError
from .queries import LogQuery, Retention, RunQuery
from .records import Json, Log, Process, Pruned, Run
from .sqlite_rows import forget_roots
from .sqlite_text import Damaged, loaded, unreadable
from .sqlite_where import where_of
from .states import FAILURES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from contextlib import AbstractContextManager

    from .sqlite import SqliteBackend

CHECK_SECONDS = 2.0
_ROOTS = 50  # roots per transaction of `prune`: other writers wait at the gate meanwhile
_LINES = 10_000  # log lines likewise
_FAILED = ",".join(f"'{state}'" for state in FAILURES)
_ENDED = (
    "parent_id IS NULL AND kind IS NOT NULL AND state NOT IN ('PENDING', 'RUNNING', 'RETRYING')"
    " AND NOT EXISTS (SELECT 1 FROM runs AS part WHERE part.root_id=runs.id AND part.kind IS NOT NULL"
    " AND part.state IN ('PENDING', 'RUNNING', 'RETRYING'))"
)
_DOOMED = (
    f"{_ENDED} AND created_at < CASE WHEN state IN ({_FAILED}) THEN ? ELSE ? END AND (state NOT IN ({_FAILED})"
    " OR EXISTS (SELECT 1 FROM runs AS later WHERE later.name=runs.name AND later.project=runs.project"
    f" AND later.parent_id IS NULL AND later.state IN ({_FAILED})"
    " AND (later.created_at, later.id) > (runs.created_at, runs.id)))"
)


def runs(store: SqliteBackend, query: RunQuery) -> list[Run]:
    where, values = where_of(query)
    order = "ORDER BY runs.created_at DESC, runs.id DESC"
    # What is passed over must not be joined: a page far back would cost as if all before it were read.
    page = f"(SELECT * FROM runs WHERE {where} {order} LIMIT ? OFFSET ?) AS runs" if query.offset else "runs"
    rest = "" if query.offset else f"WHERE {where}"
    rows = store._rows(
        f"SELECT runs.doc, journals.record FROM {page} LEFT JOIN journals USING (journal) {rest} {order}"
        + ("" if query.offset else " LIMIT ? OFFSET ?"),
        *values,
        -1 if query.limit is None else query.limit,
        query.offset,
    )
    headers: dict[str, Any] = {}  # most runs of a page share few journals
    return [_run(doc, record, headers) for doc, record in rows]


def run(store: SqliteBackend, run_id: str) -> Run | None:
    rows = store._rows(
        "SELECT doc, record FROM runs LEFT JOIN journals USING (journal) WHERE id=? AND kind IS NOT NULL",
        run_id,
    )
    return _run(rows[0][0], rows[0][1], {}) if rows else None


def _run(doc: str, record: str | None, headers: dict[str, Any]) -> Run:
    key = record or "{}"
    try:
        if key not in headers:
            headers[key] = loaded(key).get("header", {})
        return Run.from_doc(loaded(doc), headers[key])
    except (
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:  # a name or a bracket of it has changed
        raise unreadable(error) from Damaged(str(error))


def logs(store: SqliteBackend, query: LogQuery) -> list[Log]:
    root = query.run_id.partition(".")[0]
    where = ["logs.root_id=?", "logs.seq > ?"]
    values: list[Any] = [root, query.after]
    if not query.tree:
        where.append("logs.run_id=?")
        values.append(query.run_id)
    elif root != query.run_id:
        where.append(
            "logs.run_id IN (WITH RECURSIVE tree(id) AS (VALUES(?) UNION"
            " SELECT runs.id FROM runs JOIN tree ON runs.parent_id = tree.id) SELECT id FROM tree)"
        )
        values.append(query.run_id)
    if query.before is not None:
        where.append("logs.seq < ?")
        values.append(query.before)
    if query.levels:
        where.append(f"logs.level IN ({', '.join('?' * len(query.levels))})")
        values += query.levels
    words = words_of(query.text or "")
    if words:
        store._db.create_function("has_words", 1, partial(has_words, words), deterministic=True)
        where.append("has_words(logs.text)")
    rows = store._rows(
        "SELECT seq, run_id, at, level, stream, text FROM logs "
        f"WHERE {' AND '.join(where)} ORDER BY seq {'DESC' if query.last else 'ASC'} LIMIT ?",
        *values,
        -1 if query.limit is None else query.limit,
    )
    found = [Log(*row) for row in rows]
    return found[::-1] if query.last else found


def processes(store: SqliteBackend, *, open_only: bool, journals: Collection[str] | None) -> list[Process]:
    where = "closed=0" if open_only else "1"
    if journals is not None:
        where += f" AND journal IN ({', '.join('?' * len(journals))})"
    rows = store._rows(
        f"SELECT journal, offset, record FROM journals WHERE {where} ORDER BY journal DESC", *(journals or ())
    )
    return [process_of(journal, offset, loaded(record)) for journal, offset, record in rows]


class Pruning(Protocol):
    """What `prune` needs of a store: transactions, and to be told first what is to go."""

    def _write(self) -> AbstractContextManager[sqlite3.Connection]: ...
    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]: ...
    def _drop_roots(self, roots: list[str]) -> None: ...
    def _drop_lines(self, roots: list[str], before: float) -> None: ...
    def _drop_journals(self, journals: list[str]) -> None: ...


def prune(store: Pruning, retention: Retention) -> Pruned:
    """In transactions of a few hundred root runs, so that writers are never kept waiting for long."""
    runs, lines = _prune_runs(store, retention)
    lines += _prune_lines(store, retention.logs_before)
    with store._write() as db:
        unused = (
            "closed AND json_extract(record, '$.received_at') < ?"
            " AND journal NOT IN (SELECT journal FROM runs WHERE journal IS NOT NULL)"
        )
        names = [
            row[0]
            for row in db.execute(f"SELECT journal FROM journals WHERE {unused}", (retention.runs_before,))
        ]
        store._drop_journals(names)
        db.executemany("DELETE FROM journals WHERE journal=?", [(name,) for name in names])
    return Pruned(runs=runs, logs=lines)


def _prune_runs(store: Pruning, retention: Retention) -> tuple[int, int]:
    before = (retention.failures_before, retention.runs_before)
    doomed = [row[0] for row in store._rows(f"SELECT id FROM runs WHERE {_DOOMED}", *before)]
    runs = lines = 0
    for part in _parts(doomed):
        with store._write() as db:
            marks = ",".join("?" * len(part))  # asked again: a late event may have revived one
            rows = db.execute(f"SELECT id FROM runs WHERE {_DOOMED} AND id IN ({marks})", (*before, *part))
            roots = [row[0] for row in rows]
            store._drop_roots(roots)
            gone = forget_roots(db, roots)
        runs, lines = runs + gone[0], lines + gone[1]
    return runs, lines


def _prune_lines(store: Pruning, before: float) -> int:
    old = "EXISTS (SELECT 1 FROM logs WHERE root_id=runs.id AND at < ?)"
    found = store._rows(f"SELECT id FROM runs WHERE {_ENDED} AND created_at < ? AND {old}", before, before)
    roots = [row[0] for row in found]
    lines = 0
    for part in _parts(roots):
        with store._write():
            store._drop_lines(part, before)
        marks = ",".join("?" * len(part))
        gone = _LINES
        while gone == _LINES:
            with store._write() as db:
                gone = db.execute(
                    "DELETE FROM logs WHERE seq IN"
                    f" (SELECT seq FROM logs WHERE at < ? AND root_id IN ({marks}) LIMIT {_LINES})",
                    (before, *part),
                ).rowcount
            lines += gone
    return lines


def _parts(names: list[str]) -> Iterator[list[str]]:
    return (names[start : start + _ROOTS] for start in range(0, len(names), _ROOTS))


# --- is it whole? --------------------------------------------------------------------------------------------


def check(store: SqliteBackend) -> Json:
    size, wal = (
        os.path.getsize(path) if os.path.exists(path) else 0 for path in (store.path, f"{store.path}-wal")
    )
    said = _quick_check(store)
    race = (3, 7, 0) <= sqlite3.sqlite_version_info < (3, 51, 3)
    note = " (its WAL-reset race is closed by the write gate)" if race else ""
    return {
        "ok": said.startswith("ok"),
        "detail": f"{store.path}, {size / 2**20:.1f} MiB + {wal / 2**20:.1f} MiB WAL, {said}, "
        f"SQLite {sqlite3.sqlite_version}{note}",
    }


def _quick_check(store: SqliteBackend) -> str:
    """What SQLite says; a large database takes minutes, and after CHECK_SECONDS what was seen so far has to do."""
    deadline = time.monotonic() + CHECK_SECONDS
    store._db.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        return str(store._rows("PRAGMA quick_check(1)")[0][0])
    except StorageError as error:
        if "interrupted" not in str(error):
            raise
        return f"ok as far as it was read in {CHECK_SECONDS:g} s"
    finally:
        store._db.set_progress_handler(None, 0)
