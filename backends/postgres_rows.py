"""The writing half of the PostgreSQL store: what a batch means into rows, inside a transaction of the caller."""

from __future__ import annotations

from json import dumps, loads
from typing import TYPE_CHECKING, Any

from .postgres_schema import born_of
from .rows import RUN_COLUMNS, body, log_row, project_of, run_row, transition_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .digest import Digest
    from .postgres_link import Connection
    from .records import Json

_COLUMNS = ", ".join(RUN_COLUMNS)
_CHANGING = [name for name in RUN_COLUMNS if name not in ("id", "root_id", "project")]
_TYPES = dict.fromkeys(("created_at", "ended_at", "duration_seconds"), "float8") | {"tags": "jsonb"}
_UPDATE = (
    f"UPDATE runs SET {', '.join(f'{name} = new.{name}' for name in _CHANGING)} FROM unnest("
    + ", ".join(f"%s::{_TYPES.get(name, 'text')}[]" for name in RUN_COLUMNS)
    + f") AS new({_COLUMNS}) WHERE runs.project = %s AND runs.id = ANY(%s) AND runs.born = ANY(%s::date[])"
    " AND runs.id = new.id"
)


class Moved(Exception):
    """A run would be made whose project is not known yet, or change its project. Another sender may be about to do
    likewise, and the key, which the project is a part of, would not stop both."""


