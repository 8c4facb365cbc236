"""The PostgreSQL schema, its migrations (forward only) and the months that its tables are cut into.

Runs, events, log lines and transitions are partitioned by `born`: the day that the id of the root run was made, which
every id tells by itself. So a run and all that belongs to it are in partitions of one month, a look-up by id touches
one partition, and a month that may be forgotten is dropped whole. Ids of another make, and days out of reason, are in
the default partitions.

`project` is in the primary key of each of the four, so that they can be distributed by it; journals, documents and the
counters are small and stay together. Ids compare byte by byte (COLLATE "C"), as Python compares them.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .clock import root_of, time_of
from .errors import StorageError, StoreTooNew

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .postgres_link import Connection, Link

SCHEMA_VERSION = 1
PARTITIONED = ("runs", "events", "logs", "transitions")
FIRST_MONTH = "2020-01"
NO_DAY = "1970-01-01"
_MIGRATING = 0x686F6C746572  # "holter", as the number of an advisory lock

_V1 = """
CREATE TABLE journals (
    journal text COLLATE "C" PRIMARY KEY, "offset" bigint NOT NULL, closed boolean NOT NULL, record text NOT NULL
) WITH (fillfactor=70);
CREATE INDEX journals_open ON journals (journal) WHERE NOT closed;

CREATE TABLE registry (
    kind text COLLATE "C", key text COLLATE "C", version bigint NOT NULL, value text NOT NULL, PRIMARY KEY (kind, key)
) WITH (fillfactor=70);

-- One row. Who draws numbers holds it until its transaction ends, so numbers become visible in their order: with a
-- sequence, a reader that has seen 7 would miss the 6 of a transaction that commits later.
CREATE TABLE seqs (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one), logs bigint NOT NULL, transitions bigint NOT NULL
) WITH (fillfactor=10);
INSERT INTO seqs VALUES (true, 0, 0);

CREATE TABLE runs (
    id text COLLATE "C", root_id text COLLATE "C" NOT NULL, parent_id text COLLATE "C", kind text,
    name text COLLATE "C", project text COLLATE "C", state text NOT NULL, conditions text NOT NULL, tags jsonb NOT NULL,
    host text COLLATE "C", journal text COLLATE "C", created_at float8, ended_at float8, duration_seconds float8,
    doc text NOT NULL, born date, PRIMARY KEY (id, born, project)
) PARTITION BY RANGE (born);
CREATE INDEX runs_newest ON runs (created_at, id);
CREATE INDEX runs_roots ON runs (created_at, id, state) INCLUDE (project, name, kind, duration_seconds)
    WHERE parent_id IS NULL;  -- whole: figures of jobs are made from it alone
CREATE INDEX runs_job ON runs (name, created_at, id, state);
CREATE INDEX runs_parent ON runs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX runs_open ON runs (journal, state) WHERE state IN ('PENDING', 'RUNNING', 'RETRYING');

CREATE TABLE events (
    run_id text COLLATE "C", at float8, journal text COLLATE "C", position bigint, body text NOT NULL,
    project text COLLATE "C", born date, PRIMARY KEY (run_id, at, journal, position, born, project)
) PARTITION BY RANGE (born);

CREATE TABLE logs (
    seq bigint, root_id text COLLATE "C", run_id text COLLATE "C" NOT NULL, at float8 NOT NULL, level text NOT NULL,
    stream text NOT NULL, text text NOT NULL, project text COLLATE "C", born date,
    PRIMARY KEY (root_id, seq, born, project)
) PARTITION BY RANGE (born);

CREATE TABLE transitions (
    seq bigint, run_id text COLLATE "C" NOT NULL, at float8 NOT NULL, from_state text, to_state text NOT NULL,
    condition text, reason text, project text COLLATE "C", born date, PRIMARY KEY (seq, born, project)
) PARTITION BY RANGE (born);
CREATE INDEX transitions_run ON transitions (run_id);

