"""A folder of plain JSON lines, one append-only file per root run, and an index that may be deleted at any time.

The files are the truth; `file_format` says how they look. Questions are answered by the index, a SQLite store that is
made anew from the files when it is missing, damaged, or not of this folder (a copy by `cp -r` or `rsync`).

A batch becomes true at one instant, when the file of its journal is replaced. Before the first byte of it is written,
`intent` names the files and their sizes; whoever writes next after a kill cuts them back to those, or, where the
instant had come, brings the index up to date. All of it happens under one lock, a `flock` on the folder's `lock`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from zlib import crc32

from .clock import SYSTEM, root_of
from .errors import StorageError, StoreTooNew
from .file_format import (
    chunk,
    cut,
    extend,
    journal_file,
    line_end,
    make_folder,
    read,
    read_json,
    remove,
    replace,
    run_file,
    size_of,
    without_lines,
)
from .file_index import damaged, fill, refill, survey
from .file_registry import FileRegistry
from .fold import sound
from .gate import Gate
from .lines import batch
from .sqlite import SqliteBackend
from .urls import path_of, redacted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from typing import Any, Concatenate, ParamSpec, TypeVar

    from .clock import Clock
    from .file_format import Json, Lines
    from .fold import Digest
    from .records import (
        JobSummary,
        Log,
        LogQuery,
        Process,
        Pruned,
        Retention,
        Run,
        RunQuery,
        Transition,
    )

    T = TypeVar("T")
    P = ParamSpec("P")

FORMAT = 1


class FileBackend(FileRegistry):
    """See `holter.backends.base` for the contract. `timeout` None blocks as long as another writer lives.

    Not for a folder that several hosts write to: the lock and the index need a local file system.
    """

    def __init__(self, url: str, *, home: str, clock: Clock = SYSTEM, timeout: float | None = 10.0) -> None:
        self.url = redacted(url)
        self.folder = path_of(url, home)
        self._clock = clock
        self._timeout = timeout
        self._gate: Gate | None = None
        self._index: SqliteBackend | None = None
        self._inode = -1
        self._origin = 0
        self._held_by_us = False
        with self._told():
            make_folder(self.folder)
            self._gate = Gate(f"{self.folder}/lock", timeout)
        try:
            self._current()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._shut()
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.close()

    def check(self) -> dict[str, Any]:
        with self._told():
            return survey(self.folder, self._current())

    # --- ledger: writing ---

    def append(self, journal: str, offset: int, data: bytes) -> int:
        lines = batch(data, offset)
        end = offset + len(data)
        with self._write() as db:
            lines = self._unseen(db, journal, lines)
            out, seqs = self._indexed._apply(db, journal, offset, end, lines)
            raw = _raw(data, offset, lines)
            commit = {"journal": journal, "from": offset, "to": end, "at": out.process["received_at"]}
            said = _commits(commit, list(raw), out, seqs)
            paths = {root: self._path(run_file(root)) for root in raw}
            self._announce(journal, end, {root: size_of(path) for root, path in paths.items()})
            header = out.process.get("header")
            for root, path in paths.items():
                fresh = self._mark(db, root, journal, end)
                extend(path, chunk(_opening(header) if header and fresh else None, raw[root], said[root]))
            known = {"journal": journal, "offset": end, "record": out.process}
            replace(self._path(journal_file(journal)), known)  # the instant at which all of it becomes true
        return end

    def prune(self, retention: Retention) -> Pruned:
        from .sqlite_reads import prune

        return prune(self, retention)

    # --- ledger: reading ---

    def runs(self, query: RunQuery) -> list[Run]:
        return self._ask(SqliteBackend.runs, query)

    def run(self, run_id: str) -> Run | None:
        return self._ask(SqliteBackend.run, run_id)

    def events(self, run_id: str) -> list[Json]:
        return self._ask(SqliteBackend.events, run_id)

    def logs(self, query: LogQuery) -> list[Log]:
        return self._ask(SqliteBackend.logs, query)

    def summarize(self, query: RunQuery) -> list[JobSummary]:
        return self._ask(SqliteBackend.summarize, query)

    def transitions(self, after: int, limit: int = 500) -> list[Transition]:
        return self._ask(SqliteBackend.transitions, after, limit)

    def processes(self, *, open_only: bool = True) -> list[Process]:
        return self._ask(SqliteBackend.processes, open_only=open_only)

    # --- how a write becomes true, once ---

    @contextmanager
    def _write(self, journal: str = "") -> Iterator[sqlite3.Connection]:
        """One change under the lock: the files first, then the index, then the intent goes."""
        with self._told(), self._locked():
            self._recover()
            with self._indexed._write() as db:
                yield db
            remove(self._path("intent"))

    def _announce(self, journal: str, end: int, sizes: dict[str, int]) -> None:
        """Say what is about to be written, so that whoever finds it half-done can undo it or finish it."""
        replace(self._path("intent"), {"journal": journal, "to": end, "sizes": sizes})

    def _recover(self) -> None:
        """After a kill in the middle of a write (the caller holds the lock): cut back, or bring the index up to date."""
        intent = read_json(self._path("intent"))
        if intent is None:
            remove(self._path("intent"))  # torn: nothing had been written yet
            return
        journal, sizes = intent["journal"], intent["sizes"]
        known = (journal and read_json(self._path(journal_file(journal)))) or {"offset": 0}
        if journal and known["offset"] < intent["to"]:
            for root, size in sizes.items():
                cut(self._path(run_file(root)), size)
        else:
            refill(self.folder, self._indexed, list(sizes), journal)
        remove(self._path("intent"))

    def _unseen(self, db: sqlite3.Connection, journal: str, lines: Lines) -> Lines:
        """Without what the run files already hold of a journal whose own file was lost."""
        seen = dict(db.execute("SELECT root_id, upto FROM chunks WHERE journal=?", (journal,)))
        return [
            (position, event)
            for position, event in lines
            if event is None or not _of_run(event) or position >= seen.get(root_of(event["run"]), 0)
        ]

    def _mark(self, db: sqlite3.Connection, root: str, journal: str, end: int) -> bool:
        """Note that this root's file has the journal up to `end`; whether it is the first of it there."""
        fresh = not db.execute("SELECT 1 FROM chunks WHERE root_id=? AND journal=?", (root, journal)).fetchone()
        db.execute("INSERT OR REPLACE INTO chunks VALUES (?,?,?)", (root, journal, end))
        return fresh

    # --- forgetting: called inside the transactions of `prune` ---

    def _drop_roots(self, roots: list[str]) -> None:
        seqs = dict(self._indexed._rows("SELECT name, seq FROM sqlite_sequence"))
        replace(self._path("pruned.json"), {name: seqs.get(name, 0) for name in ("logs", "transitions")})
        self._announce("", 0, dict.fromkeys(roots, 0))
        for root in roots:
            remove(self._path(run_file(root)))

    def _drop_lines(self, roots: list[str], before: float) -> None:
        for root in roots:
            path = self._path(run_file(root))
            if data := read(path):
                replace(path, without_lines(data, before))

    def _drop_journals(self, journals: list[str]) -> None:
        for journal in journals:
            remove(self._path(journal_file(journal)))

    # --- the index ---

    @property
    def _indexed(self) -> SqliteBackend:
        return self._current()

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._indexed._rows(sql, *values)

    def _ask(self, question: Callable[Concatenate[SqliteBackend, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Put a question to the index; a damaged one is made anew, once."""
        with self._told():
            try:
                return question(self._current(), *args, **kwargs)
            except StorageError as error:
                if not damaged(error):
                    raise
            self._shut()
            with self._locked():
                self._forget_index()
            return question(self._current(), *args, **kwargs)

    def _current(self) -> SqliteBackend:
        """The index, opened, of this folder, and without a half-done write in it."""
        if self._index is not None and self._is_ours():
            return self._index
        self._shut()
        self._check_format()
        with self._locked():
            self._index = SqliteBackend(self._place, home="", clock=self._clock, timeout=self._timeout)
            if self._stamp() != self._origin:
                self._shut()
                self._forget_index()
                self._index = SqliteBackend(self._place, home="", clock=self._clock, timeout=self._timeout)
                fill(self.folder, self._index, self._origin)
            self._inode = os.stat(self._path("index.db")).st_ino
            self._recover()
        return self._index

    @property
    def _place(self) -> str:
        return f"sqlite:///{os.path.abspath(self.folder)}/index.db"

    def _is_ours(self) -> bool:
        """Whether the index that we have open still is the folder's: somebody may have made it anew."""
        try:
            return os.stat(self._path("index.db")).st_ino == self._inode
        except FileNotFoundError:
            return False

    def _stamp(self) -> int:
        assert self._index is not None
        try:
            return int(self._index._rows("PRAGMA application_id")[0][0])
        except StorageError as error:
            if damaged(error):
                return 0
            raise

    def _check_format(self) -> None:
        """Make `format.json`, or refuse what a newer Holter wrote. Its place on disk is what an index belongs to."""
        path = self._path("format.json")
        held = read_json(path)
        if held is None:
            with self._locked():
                if read_json(path) is None:
                    replace(path, {"format": FORMAT})
        elif held.get("format", 0) > FORMAT:
            raise StoreTooNew(f"{self.folder} has format {held['format']}, this holter knows {FORMAT}")
        stat = os.stat(path)
        self._origin = crc32(f"{stat.st_dev}:{stat.st_ino}:{self.folder}".encode()) & 0x7FFFFFFF or 1

    def _forget_index(self) -> None:
        for ending in ("", "-wal", "-shm"):
            remove(self._path(f"index.db{ending}"))

    def _shut(self) -> None:
        index, self._index = self._index, None
        if index is not None:
            index.close()

    # --- place, lock, words ---

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder's write lock. Re-entrant in this handle: a reader that finds no index makes one under it."""
        if self._gate is None:
            raise StorageError(f"{self.folder} is closed here", hint="after a close, open the store again")
        if self._held_by_us:
            yield
            return
        with self._gate.held():
            self._held_by_us = True
            try:
                yield
            finally:
                self._held_by_us = False

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror or error}") from error


def _of_run(event: Json | None) -> bool:
    return event is not None and event["event"] not in ("process", "beat", "close") and sound(event)


def _opening(header: Json) -> Json:
    """The first line of a journal in a root's file, which makes the file complete in itself."""
    return {"event": "process", **header}


def _raw(data: bytes, offset: int, lines: Lines) -> dict[str, list[bytes]]:
    """The lines about runs as they came, by root run."""
    out: dict[str, list[bytes]] = {}
    for position, event in lines:
        if event is not None and _of_run(event):
            start = position - offset
            out.setdefault(root_of(event["run"]), []).append(data[start : line_end(data, start)])
    return out


def _commits(commit: Json, roots: list[str], out: Digest, seqs: range) -> dict[str, Json]:
    """What the commit line of each root's chunk says: the seqs of its log lines and its transitions."""
    said = {root: {**commit, "logs": [], "transitions": []} for root in roots}
    for seq, (run_id, _) in zip(seqs, out.logs, strict=True):
        said[root_of(run_id)]["logs"].append(seq)
    for row in out.transitions:
        said[root_of(row["run_id"])]["transitions"].append(row)
    return said
