"""The reading half of the PostgreSQL store: questions in, records out."""

from __future__ import annotations

from json import dumps, loads
from typing import TYPE_CHECKING, Any

from .answers import has_words, process_of, words_of
from .clock import root_of
from .figures import buckets, figures, job_runs
from .globs import is_pattern, regex
from .postgres_schema import SCHEMA_VERSION, born_of, months_of
from .queries import LogQuery, RunQuery
from .records import Bucket, JobRuns, JobSummary, Json, Log, Process, Run, Transition

if TYPE_CHECKING:
    from collections.abc import Collection

    from .postgres import PostgresBackend
    from .postgres_link import Connection

_PAGE = 2000  # lines at once where the text is searched


def runs(store: PostgresBackend, query: RunQuery) -> list[Run]:
    where, values = where_of(query)
    sql = f"SELECT journal, doc FROM runs WHERE {where} ORDER BY created_at DESC, id DESC LIMIT %s OFFSET %s"
    with store._link.transaction(read=True) as db:
        return _runs(db, db.execute(sql.encode(), (*values, query.limit, query.offset)).fetchall())


def run(store: PostgresBackend, run_id: str) -> Run | None:
    sql = "SELECT journal, doc FROM runs WHERE id = %s AND born = %s AND kind IS NOT NULL"
    with store._link.transaction(read=True) as db:
        found = _runs(db, db.execute(sql, (run_id, born_of(run_id))).fetchall())
    return found[0] if found else None


def _runs(db: Connection, rows: list[tuple[Any, ...]]) -> list[Run]:
    """Most runs share few journals, so these are fetched once each."""
    journals = sorted({journal for journal, _ in rows if journal is not None})
    sql = "SELECT journal, record FROM journals WHERE journal = ANY(%s)"
    headers = {
        name: loads(record).get("header", {}) for name, record in db.execute(sql, (journals,)).fetchall()
    }
    return [Run.from_doc(loads(doc), headers.get(journal, {})) for journal, doc in rows]


def events(store: PostgresBackend, run_id: str) -> list[Json]:
    sql = "SELECT body FROM events WHERE run_id = %s AND born = %s ORDER BY at, journal, position"
    return [loads(text) for (text,) in store._rows(sql, run_id, born_of(run_id))]


def logs(store: PostgresBackend, query: LogQuery) -> list[Log]:
    root = root_of(query.run_id)
    where = "root_id = %s AND born = %s"
    values: list[Any] = [root, born_of(root)]
    if not query.tree:
        where += " AND run_id = %s"
        values.append(query.run_id)
    elif root != query.run_id:
        where += (
            ' AND run_id IN (WITH RECURSIVE tree(id) AS (SELECT %s::text COLLATE "C" UNION SELECT runs.id FROM runs'
            " JOIN tree ON runs.parent_id = tree.id WHERE runs.born = %s) SELECT id FROM tree)"
        )
        values += [query.run_id, born_of(root)]
    if query.levels:
        where += " AND level = ANY(%s)"
        values.append(list(query.levels))
    if query.before is not None:
        where += " AND seq < %s"
        values.append(query.before)
    words = words_of(query.text or "")
    order = "DESC" if query.last else "ASC"
    sql = (
        f"SELECT seq, run_id, at, level, stream, text FROM logs WHERE {where} AND seq > %s AND"
        f" (%s::bigint IS NULL OR seq {'<' if query.last else '>'} %s) ORDER BY seq {order} LIMIT %s"
    )
    found: list[Log] = []
    with store._link.transaction(read=True) as db:
        edge = None
        while query.limit is None or len(found) < query.limit:
            page = _PAGE if words else query.limit
            rows = db.execute(sql.encode(), (*values, query.after, edge, edge, page)).fetchall()
            found += (
                [Log(*row) for row in rows if has_words(words, row[5])]
                if words
                else [Log(*row) for row in rows]
            )
            if page is None or len(rows) < page or not words:
                break
            edge = rows[-1][0]
    found = found[: query.limit]
    return found[::-1] if query.last else found


def summarize(store: PostgresBackend, query: RunQuery) -> list[JobSummary]:
    """One scan for counts and percentiles; the newest run of each job is then found by its time."""
    where, values = where_of(query)
    sql = (
        "SELECT project, name, kind, state, count(*) AS runs, max(created_at) AS latest, array_agg(duration_seconds)"
        " FILTER (WHERE state = 'COMPLETED' AND duration_seconds IS NOT NULL) AS taken"
        f" FROM runs WHERE {where} GROUP BY 1, 2, 3, 4"
    )
    rank = "ranked[(cardinality(ranked) * {} + 99) / 100]"  # nearest rank
    with store._link.transaction(read=True) as db:
        rows = db.execute(
            f"SELECT project, name, kind, state, runs, latest, {rank.format(50)}, {rank.format(95)} FROM ({sql}) AS job"
            ", LATERAL (SELECT array_agg(each ORDER BY each) AS ranked FROM unnest(taken) AS each) AS sorted"
            " ORDER BY 1, 2, 3, 4".encode(),
            values,
        ).fetchall()
        newest = _newest(db, rows, where, values)
    percentiles = {
        (*row[:3], percent): row[place]
        for row in rows
        for percent, place in ((50, 6), (95, 7))
        if row[place] is not None
    }
    return figures([row[:5] for row in rows], percentiles, newest)