CREATE TABLE runs_else PARTITION OF runs DEFAULT;
CREATE TABLE events_else PARTITION OF events DEFAULT;
CREATE TABLE logs_else PARTITION OF logs DEFAULT;
CREATE TABLE transitions_else PARTITION OF transitions DEFAULT;
"""
MIGRATIONS = (_V1,)  # version n is made by the first n; one that was released is never changed


def born_of(run_id: str) -> str:
    """The partition key of a run and of all that belongs to it: a day as text, the same for ever for the same id."""
    return _born(root_of(run_id))


@lru_cache(4096)
def _born(root: str) -> str:
    at = time_of(root)
    return NO_DAY if at is None else _day(at)


def _day(at: float) -> str:
    if at >= 253_402_300_800:  # the year 10000
        return NO_DAY
    day = time.gmtime(at)
    return f"{day.tm_year:04}-{day.tm_mon:02}-{day.tm_mday:02}"


def month_of(born: str) -> str:
    return born[:7]


def month_after(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    return f"{year + number // 12:04}-{number % 12 + 1:02}"


def months_of(db: Connection) -> set[str]:
    """The months that have partitions, as `2026-11`."""
    rows = db.execute(
        "SELECT substr(inhrelid::regclass::text, length(inhrelid::regclass::text) - 6) FROM pg_inherits"
        " WHERE inhparent = 'runs'::regclass"
    ).fetchall()
    return {str(name).replace("_", "-") for (name,) in rows if str(name)[:2].isdigit()}


def partition(table: str, month: str) -> str:
    return f"{table}_{month.replace('-', '_')}"


class Months:
    """Which partitions there are, as far as this process knows."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._known: set[str] = set()
        self._hopeless: set[str] = set()

    def make_for(self, days: Iterable[str], now: float) -> None:
        """Make the partitions that are missing for these days, from 2020 to next month; rows of other days, and of a
        month of which something is in the default partition already, go there."""
        last = month_after(month_of(_day(now)))
        missing = {month_of(day) for day in days} - self._known - self._hopeless
        missing = {month for month in missing if FIRST_MONTH <= month <= last}
        if missing:
            with self._link.transaction(read=True) as db:
                self._known = months_of(db)
        for month in sorted(missing - self._known):
            self._make(month)

    def ahead(self, now: float) -> None:
        """This month's partitions and the next one's."""
        today = _day(now)
        self.make_for([today, month_after(month_of(today)) + "-01"], now)

    def _make(self, month: str) -> None:
        from .postgres_link import CheckViolation, LockNotAvailable

        try:
            with self._link.transaction() as db:
                db.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
                self._known = months_of(db)
                if month not in self._known:
                    _create(db, month)
        except StorageError as error:
            if not isinstance(error.__cause__, CheckViolation | LockNotAvailable):
                raise
            self._hopeless.add(month)  # rows are in the default partition, which serves as well
        else:
            self._known.add(month)

    def forget(self) -> None:
        """After partitions were dropped, maybe by somebody else."""
        self._known.clear()


def _create(db: Connection, month: str) -> None:
    for table in PARTITIONED:
        name = partition(table, month)
        db.execute(
            f"CREATE TABLE {name} PARTITION OF {table}"
            f" FOR VALUES FROM ('{month}-01') TO ('{month_after(month)}-01')".encode()
        )


def version_of(db: Connection, schema: str) -> int:
    """How many migrations were applied; 0 where there is no schema yet. By the catalogue: a name may still be looked up
    as it was before the lock was waited for."""
    sql = "SELECT FROM pg_tables WHERE schemaname = %s AND tablename = 'holter_schema'"
    if db.execute(sql, (schema,)).fetchone() is None:
        return 0
    found = db.execute(f'SELECT version FROM "{schema}".holter_schema'.encode()).fetchone()
    return int(found[0]) if found else 0


def upgrade(link: Link) -> None:
    """Bring the schema to `SCHEMA_VERSION`: one at a time, by an advisory lock that ends with the transaction."""
    with link.transaction() as db:
        version = version_of(db, link.schema)
    if version < SCHEMA_VERSION:
        with link.transaction(statement_seconds=3600) as db:
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
            version = version_of(db, link.schema)
            if version == 0:
                _found(db, link)
            for migration in MIGRATIONS[version:]:
                db.execute(migration.encode())
            db.execute("UPDATE holter_schema SET version = greatest(version, %s)", (SCHEMA_VERSION,))
    if version > SCHEMA_VERSION:
        raise StoreTooNew(f"{link.name} has schema {version}, this holter knows {SCHEMA_VERSION}")


def _found(db: Connection, link: Link) -> None:
    encoding: Any = db.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StorageError(f"{link.name} is encoded in {encoding}", hint="createdb -E UTF8 -T template0 NAME")
    if db.execute("SELECT FROM pg_namespace WHERE nspname = %s", (link.schema,)).fetchone() is None:
        db.execute(f'CREATE SCHEMA "{link.schema}"'.encode())
    db.execute("CREATE TABLE holter_schema (version integer NOT NULL)")
    db.execute("INSERT INTO holter_schema VALUES (0)")
