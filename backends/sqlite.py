"""One SQLite file for one host. How it is opened, locked and written is in `sqlite_link`.

The write side, which runs at the end of every script, uses only `sqlite3`; sqlite-utils makes the schema, once.
"""

from __future__ import annotations

from .digest import digest
from .errors import OffsetMismatch
from .lines import batch
from .sqlite_registry import SqliteRegistry
from .sqlite_rows import free_seqs, put_journal, put_rows, put_runs
from .sqlite_text import loaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence
    from typing import Any

    from .digest import Digest
    from .many import Batch
    from .queries import LogQuery, Retention, RunQuery
    from .records import Bucket, JobRuns, JobSummary, Json, Log, Process, Pruned, Run, Transition

CHUNK = 500  # names in one IN (...), under SQLite's limit of bound parameters in every version


class SqliteBackend(SqliteRegistry):
    """See `holter.backends.base` for the contract. `timeout` None blocks as long as another writer lives.

    On a network file system it raises StorageError, unless the URL ends in `?force=true`: for one single host.
    """

    def check(self) -> dict[str, Any]:
        from .sqlite_reads import check

        return check(self)

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
