"""The reading half of the SQLite store: questions in, records out."""

from __future__ import annotations

from json import loads
from typing import TYPE_CHECKING, Any

from .memory import FAILURES, process_of
from .records import JobSummary, Log, LogQuery, Process, Pruned, Retention, Run, RunQuery

if TYPE_CHECKING:
    from .sqlite import SqliteBackend

_PRUNE_CHUNK = 200  # roots per transaction: other writers wait at the gate meanwhile
_NOT_LIVE = "state NOT IN ('PENDING', 'RUNNING', 'RETRYING')"


def runs(store: SqliteBackend, query: RunQuery) -> list[Run]:
    where, values = _where(query)
    rows = store._rows(
        "SELECT runs.doc, journals.record FROM runs LEFT JOIN journals USING (journal) "
        f"WHERE {where} ORDER BY runs.created_at DESC, runs.id DESC LIMIT ? OFFSET ?",
        *values,
        -1 if query.limit is None else query.limit,
        query.offset,
    )
    headers: dict[str, Any] = {}  # most runs of a page share few journals
    return [_run(doc, record, headers) for doc, record in rows]


def run(store: SqliteBackend, run_id: str) -> Run | None:
    rows = store._rows(
        "SELECT doc, record FROM runs LEFT JOIN journals USING (journal) WHERE id=? AND kind IS NOT NULL", run_id
    )
    return _run(rows[0][0], rows[0][1], {}) if rows else None


def _run(doc: str, record: str | None, headers: dict[str, Any]) -> Run:
    key = record or "{}"
    if key not in headers:
        headers[key] = loads(key).get("header", {})
    return Run.from_doc(loads(doc), headers[key])


def logs(store: SqliteBackend, query: LogQuery) -> list[Log]:
    root = query.run_id.partition(".")[0]
    where, values = ["logs.root_id=?", "logs.seq > ?"], [root, query.after]
    if not query.tree:
        where.append("logs.run_id=?")
        values.append(query.run_id)
    elif root != query.run_id:
        where.append(
            "logs.run_id IN (WITH RECURSIVE tree(id) AS (VALUES(?) UNION"
            " SELECT runs.id FROM runs JOIN tree ON runs.parent_id = tree.id) SELECT id FROM tree)"
        )
        values.append(query.run_id)
    words = (query.text or "").split()
    if words:
        where.append("logs.seq IN (SELECT rowid FROM logs_fts WHERE logs_fts MATCH ?)")
        values.append(" ".join('"' + word.replace('"', '""') + '"' for word in words))
    rows = store._rows(
        "SELECT seq, run_id, at, level, stream, text FROM logs "
        f"WHERE {' AND '.join(where)} ORDER BY seq {'DESC' if query.last else 'ASC'} LIMIT ?",
        *values,
        -1 if query.limit is None else query.limit,
    )
    found = [Log(*row) for row in rows]
    return found[::-1] if query.last else found


def summarize(store: SqliteBackend, query: RunQuery) -> list[JobSummary]:
    where, values = _where(query)
    picked = f"SELECT * FROM runs WHERE {where}"
    counts = store._rows(
        f"SELECT project, name, kind, state, count(*) FROM ({picked}) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4", *values
    )
    durations = store._rows(
        "SELECT project, name, kind, rank, of_all, duration_seconds FROM (SELECT project, name, kind, duration_seconds,"
        " row_number() OVER job AS rank, count(*) OVER (PARTITION BY project, name, kind) AS of_all"
        f" FROM ({picked}) WHERE state='COMPLETED' AND duration_seconds IS NOT NULL"
        " WINDOW job AS (PARTITION BY project, name, kind ORDER BY duration_seconds))"
        " WHERE rank IN ((of_all * 50 + 99) / 100, (of_all * 95 + 99) / 100)",  # nearest rank
        *values,
    )
    newest = store._rows(
        "SELECT project, name, kind, id, state, conditions, created_at, duration_seconds FROM (SELECT *, row_number()"
        f" OVER (PARTITION BY project, name, kind ORDER BY created_at DESC, id DESC) AS age FROM ({picked}))"
        " WHERE age = 1",
        *values,
    )
    by_state: dict[tuple[str, str, str], dict[str, int]] = {}
    for project, name, kind, state, count in counts:
        by_state.setdefault((project, name, kind), {})[state] = count
    percentiles = {
        (*row[:3], percent): row[5]
        for row in durations
        for percent in (50, 95)
        if row[3] == (row[4] * percent + 99) // 100
    }
    last = {row[:3]: row[3:] for row in newest}
    return [
        JobSummary(
            project=key[0],
            name=key[1],
            kind=key[2],
            runs=sum(states.values()),
            by_state=states,
            duration_p50_seconds=percentiles.get((*key, 50)),
            duration_p95_seconds=percentiles.get((*key, 95)),
            last={
                "id": last[key][0],
                "state": last[key][1],
                "conditions": last[key][2].split(),
                "created_at": last[key][3],
                "duration_seconds": last[key][4],
            },
        )
        for key, states in by_state.items()
    ]


