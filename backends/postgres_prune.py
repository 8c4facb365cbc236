"""Retention in PostgreSQL: months of which nothing stays are dropped whole, the rest goes in short transactions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .errors import StorageError
from .postgres_link import LockNotAvailable
from .postgres_schema import PARTITIONED, born_of, month_after, months_of, partition
from .queries import Retention
from .records import Pruned
from .states import FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .postgres import PostgresBackend
    from .postgres_link import Connection

_ROOTS = 200  # roots per transaction
_LINES = 10_000  # log lines likewise
_SECONDS = 600  # for one statement
_SAMPLED_PAGES = 500  # of each table, to tell its size
_LEAVES = """
    SELECT inhrelid::regclass::text, pg_relation_size(inhrelid) / 8192,
        pg_indexes_size(inhrelid)::float8 / greatest(pg_table_size(inhrelid), 1)
    FROM pg_inherits JOIN pg_class AS leaf ON leaf.oid = inhrelid
    WHERE inhparent = ANY(%s::regclass[]) AND leaf.relkind = 'r'"""
_LIVE = "('PENDING', 'RUNNING', 'RETRYING')"
_FAILED = f"({', '.join(repr(state) for state in FAILURES)})"
_ENDED = (
    f"parent_id IS NULL AND kind IS NOT NULL AND state NOT IN {_LIVE}"
    f" AND id NOT IN (SELECT root_id FROM runs WHERE state IN {_LIVE} AND kind IS NOT NULL)"
)
_DOOMED = (
    f"{_ENDED} AND created_at < CASE WHEN state IN {_FAILED} THEN %s ELSE %s END"
    f" AND (state NOT IN {_FAILED} OR EXISTS (SELECT FROM runs AS later WHERE later.name = runs.name"
    f" AND later.project = runs.project AND later.parent_id IS NULL AND later.state IN {_FAILED}"
    " AND (later.created_at, later.id) > (runs.created_at, runs.id)))"
)


def prune(store: PostgresBackend, retention: Retention) -> Pruned:
    runs = lines = 0
    try:
        runs, lines = _drop_months(store, retention)
    except StorageError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise  # else somebody reads for long: its rows go one by one, its table another time
    store._months.forget()
    gone = _prune_runs(store, retention)
    lines += gone[1] + _prune_lines(store, retention.logs_before)
    _prune_journals(store, retention.runs_before)
    store._months.ahead(store._clock.wall())
    return Pruned(runs=runs + gone[0], logs=lines)


# --- whole months --------------------------------------------------------------------------------------------


def _drop_months(store: PostgresBackend, retention: Retention) -> tuple[int, int]:
    """Drop the partitions of every month that is past and of which no run stays; empty the log partitions of those of
    which no line does."""
    runs = lines = 0
    with store._link.transaction(read=True) as db:
        months = sorted(months_of(db))
    for month in months:
        with store._link.transaction(statement_seconds=_SECONDS) as db:
            done = _drop_month(db, month, retention)
        runs, lines = runs + done[0], lines + done[1]
    return runs, lines


def _drop_month(db: Connection, month: str, retention: Retention) -> tuple[int, int]:
    before = (retention.failures_before, retention.runs_before)
    if _is_past(db, month, retention.runs_before) and not _some_stay(db, month, _DOOMED, before):
        names = ", ".join(partition(table, month) for table in PARTITIONED)
        # Before the lock: it takes long.
        gone = _count(db, partition("runs", month)), _count(db, partition("logs", month))
        db.execute(f"LOCK TABLE {', '.join(PARTITIONED)} IN ACCESS EXCLUSIVE MODE".encode())
        if _some_stay(db, month, _DOOMED, before):  # a late event has revived one
            return 0, 0
        db.execute(f"DROP TABLE {names}".encode())
        return gone
    line = f"SELECT EXISTS (SELECT FROM {partition('logs', month)} WHERE at >= %s)"
    quiet = f"{_ENDED} AND created_at < %s"
    if not _is_past(db, month, retention.logs_before):
        return 0, 0
    db.execute(f"LOCK TABLE {partition('logs', month)} IN SHARE ROW EXCLUSIVE MODE".encode())
    lines = _count(db, partition("logs", month))
    late = db.execute(line.encode(), (retention.logs_before,)).fetchone()
    if not lines or late is None or late[0] or _some_stay(db, month, quiet, (retention.logs_before,)):
        return 0, 0
    db.execute(f"TRUNCATE {partition('logs', month)}".encode())
    return 0, lines


def _is_past(db: Connection, month: str, before: float) -> bool:
    sql = "SELECT extract(epoch FROM %s::timestamp AT TIME ZONE 'UTC') <= %s"
    row = db.execute(sql, (f"{month_after(month)}-01", before)).fetchone()
    return bool(row and row[0])


def _some_stay(db: Connection, month: str, doomed: str, values: tuple[float, ...]) -> bool:
    """Whether the month has a run that readers see, and whose root is not among the doomed."""
    name = partition("runs", month)
    sql = (
        f"SELECT EXISTS (SELECT root_id FROM {name} WHERE kind IS NOT NULL"
        f" EXCEPT SELECT id FROM {name} AS runs WHERE {doomed})"
    )
    row = db.execute(sql.encode(), values).fetchone()
    return bool(row and row[0])


def _count(db: Connection, table: str) -> int:
    row = db.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    return int(row[0]) if row else 0


# --- row by row ----------------------------------------------------------------------------------------------


def _prune_runs(store: PostgresBackend, retention: Retention) -> tuple[int, int]:
    before = (retention.failures_before, retention.runs_before)
    doomed: dict[str, list[str]] = {}
    for project, root in store._rows(f"SELECT project, id FROM runs WHERE {_DOOMED}", *before):
        doomed.setdefault(project, []).append(root)
    runs = lines = 0
    for project, roots in doomed.items():
        for part in _parts(roots):
            gone = store._tried(partial(_forget_roots, project=project, roots=part, before=before))
            runs, lines = runs + gone[0], lines + gone[1]
    return runs, lines


def _forget_roots(
    db: Connection, project: str, roots: list[str], before: tuple[float, float]
) -> tuple[int, int]:
    """The roots are locked, so that an event that revives one is either seen here or comes after."""
    days = sorted({born_of(root) for root in roots})
    lock = "SELECT FROM runs WHERE project = %s AND id = ANY(%s) AND born = ANY(%s::date[]) ORDER BY id FOR UPDATE"
    db.execute(lock.encode(), (project, roots, days))
    sql = f"SELECT id FROM runs WHERE id = ANY(%s) AND born = ANY(%s::date[]) AND {_DOOMED}"
    doomed = [row[0] for row in db.execute(sql.encode(), (roots, days, *before)).fetchall()]
    family = "root_id = ANY(%s) AND born = ANY(%s::date[])"
    lines = db.execute(f"DELETE FROM logs WHERE {family}".encode(), (doomed, days)).rowcount
    gone = (  # by their key: ids of descendants are the root's, a dot and more, and a slash follows the dot
        "DELETE FROM runs USING unnest(%s::text[]) AS root WHERE runs.id >= root AND runs.id < root || '/'"
        " AND runs.root_id = root AND runs.born = ANY(%s::date[]) RETURNING runs.id"
    )
    ids = [row[0] for row in db.execute(gone, (doomed, days)).fetchall()]
    for table in ("events", "transitions"):
        sql = f"DELETE FROM {table} WHERE run_id = ANY(%s) AND born = ANY(%s::date[])"
        db.execute(sql.encode(), (ids, days))
    return len(ids), lines


def _prune_lines(store: PostgresBackend, before: float) -> int:
    old = "EXISTS (SELECT FROM logs WHERE logs.root_id = runs.id AND logs.born = runs.born AND logs.at < %s)"
    found = store._rows(f"SELECT id FROM runs WHERE {_ENDED} AND created_at < %s AND {old}", before, before)
    lines = 0
    for part in _parts([row[0] for row in found]):
        days = sorted({born_of(root) for root in part})
        gone = _LINES
        while gone == _LINES:
            gone = store._do(
                "DELETE FROM logs WHERE born = ANY(%s::date[]) AND (root_id, seq) IN (SELECT root_id, seq FROM logs"
                " WHERE root_id = ANY(%s) AND born = ANY(%s::date[]) AND at < %s LIMIT %s)",
                days,
                part,
                days,
                before,
                _LINES,
            )
            lines += gone
    return lines


def _prune_journals(store: PostgresBackend, before: float) -> None:
    store._do(
        "DELETE FROM journals WHERE closed AND (record::jsonb->>'received_at')::float8 < %s"
        " AND NOT EXISTS (SELECT FROM runs WHERE runs.journal = journals.journal)",
        before,
    )


def _parts(names: list[Any]) -> Iterator[list[Any]]:
    return (names[start : start + _ROOTS] for start in range(0, len(names), _ROOTS))


def size(store: PostgresBackend) -> int:
    """Bytes of the rows that live, with their share of the indexes, about: from a sample of each table's pages. What
    was deleted does not count, although its room is only used again, not given back."""
    total = 0.0
    with store._link.transaction(read=True) as db:
        leaves = db.execute(_LEAVES, ([*PARTITIONED],)).fetchall()
        for name, pages, indexes in leaves:
            share = min(100.0, 100.0 * _SAMPLED_PAGES / max(1, pages))
            sql = f"SELECT coalesce(sum(pg_column_size(row.*)), 0) FROM {name} AS row TABLESAMPLE SYSTEM ({share})"
            (found,) = db.execute(sql.encode()).fetchone() or (0,)
            total += float(found) * 100.0 / share * (1.0 + indexes)
    return int(total)
