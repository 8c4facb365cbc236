"""The SQLite schema and its migrations, forward only. Loaded when a database has to be made or upgraded.

`PRAGMA user_version` repeats how many migrations were applied, so that opening an up-to-date database costs one
number instead of sqlite-utils (83 ms).
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

from .sqlite_link import SCHEMA_VERSION

MIGRATIONS = Migrations("holter")


@MIGRATIONS()
def m001_initial(db: Database) -> None:
    db.table("journals").create({"journal": str, "offset": int, "closed": int, "record": str}, pk="journal")
    db.table("runs").create(
        {
            "id": str,
            "root_id": str,
            "parent_id": str,
            "kind": str,
            "name": str,
            "project": str,
            "state": str,
            "conditions": str,  # names with a space round each, so that one is found by its name
            "tags": str,
            "host": str,
            "journal": str,
            "created_at": float,
            "ended_at": float,
            "duration_seconds": float,
            "doc": str,
        },
        pk="id",
    )
    for statement in (
        "CREATE INDEX runs_newest ON runs(created_at, id)",
        "CREATE INDEX runs_roots ON runs(created_at, id) WHERE parent_id IS NULL",
        "CREATE INDEX runs_job ON runs(name, state, created_at)",
        "CREATE INDEX runs_root ON runs(root_id)",
        "CREATE INDEX runs_parent ON runs(parent_id) WHERE parent_id IS NOT NULL",
        "CREATE INDEX runs_open ON runs(state, journal) WHERE state IN ('PENDING', 'RUNNING', 'RETRYING')",
        (
            "CREATE TABLE events (run_id TEXT, at FLOAT, journal TEXT, position INTEGER, body TEXT,"
            " PRIMARY KEY (run_id, at, journal, position)) WITHOUT ROWID"
        ),
        (
            "CREATE TABLE logs (seq INTEGER PRIMARY KEY AUTOINCREMENT, root_id TEXT, run_id TEXT, at FLOAT,"
            " level TEXT, stream TEXT, text TEXT)"
        ),
        "CREATE INDEX logs_root ON logs(root_id, seq)",
        (
            "CREATE TABLE transitions (seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT, at FLOAT,"
            " from_state TEXT, to_state TEXT, condition TEXT, reason TEXT)"
        ),
        "CREATE INDEX transitions_run ON transitions(run_id)",
        (
            "CREATE TABLE registry (kind TEXT, key TEXT, version INTEGER, value TEXT, PRIMARY KEY (kind, key))"
            " WITHOUT ROWID"
        ),
    ):
        db.execute(statement)
    db.table("logs").enable_fts(["text"], tokenize="unicode61 remove_diacritics 0", create_triggers=True)


@MIGRATIONS()
def m002_lines_are_indexed_by_the_batch(db: Database) -> None:
    db.execute("DROP TRIGGER logs_ai")


@MIGRATIONS()
def m003_indexes_for_a_million_runs(db: Database) -> None:
    for statement in (
        "DROP INDEX runs_job",
        "DROP INDEX runs_open",
        "CREATE INDEX runs_job ON runs(name, created_at, id, state)",
        "CREATE INDEX runs_state ON runs(state, created_at, id)",
        (
            "CREATE INDEX runs_figures ON runs(project, name, kind, created_at, id, state, duration_seconds,"
            " conditions, parent_id) WHERE kind IS NOT NULL"
        ),
    ):
        db.execute(statement)


@MIGRATIONS()
def m004_lines_are_searched_within_their_run(db: Database) -> None:
    """Nobody asks for the lines of all runs, and the index for that was an eighth of what storing a line cost."""
    db.table("logs").disable_fts()


@MIGRATIONS()
def m005_indexes_for_looking(db: Database) -> None:
    """A page of a run's 100,000 tasks, the root runs of every job, and the open ones of 200,000 journals."""
    for statement in (
        "DROP INDEX runs_root",
        "DROP INDEX runs_parent",
        "CREATE INDEX runs_root ON runs(root_id, created_at, id, kind)",
        "CREATE INDEX runs_parent ON runs(parent_id, created_at, id, kind) WHERE parent_id IS NOT NULL",
        (
            "CREATE INDEX runs_root_jobs ON runs(project, name, kind, created_at, id, state, duration_seconds,"
            " conditions) WHERE parent_id IS NULL AND kind IS NOT NULL"
        ),
        "CREATE INDEX journals_open ON journals(journal) WHERE closed=0",
    ):
        db.execute(statement)


def upgrade(connection: sqlite3.Connection) -> None:
    """Apply what is missing. The caller holds the write gate: `Migrations.apply` races by itself."""
    connection.execute("PRAGMA journal_mode=WAL")
    MIGRATIONS.apply(Database(connection))
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