def processes(store: SqliteBackend, *, open_only: bool) -> list[Process]:
    where = "closed=0" if open_only else "1"
    rows = store._rows(f"SELECT journal, offset, record FROM journals WHERE {where} ORDER BY journal DESC")
    return [process_of(journal, offset, loads(record)) for journal, offset, record in rows]


def prune(store: SqliteBackend, retention: Retention) -> Pruned:
    """In transactions of a few hundred root runs, so that writers are never kept waiting for long."""
    failed = ",".join(f"'{state}'" for state in FAILURES)
    live = "SELECT root_id FROM runs WHERE state IN ('PENDING', 'RUNNING', 'RETRYING')"
    last_failed = (
        "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY project, name ORDER BY created_at DESC, id DESC)"
        f" AS age FROM runs WHERE parent_id IS NULL AND state IN ({failed})) WHERE age = 1"
    )
    doomed = [
        row[0]
        for row in store._rows(
            f"SELECT id FROM runs WHERE parent_id IS NULL AND kind IS NOT NULL AND {_NOT_LIVE}"
            f" AND created_at < CASE WHEN state IN ({failed}) THEN ? ELSE ? END"
            f" AND id NOT IN ({live}) AND id NOT IN ({last_failed})",
            retention.failures_before,
            retention.runs_before,
        )
    ]
    gone = lines = 0
    for start in range(0, len(doomed), _PRUNE_CHUNK):
        part = doomed[start : start + _PRUNE_CHUNK]
        marks = ",".join("?" * len(part))
        with store._write() as db:
            lines += db.execute(f"DELETE FROM logs WHERE root_id IN ({marks})", part).rowcount
            db.execute(f"DELETE FROM events WHERE run_id IN (SELECT id FROM runs WHERE root_id IN ({marks}))", part)
            gone += db.execute(f"DELETE FROM runs WHERE root_id IN ({marks})", part).rowcount
    ended = f"SELECT id FROM runs WHERE parent_id IS NULL AND kind IS NOT NULL AND {_NOT_LIVE} AND id NOT IN ({live})"
    while True:
        with store._write() as db:
            removed = db.execute(
                f"DELETE FROM logs WHERE seq IN (SELECT seq FROM logs WHERE at < ? AND root_id IN ({ended}) LIMIT 10000)",
                (retention.logs_before,),
            ).rowcount
        lines += removed
        if removed < 10000:
            return Pruned(runs=gone, logs=lines)


def _where(query: RunQuery) -> tuple[str, list[Any]]:
    """The WHERE of a run query. A run is seen once its start has arrived, which brings its kind."""
    clauses: list[str] = ["runs.kind IS NOT NULL"]
    values: list[Any] = []

    def add(clause: str, *given: Any) -> None:
        clauses.append(clause)
        values.extend(given)

    for column in ("project", "root_id", "parent_id", "journal"):
        if (wanted := getattr(query, column)) is not None:
            add(f"runs.{column}=?", wanted)
    for column, pattern in (("name", query.job), ("host", query.host)):
        if pattern is not None:
            add(f"runs.{column} GLOB ?", pattern.replace("[!", "[^"))
    if query.prefix is not None:
        add("runs.id GLOB ?", f"{query.prefix}*" if query.prefix.replace(".", "").replace("-", "").isalnum() else "")
    if query.kinds:
        add(f"runs.kind IN ({','.join('?' * len(query.kinds))})", *query.kinds)
    if query.states:
        plain = query.plain_states()
        either = [f"runs.state IN ({','.join('?' * len(plain))})"]
        either += ["runs.conditions LIKE ?"] * len(query.plain_conditions())
        add(f"({' OR '.join(either)})", *plain, *(f"% {name} %" for name in query.plain_conditions()))
    for tag in query.tags:
        add("EXISTS (SELECT 1 FROM json_each(runs.tags) WHERE value=?)", tag)
    if query.since is not None:
        add("runs.created_at >= ?", query.since)
    if query.until is not None:
        add("runs.created_at < ?", query.until)
    if query.roots:
        add("runs.parent_id IS NULL")
    return " AND ".join(clauses), values