def newest(store: PostgresBackend, query: RunQuery, each: int) -> list[JobRuns]:
    where, values = where_of(query)
    sql = (
        "SELECT job.project, job.name, job.kind, found.* FROM"
        f" (SELECT DISTINCT project, name, kind FROM runs WHERE {where}) AS job, LATERAL"
        " (SELECT id, state, conditions, created_at, duration_seconds FROM runs WHERE project = job.project"
        f" AND name = job.name AND kind = job.kind AND {where} ORDER BY created_at DESC, id DESC LIMIT %s) AS found"
        " ORDER BY job.project, job.name, job.kind, found.created_at DESC, found.id DESC"
    )
    return job_runs(store._rows(sql, *values, *values, each))


def timeline(store: PostgresBackend, query: RunQuery, every: float) -> list[Bucket]:
    where, values = where_of(query)
    sql = (
        f"SELECT trunc(created_at / %s)::bigint AS span, state, count(*) FROM runs WHERE {where}"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return buckets(store._rows(sql, float(every), *values), every)


def _newest(
    db: Connection, rows: list[tuple[Any, ...]], where: str, values: list[Any]
) -> list[tuple[Any, ...]]:
    newest: dict[tuple[Any, ...], float] = {}
    for row in rows:
        newest[row[:3]] = max(row[5], newest.get(row[:3], row[5]))
    if not newest:
        return []
    sql = (
        "SELECT DISTINCT ON (project, name, kind) project, name, kind, id, state, conditions, created_at,"
        f" duration_seconds FROM runs WHERE created_at = ANY(%s) AND (project, name, kind, created_at) IN (SELECT *"
        " FROM unnest(%s::text[], %s::text[], %s::text[], %s::float8[]))"
        f" AND {where} ORDER BY project, name, kind, created_at DESC, id DESC"
    )
    columns = [list(column) for column in zip(*newest)]
    times = list(newest.values())
    return db.execute(sql.encode(), (times, *columns, times, *values)).fetchall()


def transitions(store: PostgresBackend, after: int, limit: int) -> list[Transition]:
    rows = store._rows(
        "SELECT seq, run_id, at, from_state, to_state, condition, reason FROM transitions WHERE seq > %s"
        " ORDER BY seq LIMIT %s",
        after,
        limit,
    )
    return [Transition(*row) for row in rows]


def processes(store: PostgresBackend, *, open_only: bool, journals: Collection[str] | None) -> list[Process]:
    where, values = ("NOT closed" if open_only else "true"), []
    if journals is not None:
        where, values = f"{where} AND journal = ANY(%s)", [list(journals)]
    sql = f'SELECT journal, "offset", record FROM journals WHERE {where} ORDER BY journal DESC'
    rows = store._rows(sql, *values)
    return [process_of(journal, offset, loads(record)) for journal, offset, record in rows]


def check(store: PostgresBackend) -> dict[str, Any]:
    with store._link.transaction(read=True) as db:
        row = db.execute(
            "SELECT current_setting('server_version'), current_database(), (SELECT coalesce(sum(pg_total_relation_size"
            "(oid)), 0)::bigint FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'),"
            " current_setting('synchronous_commit'), current_setting('fsync'), (SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'holter'), (SELECT version FROM holter_schema)"
        ).fetchone()
        assert row is not None
        months = months_of(db)
    version, database, size, synced, flushed, others, schema = row
    safe = flushed == "on" and synced != "off"
    note = (
        ""
        if safe
        else f", fsync {flushed}, synchronous_commit {synced}: a power failure loses what was acknowledged"
    )
    return {
        "ok": schema == SCHEMA_VERSION,
        "detail": f"PostgreSQL {version}, database {database}, schema {store._link.schema} version {schema}, "
        f"{size / 2**20:.1f} MiB in {len(months)} months, {others} connections of Holter{note}",
    }


def where_of(query: RunQuery) -> tuple[str, list[Any]]:
    """The WHERE of a run query. A run is seen once its start has arrived, which brings its kind."""
    clauses: list[str] = ["kind IS NOT NULL"]
    values: list[Any] = []

    def add(clause: str, *given: Any) -> None:
        clauses.append(clause)
        values.extend(given)

    for column in ("project", "parent_id", "journal"):
        if (wanted := getattr(query, column)) is not None:
            add(f"{column} = %s", wanted)
    # By the key: ids of a root's descendants begin with it, and only a dot follows.
    if query.root_id is not None:
        given = query.root_id, query.root_id, f"{query.root_id}/", born_of(query.root_id)
        add("root_id = %s AND id >= %s AND id < %s AND born = %s", *given)
    for column, pattern in (("name", query.job), ("coalesce(host, '')", query.host)):
        if pattern is not None and is_pattern(pattern):
            add(f"{column} ~ %s", regex(pattern))
        elif pattern is not None:
            add(f"{column} = %s", pattern)
    if query.prefix is not None:
        add("id >= %s AND id < %s", query.prefix, f"{query.prefix}\x7f")  # ids are ASCII
    if query.kinds:
        add("kind = ANY(%s)", list(query.kinds))
    if query.states:
        either = ["state = ANY(%s)"] + ["strpos(conditions, %s) > 0"] * len(query.plain_conditions())
        conditions = [f" {name} " for name in query.plain_conditions()]
        add(f"({' OR '.join(either)})", list(query.plain_states()), *conditions)
    if query.tags:
        add("tags @> %s::jsonb", dumps(list(query.tags)))
    if query.since is not None:
        add("created_at >= %s", query.since)
    if query.until is not None:
        add("created_at < %s", query.until)
    if query.roots:
        add("parent_id IS NULL")
    return " AND ".join(clauses), values
