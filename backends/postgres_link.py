"""One connection to PostgreSQL and its transactions. Nothing of a session matters beyond a transaction, so that a
pooler may hand each to another server process: limits and the schema are set by SET LOCAL, and nothing is prepared.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress

from .errors import StorageError, UnknownBackend
from .forever import keep
from .urls import redacted

try:
    import psycopg
    from psycopg import errors
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.pq import TransactionStatus
except ImportError as missing:
    raise StorageError(
        "the store postgresql:// needs psycopg", hint="pip install 'holter[postgres]'"
    ) from missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any, NoReturn, TypeVar

    T = TypeVar("T")
    Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMA = "holter"
CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60  # for one statement; those of retention may take longer
ANSWER_SECONDS = 10  # beyond that time, in which the server must have said that it gave up
IDLE_SECONDS = 60  # inside a transaction, should this process be stopped in the middle of one
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
AGAIN = (  # rolled back whole, and likely to succeed when it is done again
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.UniqueViolation,
)
LockNotAvailable, CheckViolation = errors.LockNotAvailable, errors.CheckViolation
_OPEN: set[Link] = set()


class _Patient(psycopg.Connection["tuple[Any, ...]"]):
    """Waits `patience` seconds for each answer. The kernel sees that a host is gone; a server or a pooler that was
    stopped, or lost the session, goes on to acknowledge what it will never answer."""

    patience = float("inf")

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        return super().wait(self._within(gen), *args, **kwargs)

    def _within(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        end = time.monotonic() + self.patience
        try:
            ready = yield next(gen)
            while ready or time.monotonic() < end:  # nothing is ready: psycopg asks ten times a second
                ready = yield gen.send(ready)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        raise errors.OperationalError(f"no answer within {self.patience:g} s")


class Link:
    """Opens the connection when it is first needed, and anew after it was lost. `schema` is where the tables are."""

    def __init__(self, url: str, timeout: float | None) -> None:
        self.name = redacted(url)
        self._timeout = timeout
        place, _, options = url.partition("?")
        pairs = [pair for pair in options.split("&") if pair]
        named = [pair.partition("=")[2] for pair in pairs if pair.startswith("schema=")]
        self.schema = named[-1] if named else SCHEMA
        if not self.schema.replace("_", "").isalnum() or not self.schema.isascii() or len(self.schema) > 50:
            raise UnknownBackend(f"{self.schema!r} is no schema", hint="write ?schema=holter")
        self._password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        rest = "&".join(pair for pair in pairs if not pair.startswith("schema="))
        try:
            self._options: dict[str, Any] = conninfo_to_dict(f"{place}?{rest}" if rest else place)
        except psycopg.Error as error:
            raise UnknownBackend(
                f"{self.name}: {self.said(error)}", hint="write postgresql://user:password@host:5432/database"
            ) from None
        self._password = str(self._options.get("password") or "")  # as it is without %-signs
        self._db: _Patient | None = None
        self.opened = True
        _OPEN.add(self)

    # --- the connection ---

    def connection(self) -> _Patient:
        if not self.opened:
            raise StorageError(
                f"{self.name} is closed here", hint="after a fork or a close, open the store again"
            )
        if self._db is None or self._db.closed:
            self._db = self.connect()
        return self._db

    def connect(self) -> _Patient:
        """A connection of its own; the caller closes it."""
        seconds = CONNECT_SECONDS if self._timeout is None else max(2, round(self._timeout))
        given: dict[str, Any] = {"application_name": "holter", "connect_timeout": seconds, **_KEEPALIVES}
        given |= {"tcp_user_timeout": 30_000, "client_encoding": "utf8", **self._options}
        try:
            return _Patient.connect(**given, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            raise StorageError(f"cannot open {self.name}: {self.said(error)}") from None

    def close(self) -> None:
        db, self._db, self.opened = self._db, None, False
        _OPEN.discard(self)
        if db is not None:
            db.close()

    def heard(self, channel: str, seconds: float) -> bool:
        """Whether something was said on the channel within that time; True at once where one may have missed it, on the
        first call and after the connection was lost. The connection then is for listening only."""
        deaf = self._db is None or self._db.closed
        try:
            db = self.connection()
            db.patience = seconds + ANSWER_SECONDS
            if deaf:
                db.execute(f'LISTEN "{channel}"'.encode())
                return True
            return any(True for _ in db.notifies(timeout=seconds, stop_after=1))
        except psycopg.Error as error:
            self._drop()
            self.refuse(error)

    def _drop(self) -> None:
        """Whatever state it is in: the next transaction gets a new one."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()

    def let_go(self) -> None:
        """In a forked child: the parent's connection is neither used nor closed (that would say goodbye to the server
        in the parent's name); only the child's copy of its descriptor goes."""
        db, self._db, self.opened = self._db, None, False
        if db is not None:
            keep(db)
            with suppress(psycopg.Error, OSError):
                os.close(db.fileno())

    # --- transactions ---

    @contextmanager
    def transaction(
        self, *, read: bool = False, statement_seconds: int = STATEMENT_SECONDS
    ) -> Iterator[Connection]:
        """All or nothing. `read` sees one moment of the database. What PostgreSQL refuses is raised as StorageError,
        but for `AGAIN`."""
        db = self._begin(read, statement_seconds)
        try:
            yield db
            db.execute("COMMIT")
        except BaseException as error:
            self._give_up(db)
            if isinstance(error, psycopg.Error) and not isinstance(error, AGAIN):
                self.refuse(error)
            raise

    def _begin(self, read: bool, statement_seconds: int) -> Connection:
        """A connection that was lost while nothing was under way is replaced unseen: nothing was sent on it."""
        sql = self._opening(read, statement_seconds)
        held = self._db is not None and not self._db.closed
        try:
            self._ask(sql, statement_seconds)
        except psycopg.Error as error:
            self._drop()
            if not held or not isinstance(error, psycopg.OperationalError):
                self.refuse(error)
            try:
                self._ask(sql, statement_seconds)
            except psycopg.Error as again:
                self._drop()
                self.refuse(again)
        except BaseException:
            self._drop()
            raise
        return self.connection()

    def _ask(self, sql: bytes, statement_seconds: int) -> None:
        db = self.connection()
        db.patience = statement_seconds + ANSWER_SECONDS
        db.execute(sql)

    def _opening(self, read: bool, statement_seconds: int) -> bytes:
        lock = 0 if self._timeout is None else max(1, round(self._timeout * 1000))
        limits = {
            "search_path": f'"{self.schema}"',
            "statement_timeout": f"'{statement_seconds}s'",
            "lock_timeout": lock,
            "idle_in_transaction_session_timeout": f"'{IDLE_SECONDS}s'",
            "client_connection_check_interval": "'1s'",  # a server process whose client was killed ends its work
        }
        local = "".join(f"SET LOCAL {name} = {value};" for name, value in limits.items())
        return f"BEGIN {'ISOLATION LEVEL REPEATABLE READ READ ONLY' if read else ''};{local}".encode()

    def _give_up(self, db: Connection) -> None:
        try:
            if not db.closed and db.pgconn.transaction_status != TransactionStatus.ACTIVE:
                db.execute("ROLLBACK")
                return
        except psycopg.Error:
            pass  # it is dropped below
        self._drop()

    def refuse(self, error: psycopg.Error) -> NoReturn:
        raise StorageError(f"{self.name}: {self.said(error)}") from error

    def said(self, error: BaseException) -> str:
        """What PostgreSQL said, in one line and without the password."""
        text = " ".join(str(error).split()) or type(error).__name__
        text = text.rpartition("FATAL: ")[2].partition(" This probably means")[0]
        return text.replace(self._password, "***") if self._password else text


def _let_go_after_fork() -> None:
    for link in tuple(_OPEN):
        link.let_go()
    _OPEN.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