class Held:
    """What a transaction has read and locked: journals with their offsets and records, and documents of runs."""

    def __init__(self, db: Connection, mending: bool) -> None:
        self._db = db
        self._mending = mending  # PostgreSQL has refused this once, as being there already
        self.journals: dict[str, tuple[int, Json]] = {}
        self.docs: dict[str, Json] = {}
        self._unknown: set[str] = set()
        self._stored: dict[str, str] = {}  # the project under which a run is stored

    def lock_journals(self, names: set[str]) -> None:
        rows = self._db.execute(
            'SELECT journal, "offset", record FROM journals WHERE journal = ANY(%s) ORDER BY journal FOR UPDATE',
            (sorted(names),),
        ).fetchall()
        self.journals = {name: (0, {}) for name in names}
        self.journals |= {journal: (offset, loads(record)) for journal, offset, record in rows}
        self._unknown = set(names) - {row[0] for row in rows}

    def lock_docs(self, ids: Sequence[str]) -> None:
        """Project by project, as a cluster that is sharded by it wants to be asked, and in the order of ids, so that
        two transactions wait for each other in one direction only. A run keeps its project meanwhile: see `Moved`."""
        if not ids:
            return
        some = "id = ANY(%s) AND born = ANY(%s::date[])"
        where = (ids, sorted({born_of(run_id) for run_id in ids}))
        found = self._db.execute(f"SELECT id, project FROM runs WHERE {some}".encode(), where).fetchall()
        self._stored = dict(found)
        for project in sorted(set(self._stored.values())):
            sql = f"SELECT id, doc FROM runs WHERE project = %s AND {some} ORDER BY id FOR UPDATE"
            for run_id, doc in self._db.execute(sql.encode(), (project, *where)):
                self.docs[run_id] = loads(doc)

    def load(self, ids: Sequence[str]) -> dict[str, Json]:
        return {run_id: self.docs[run_id] for run_id in ids if run_id in self.docs}

    # --- writing ---

    def put(self, applied: dict[str, int], digests: Sequence[tuple[str, Digest]], alone: bool) -> None:
        """Store what the digests (by journal) mean; `applied` is how far each journal is now. Raises `Moved` where this
        has to be done `alone`."""
        docs = {run_id: doc for _, out in digests for run_id, doc in out.docs.items()}
        headers = self._headers({doc.get("journal") for doc in docs.values()})
        projects = {
            run_id: project_of(doc, headers.get(doc.get("journal"), {})) for run_id, doc in docs.items()
        }
        self._check(docs, projects, alone)
        self._put_journals(applied)
        self._put_runs(docs, projects, headers)
        self._put_events(digests, projects)
        self._put_numbered(digests, projects)

    def _check(self, docs: dict[str, Json], projects: dict[str, str], alone: bool) -> None:
        for run_id, doc in docs.items():
            stored = self._stored.get(run_id)
            if not alone and (stored != projects[run_id] if stored is not None else "kind" not in doc):
                raise Moved

    def _headers(self, journals: set[str | None]) -> dict[str | None, Json]:
        """The headers of these journals; those of this batch as they are now."""
        others = [name for name in journals if name is not None and name not in self.journals]
        headers: dict[str | None, Json] = {
            name: record.get("header", {}) for name, (_, record) in self.journals.items()
        }
        if others:
            sql = "SELECT journal, record FROM journals WHERE journal = ANY(%s)"
            for name, record in self._db.execute(sql, (others,)):
                headers[name] = loads(record).get("header", {})
        return headers

    def _put_journals(self, applied: dict[str, int]) -> None:
        made: list[tuple[Any, ...]] = []
        changed: list[tuple[Any, ...]] = []
        for journal, offset in applied.items():
            record = self.journals[journal][1]
            row = (offset, "closed_at" in record, dumps(record), journal)
            (made if journal in self._unknown else changed).append(row)
        with self._db.cursor() as cursor:
            if made:
                sql = 'INSERT INTO journals ("offset", closed, record, journal) VALUES (%s, %s, %s, %s)'
                cursor.executemany(sql, made)
            if changed:
                sql = 'UPDATE journals SET "offset" = %s, closed = %s, record = %s WHERE journal = %s'
                cursor.executemany(sql, changed)

    def _put_runs(
        self, docs: dict[str, Json], projects: dict[str, str], headers: dict[str | None, Json]
    ) -> None:
        made: list[tuple[Any, ...]] = []
        changed: dict[str, list[tuple[Any, ...]]] = {}
        moved: list[str] = []
        for run_id in sorted(docs):
            row = run_row(docs[run_id], headers.get(docs[run_id].get("journal"), {}))
            stored = self._stored.get(run_id)
            if stored == projects[run_id]:
                changed.setdefault(stored, []).append(row)
            else:
                made.append((*row, born_of(run_id)))
                if stored is not None:
                    moved.append(run_id)
        if moved:
            days = sorted({born_of(run_id) for run_id in moved})
            self._db.execute("DELETE FROM runs WHERE id = ANY(%s) AND born = ANY(%s::date[])", (moved, days))
        for project in sorted(changed):
            ids = [row[0] for row in changed[project]]
            columns = [_array(name, column) for name, column in zip(RUN_COLUMNS, zip(*changed[project]))]
            days = sorted({born_of(run_id) for run_id in ids})
            self._db.execute(_UPDATE.encode(), (*columns, project, ids, days))
        self._copy(f"runs ({_COLUMNS}, born)", made)

    def _put_events(self, digests: Sequence[tuple[str, Digest]], projects: dict[str, str]) -> None:
        rows = [
            (run, event["at"], journal, position, body(event), projects[run], born_of(run))
            for journal, out in digests
            for run, position, event in out.events
        ]
        if self._mending:  # a journal that was forgotten is sent again, and some of its events are still here
            sql = "DELETE FROM events WHERE run_id = %s AND at = %s AND journal = %s AND position = %s AND born = %s"
            with self._db.cursor() as cursor:
                cursor.executemany(sql, [(*row[:4], row[6]) for row in rows])
        self._copy("events (run_id, at, journal, position, body, project, born)", rows)

    def _put_numbered(self, digests: Sequence[tuple[str, Digest]], projects: dict[str, str]) -> None:
        """Log lines and transitions, and word of them. The counters stay ours until the commit: see the schema."""
        logs = [line for _, out in digests for line in out.logs]
        moved = [row for _, out in digests for row in out.transitions]
        if not logs and not moved:
            return
        drawn = self._db.execute(
            "UPDATE seqs SET logs = logs + %s, transitions = transitions + %s RETURNING logs, transitions,"
            " pg_notify('holter_' || current_schema(), '')",
            (len(logs), len(moved)),
        ).fetchone()
        assert drawn is not None
        line, step = drawn[0] - len(logs), drawn[1] - len(moved)
        self._copy(
            "logs (seq, root_id, run_id, at, level, stream, text, project, born)",
            [
                (*log_row(line + number, run, event), projects[run], born_of(run))
                for number, (run, event) in enumerate(logs, 1)
            ],
        )
        self._copy(
            "transitions (seq, run_id, at, from_state, to_state, condition, reason, project, born)",
            [
                (
                    *transition_row({**row, "seq": step + number}),
                    projects[row["run_id"]],
                    born_of(row["run_id"]),
                )
                for number, row in enumerate(moved, 1)
            ],
        )

    def _copy(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if not rows:
            return
        with self._db.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)


def _array(name: str, column: tuple[Any, ...]) -> list[Any]:
    """As a parameter: a list of one type, where JSON may have both 1 and 1.5."""
    if _TYPES.get(name) == "float8":
        return [None if value is None else float(value) for value in column]
    return list(column)
