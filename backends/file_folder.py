"""The folder of a file store as one handle has it: its lock, its intent, and its index.

The index belongs to this folder if it carries the number that `claim` gives; if not, it came with a copy, and is made
anew. It may also be deleted, or made anew by another process, at any time: every use looks whether it is the same file.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from zlib import crc32

from .errors import StorageError, StoreTooNew
from .file_format import (
    cut,
    journal_file,
    make_folder,
    put,
    read,
    read_json,
    remove,
    replace,
    run_file,
    size_of,
)
from .file_index import damaged, fill, refill, whole_pages
from .gate import Gate
from .lines import decode, encode
from .sqlite import SqliteBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from typing import Concatenate, ParamSpec, TypeVar

    from .clock import Clock

    T = TypeVar("T")
    P = ParamSpec("P")

FORMAT = 1
_INDEX = "index.db"


class Folder:
    """`path` is the folder; `index` its SQLite store, to be asked through `ask` and written inside `write`."""

    def __init__(self, path: str, clock: Clock, timeout: float | None) -> None:
        self.path = path
        self._clock = clock
        self._timeout = timeout
        self._index: SqliteBackend | None = None
        self._inode = -1
        self._origin = 0
        with self.told():
            make_folder(path)
            self._gate = Gate(f"{path}/lock", timeout)
        try:
            self.current()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._shut()
        self._gate.close()

    def file(self, name: str) -> str:
        return f"{self.path}/{name}"

    # --- asking and writing ---

    @property
    def index(self) -> SqliteBackend:
        if self._index is None:
            raise StorageError(f"{self.path} is closed here", hint="open the store again")
        return self._index

    def ask(
        self, method: Callable[Concatenate[SqliteBackend, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Put a question to the index. One that turns out to be damaged is made anew, once."""
        index = self.current()
        try:
            return method(index, *args, **options)
        except StorageError as error:
            if not damaged(error):
                raise
        with self.locked():
            if self._is_current():
                self._rebuild()
        return method(self.current(), *args, **options)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The write lock. Not re-entrant."""
        with self.told():
            make_folder(self.path)  # again, where somebody deleted the store
            with self._gate.held():
                yield

    @contextmanager
    def write(self, journal: str = "") -> Iterator[sqlite3.Connection]:
        """One transaction of the index, after files and index were brought in order. `journal` is to be appended to."""
        with self.locked():
            try:
                if self._is_current():
                    self._recover()
                else:
                    self._open()
                if journal and self._stood(journal) != _offset(self.index, journal):
                    self._rebuild()  # the power failed, or somebody changed the files
                with self.index._write() as db:
                    yield db
            except StorageError as error:
                if damaged(error):
                    remove(self.file(_INDEX))
                raise
            remove(self.file("intent"))

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors of the file system as errors of a store."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror or error}") from error

    # --- the intent ---

    def announce(self, roots: Iterable[str], journal: str = "", end: int = 0) -> None:
        """Before the first byte: which files are about to change, and how large they were."""
        sizes = [(root, size_of(self.file(run_file(root)))) for root in roots]
        said = {"event": "intent", "origin": self._origin, "journal": journal, "to": end, "files": sizes}
        put(self.file("intent"), encode(said))

    def _recover(self) -> None:
        """Undo what a killed writer left half-way, or bring it into the index where it had become true.

        A torn intent announced nothing yet; one that came with a copy says nothing about the files of this folder.
        """
        for _, intent in decode(read(self.file("intent"))):
            if intent is None or intent.get("origin") != self._origin:
                continue
            if self._stood(intent["journal"]) < intent["to"]:
                for root, size in intent["files"]:
                    cut(self.file(run_file(root)), size)
            elif self._index is not None:
                refill(self.path, self._index, [root for root, _ in intent["files"]], intent["journal"])
        remove(self.file("intent"))

    def _stood(self, journal: str) -> int:
        """How far a journal was applied, by its file."""
        return int((read_json(self.file(journal_file(journal))) or {}).get("offset", 0))

    # --- the index ---

    def current(self) -> SqliteBackend:
        if not self._is_current():
            with self.locked():
                if not self._is_current():
                    self._open()
        return self.index

    def _is_current(self) -> bool:
        try:
            return os.stat(self.file(_INDEX)).st_ino == self._inode
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        """Always under the lock: SQLite finds its side files by name, and they must not be replaced meanwhile."""
        self._shut()
        self._origin = claim(self.file("format.json"))
        self._index = self._usable()
        self._recover()
        if self._index is None:
            self._rebuild()
        self._inode = os.stat(self.file(_INDEX)).st_ino

    def _usable(self) -> SqliteBackend | None:
        if not whole_pages(self.file(_INDEX)):
            return None
        index = None
        try:
            index = self._store()
            if index._rows("PRAGMA application_id") == [(self._origin,)]:
                return index
        except StorageError as error:
            if not (isinstance(error, StoreTooNew) or damaged(error)):
                raise
        if index is not None:
            index.close()
        return None

    def _rebuild(self) -> None:
        self._shut()
        for ending in ("", "-wal", "-shm"):
            remove(self.file(_INDEX + ending))
        self._index = self._store()
        fill(self.path, self._index, self._origin)
        self._inode = os.stat(self.file(_INDEX)).st_ino

    def _store(self) -> SqliteBackend:
        return SqliteBackend(
            f"sqlite:///{_INDEX}?force=true", home=self.path, clock=self._clock, timeout=self._timeout
        )

    def _shut(self) -> None:
        index, self._index, self._inode = self._index, None, -1
        if index is not None:
            index.close()


def claim(path: str) -> int:
    """Make or read `format.json`; the answer is a number that no other folder has, and no copy of this one."""
    said = read_json(path)
    if said is None:
        said = {"format": FORMAT, "by": "holter, file store"}
        replace(path, said)
    if said.get("format") != FORMAT:
        raise StoreTooNew(f"{path} says format {said.get('format')}, this holter knows {FORMAT}")
    found = os.stat(path)
    return crc32(f"{found.st_ino} {found.st_ctime_ns}".encode()) >> 1 or 1


def _offset(index: SqliteBackend, journal: str) -> int:
    rows = index._rows("SELECT offset FROM journals WHERE journal=?", journal)
    return int(rows[0][0]) if rows else 0
