"""A folder of plain JSON lines, one append-only file per root run, and an index that may be deleted at any time.

The files are the truth; `file_format` says how they look. Questions are answered by the index, a SQLite store that is
made anew from the files when it is missing, damaged, or not of this folder (a copy by `cp -r` or `rsync`).

A batch becomes true at one instant, when the file of its journal is replaced. Before the first byte of it is written,
`intent` names the files and their sizes; whoever writes next after a kill cuts them back to those, or, where the
instant had come, brings the index up to date. All of it happens under one lock, a `flock` on the folder's `lock`.
"""

from __future__ import annotations

from .clock import SYSTEM, root_of
from .file_folder import Folder
from .file_format import (
    chunk,
    extend,
    journal_file,
    line_end,
    read,
    remove_last,
    replace,
    run_file,
    size_of,
    without_lines,
)
from .file_index import files, survey
from .file_registry import FileRegistry
from .lines import batch
from .soundness import sound
from .sqlite import SqliteBackend
from .urls import path_of, redacted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection
    from contextlib import AbstractContextManager
    from typing import Any

    from .clock import Clock
    from .digest import Digest
    from .file_format import Json, Lines
    from .queries import LogQuery, Retention, RunQuery
    from .records import Bucket, JobRuns, JobSummary, Log, Process, Pruned, Run, Transition


class FileBackend(FileRegistry):
    """See `holter.backends.base` for the contract. `timeout` None blocks as long as another writer lives.

    Not for a folder that several hosts write to: the lock and the index need a local file system.
    """

    def __init__(self, url: str, *, home: str, clock: Clock = SYSTEM, timeout: float | None = 10.0) -> None:
        self.url = redacted(url)
        self._folder = Folder(path_of(url, home), clock, timeout)

    def close(self) -> None:
        self._folder.close()

    def check(self) -> dict[str, Any]:
        """Looks at every line of every file."""
        said = survey(self._folder)
        if not said["agrees"]:  # or somebody wrote meanwhile
            with self._folder.write():
                said = survey(self._folder)
        return {"ok": said["ok"], "detail": said["detail"]}

    # --- ledger: writing ---

    def append(self, journal: str, offset: int, data: bytes) -> int:
        lines = batch(data, offset)
        end = offset + len(data)
        places = _places(lines)
        with self._folder.write(journal) as db:
            seen = {root: _upto(db, root, journal) for root in places}
            if any(upto > offset for upto in seen.values()):
                lines = [line for line in lines if not _is_known(line, seen)]
                places = _places(lines)
            out, seqs = self._folder.index._apply(db, journal, offset, end, lines)
            self._folder.announce(places, journal, end)
            for root, commit in _commits(journal, offset, end, seen, places, out, seqs).items():
                raw = [_line(data, position - offset) for position in places[root]]
                header = out.process.get("header") if seen[root] == 0 else None
                extend(self._folder.file(run_file(root)), chunk(header, raw, commit))
                db.execute("INSERT OR REPLACE INTO chunks VALUES (?,?,?)", (root, journal, end))
            record = {"journal": journal, "offset": end, "record": out.process}
            replace(self._folder.file(journal_file(journal)), record)  # from here on it is true
        return end

    def prune(self, retention: Retention) -> Pruned:
        from .sqlite_reads import prune

        return prune(self, retention)

    def size(self) -> int:
        """Bytes of the files, and those in use in the index."""
        return sum(map(size_of, files(self._folder.path, ".jsonl"))) + self._folder.ask(SqliteBackend.size)

    # --- ledger: reading ---

    def runs(self, query: RunQuery) -> list[Run]:
        return self._folder.ask(SqliteBackend.runs, query)

    def run(self, run_id: str) -> Run | None:
        return self._folder.ask(SqliteBackend.run, run_id)

    def events(self, run_id: str) -> list[Json]:
        return self._folder.ask(SqliteBackend.events, run_id)

    def logs(self, query: LogQuery) -> list[Log]:
        return self._folder.ask(SqliteBackend.logs, query)

    def summarize(self, query: RunQuery) -> list[JobSummary]:
        return self._folder.ask(SqliteBackend.summarize, query)

    def newest(self, query: RunQuery, each: int) -> list[JobRuns]:
        return self._folder.ask(SqliteBackend.newest, query, each)

    def timeline(self, query: RunQuery, every: float) -> list[Bucket]:
        return self._folder.ask(SqliteBackend.timeline, query, every)

    def transitions(self, after: int, limit: int = 500) -> list[Transition]:
        return self._folder.ask(SqliteBackend.transitions, after, limit)

    def processes(self, *, open_only: bool = True, journals: Collection[str] | None = None) -> list[Process]:
        return self._folder.ask(SqliteBackend.processes, open_only=open_only, journals=journals)

    # --- what `prune` needs ---

    def _write(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._folder.write()

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._folder.ask(SqliteBackend._rows, sql, *values)

    def _drop_roots(self, roots: list[str]) -> None:
        self._keep_seqs()
        self._folder.announce(roots)
        for root in roots:
            remove_last(self._folder.file(run_file(root)))
        self._folder.index._db.executemany("DELETE FROM chunks WHERE root_id=?", [(root,) for root in roots])

    def _drop_lines(self, roots: list[str], before: float) -> None:
        self._keep_seqs()
        for root in roots:
            path = self._folder.file(run_file(root))
            data = read(path)
            if (left := without_lines(data, before)) != data:
                replace(path, left)

    def _drop_journals(self, journals: list[str]) -> None:
        for journal in journals:
            remove_last(self._folder.file(journal_file(journal)))

    def _keep_seqs(self) -> None:
        """No seq is ever given twice, not even when the lines that held the highest are gone and the index is too."""
        seqs = dict(self._folder.index._rows("SELECT name, seq FROM sqlite_sequence"))
        replace(self._folder.file("pruned.json"), seqs)


def _places(lines: Lines) -> dict[str, list[int]]:
    """Where in the journal the lines of each root run stand."""
    places: dict[str, list[int]] = {}
    for position, event in lines:
        if event is not None and sound(event):
            places.setdefault(root_of(event["run"]), []).append(position)
    return places


def _upto(db: sqlite3.Connection, root: str, journal: str) -> int:
    """How much of a journal a run's file holds: more than the journal's file says where a copy was made meanwhile."""
    row = db.execute("SELECT upto FROM chunks WHERE root_id=? AND journal=?", (root, journal)).fetchone()
    return int(row[0]) if row else 0


def _line(data: bytes, start: int) -> bytes:
    return data[start : line_end(data, start)]


def _is_known(line: tuple[int, Json | None], seen: dict[str, int]) -> bool:
    position, event = line
    return event is not None and sound(event) and position < seen[root_of(event["run"])]


def _commits(
    journal: str,
    offset: int,
    end: int,
    seen: dict[str, int],
    places: dict[str, list[int]],
    out: Digest,
    seqs: range,
) -> dict[str, Json]:
    """What the commit line of each root's chunk says: the seqs of its log lines, and its transitions."""
    commits: dict[str, Json] = {
        root: {
            "journal": journal,
            "from": max(offset, seen[root]),
            "to": end,
            "at": out.process["received_at"],
            "logs": [],
            "transitions": [],
        }
        for root in places
    }
    for seq, (run_id, _) in zip(seqs, out.logs, strict=True):
        commits[root_of(run_id)]["logs"].append(seq)
    for row in out.transitions:
        commits[root_of(row["run_id"])]["transitions"].append(row)
    return commits
