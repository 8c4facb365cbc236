"""The writing half of the SQLite store: records of the fold into rows. Called inside a transaction, loaded in jobs."""

from __future__ import annotations

from itertools import chain
from json import dumps

from .rows import body, log_row, run_row, transition_row
from .sqlite_text import loaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from typing import Any

    from .digest import Digest
    from .records import Json

_TOGETHER = 16
_LINE = "INSERT OR IGNORE INTO logs(seq, root_id, run_id, at, level, stream, text) VALUES (?,?,?,?,?,?,?)"
_LINES = _LINE + ",(?,?,?,?,?,?,?)" * (_TOGETHER - 1)


def put_journal(db: sqlite3.Connection, journal: str, offset: int, record: Json) -> None:
    """A journal's record of the fold, and how far it was applied."""
    db.execute(
        "INSERT OR REPLACE INTO journals VALUES (?,?,?,?)",
        (journal, offset, "closed_at" in record, dumps(record)),
    )


def put_runs(db: sqlite3.Connection, docs: Iterable[Json]) -> None:
    """Documents of the fold; the records of their journals are there already."""
    headers: dict[str | None, Json] = {}
    rows = []
    for doc in docs:
        journal = doc.get("journal")  # its own: a verdict may have come from the journal of another host
        if journal not in headers:
            row = db.execute("SELECT record FROM journals WHERE journal=?", (journal,)).fetchone()
            headers[journal] = loaded(row[0]).get("header", {}) if row else {}
        rows.append(run_row(doc, headers[journal]))
    db.executemany(f"INSERT OR REPLACE INTO runs VALUES ({','.join('?' * 15)})", rows)


def put_rows(db: sqlite3.Connection, journal: str, out: Digest, seqs: Iterable[int]) -> None:
    """Events, log lines and transitions of one batch; rows that are there already stay as they are."""
    db.executemany(
        "INSERT OR IGNORE INTO events VALUES (?,?,?,?,?)",
        [(run, event["at"], journal, position, body(event)) for run, position, event in out.events],
    )
    _put_lines(db, [log_row(seq, run, event) for seq, (run, event) in zip(seqs, out.logs, strict=False)])
    db.executemany(
        "INSERT OR IGNORE INTO transitions VALUES (?,?,?,?,?,?,?)",
        [transition_row(row) for row in out.transitions],
    )


def _put_lines(db: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    """Sixteen lines to a statement cost a third less than one."""
    many = len(rows) // _TOGETHER * _TOGETHER
    for start in range(0, many, _TOGETHER):
        db.execute(_LINES, list(chain.from_iterable(rows[start : start + _TOGETHER])))
    db.executemany(_LINE, rows[many:])


def forget_roots(db: sqlite3.Connection, roots: list[str]) -> tuple[int, int]:
    """Delete these root runs (at most `CHUNK`) with all that belongs to them; how many runs and lines it were."""
    marks = ",".join("?" * len(roots))
    family = f"(SELECT id FROM runs WHERE root_id IN ({marks}))"
    lines = db.execute(f"DELETE FROM logs WHERE root_id IN ({marks})", roots).rowcount
    db.execute(f"DELETE FROM events WHERE run_id IN {family}", roots)
    db.execute(f"DELETE FROM transitions WHERE run_id IN {family}", roots)
    return db.execute(f"DELETE FROM runs WHERE root_id IN ({marks})", roots).rowcount, lines


def free_seqs(db: sqlite3.Connection, table: str, count: int) -> range:
    """The next `count` seqs of a table. They are never given twice, not even after the rows were pruned."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name=?", (table,)).fetchone() if count else None
    first = (row[0] if row else 0) + 1
    return range(first, first + count)
