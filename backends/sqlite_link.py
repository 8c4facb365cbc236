"""One SQLite file and its transactions: WAL, one writer transaction per batch, every write under a fair gate.

With the gate, a lock on a file beside the database, the worst wait of 16 writers fell from 530 to 17 ms. It also closes
the WAL-reset race of SQLite before 3.51.3: nobody commits while somebody checkpoints, because both hold the gate. It
covers closing, too, since the last connection to close checkpoints.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from errno import EROFS

from .clock import SYSTEM
from .errors import StorageError, StoreTooNew
from .forever import keep
from .gate import Gate
from .mounts import file_system, is_network
from .sqlite_text import ERRORS
from .urls import path_of, redacted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import Any

    from .clock import Clock

SCHEMA_VERSION = 5
_OPEN: set[SqliteLink] = set()
_WAL_LIMIT = 4 * 2**20  # bytes; past it the next writer checkpoints
_NOT_SHARED = (
    "SQLite needs a local one: use postgresql://, http:// or file:///, or add ?force=true if one host uses it"
)


class SqliteLink:
    """The connection of one `SqliteBackend`, from `url` (`path`); `close` ends it. `timeout` None blocks as long as
    another writer lives. Raises StorageError, on a network file system too, unless the URL ends in `?force=true`."""

    def __init__(self, url: str, *, home: str, clock: Clock = SYSTEM, timeout: float | None = 10.0) -> None:
        self.url = redacted(url)
        plain, _, options = url.partition("?")
        self.path = path_of(plain, home)
        self._forced = "force=true" in options.split("&")
        self._clock = clock
        self._timeout = timeout
        self._gate: Gate | None = None
        self._file: tuple[int, int] | None = None
        self._db: sqlite3.Connection = None  # type: ignore[assignment]
        try:
            self._open()
        except StorageError:
            self.close()
            raise

    def _open(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            if not self._forced and is_network(kind := file_system(self.path)):
                raise StorageError(f"{self.path} is on a network file system ({kind})", hint=_NOT_SHARED)
            self._gate = self._open_gate()
            if self._gate is not None:
                _create(self.path)
            _OPEN.add(self)
            self._connect()
        except StorageError:
            raise
        except (OSError, *ERRORS) as error:
            raise StorageError(
                f"cannot open {self.path}: {getattr(error, 'strerror', None) or error}"
            ) from error

    def _open_gate(self) -> Gate | None:
        """None where there is a store that can only be read: a disk with errors was mounted read-only, say."""
        try:
            return Gate(f"{self.path}.gate", self._timeout)
        except OSError as error:
            if error.errno == EROFS and os.path.exists(self.path):
                return None
            raise

    def _begin_again(self) -> None:
        """The file was deleted or replaced under us: what has its name now is another store. The old connection is
        never closed, for that would remove the new one's WAL by its name."""
        gate, db = self._opened(), self._db
        try:
            self._open()
        except BaseException:
            if self._gate is not None and self._gate is not gate:
                self._gate.close()
            if self._db is not db:
                _never_close(self._db)
            self._gate, self._db = gate, db  # still the lost ones: the next write tries again
            raise
        gate.close()
        _never_close(db)

    def _lost(self) -> bool:
        """Whether the file that is open here is not, or no longer, the one of that name."""
        return _identity(self.path) != self._file

    def _connect(self) -> None:
        seconds = 30.0 if self._timeout is None else self._timeout
        self._file = _identity(self.path)
        if self._gate is None:
            self._db = _opened_to_read(self.path)
        else:
            self._db = sqlite3.connect(
                self.path, timeout=seconds, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA wal_autocheckpoint=0")
        self._upgrade()

    def _upgrade(self) -> None:
        version = self._version()
        if version < SCHEMA_VERSION:
            if self._gate is None:
                hint = "it is brought up to date where it can be written"
                raise StorageError(f"{self.path} has schema {version} and can only be read", hint=hint)
            with self._gated():
                if self._version() < SCHEMA_VERSION:
                    from .sqlite_schema import upgrade

                    upgrade(self._db)
        elif version > SCHEMA_VERSION:
            raise StoreTooNew(f"{self.path} has schema {version}, this holter knows {SCHEMA_VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        db, self._db = self._db, None  # type: ignore[assignment]
        gate, self._gate = self._gate, None
        if db is not None:
            if gate is None or _may_close(gate):  # who only reads checkpoints nothing
                db.close()
            else:
                _never_close(db)
        if gate is not None:
            gate.close()
        _OPEN.discard(self)

    # --- transactions ---

    def _gated(self) -> AbstractContextManager[None]:
        return self._opened().held()

    def _must_be_open(self) -> None:
        if self._db is None:
            raise StorageError(
                f"{self.path} is closed here", hint="after a fork or a close, open the store again"
            )

    def _opened(self) -> Gate:
        """The gate, where the store can be written."""
        self._must_be_open()
        if self._gate is None:  # it may be writable again
            self._db.close()
            self._open()
        if self._gate is None:
            raise StorageError(f"{self.path} is on a read-only file system", hint="what is there can be read")
        return self._gate

    @contextmanager
    def _write(self, synced: bool = False) -> Iterator[sqlite3.Connection]:
        """One gated transaction, begun IMMEDIATE: a deferred one that reads and then writes fails when it races.

        It survives the death of this process; `synced`, the loss of power too.
        """
        self._opened()
        if self._lost():
            self._begin_again()
        if synced:
            self._db.execute("PRAGMA synchronous=FULL")
        with self._gated():
            if self._lost():
                raise StorageError(f"{self.path} was replaced just now", hint="try again")
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
                self._checkpoint()
            except BaseException as error:
                with suppress(*ERRORS):  # a full disk has rolled back already
                    self._db.execute("ROLLBACK")
                if isinstance(error, ERRORS):
                    raise StorageError(f"{self.path}: {error}") from error
                raise

    def _checkpoint(self) -> None:
        with suppress(OSError):
            if os.stat(f"{self.path}-wal").st_size > _WAL_LIMIT:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows at once: an open cursor would hold a read transaction and let the WAL grow without end."""
        self._must_be_open()
        if not self._db.in_transaction and self._lost():  # who only reads would read the old file for ever
            self._begin_again()
        try:
            return self._db.execute(sql, values).fetchall()
        except ERRORS as error:
            raise StorageError(f"{self.path}: {error}") from error

    def _each(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The same one by one, for the very many, within a `_moment`: a list of them all is made slower than used."""
        try:
            yield from self._db.execute(sql, values)
        except ERRORS as error:
            raise StorageError(f"{self.path}: {error}") from error

    @contextmanager
    def _moment(self) -> Iterator[None]:
        """Several questions to one and the same state of the store. Short: meanwhile the WAL grows."""
        self._rows("BEGIN")
        try:
            yield
        finally:
            with suppress(*ERRORS):
                self._db.execute("ROLLBACK")

    def size(self) -> int:
        """Bytes in use. The file itself does not shrink: what was forgotten makes room for what comes."""
        [(pages,)], [(free,)], [(each,)] = (
            self._rows(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * each)


def _opened_to_read(path: str) -> sqlite3.Connection:
    """On a file system that cannot be written. Where SQLite finds no index of the log there, there is no log either,
    and the file alone is all."""
    from urllib.parse import quote

    place = f"file:{quote(path)}?mode=ro"
    for more in ("", "&immutable=1"):
        db = sqlite3.connect(f"{place}{more}", uri=True, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA user_version")
            return db
        except sqlite3.OperationalError:
            db.close()
            if more:
                raise
    raise AssertionError


def _create(path: str) -> None:
    """An empty file of mode 0600, never by SQLite's umask. A file that is there is not even opened: closing it would
    drop every lock that another connection of this process holds on it."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _may_close(gate: Gate | None) -> bool:
    """Whether the gate is ours within a second, or its folder is gone, and with it everybody else."""
    try:
        return gate is not None and gate.take(1.0)
    except OSError:
        return True


def _never_close(db: sqlite3.Connection) -> None:
    """Closing could checkpoint, and so could the finaliser at the end of the process: it never runs."""
    keep(db)


def _let_go_after_fork() -> None:
    """The child keeps no connection: using it corrupts the file, closing it could checkpoint."""
    for backend in tuple(_OPEN):
        if backend._db is not None:
            _never_close(backend._db)
        backend._gate, backend._db = None, None  # type: ignore[assignment]
    _OPEN.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
