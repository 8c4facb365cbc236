"""Transactions: groups of tasks whose results are kept together, or undone together by their `on_rollback` hooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from enum import Enum
from typing import Any
from uuid import uuid4

from ..tape import harmless
from .exceptions import ConfigurationError
from .results import ResultStore, get_result_store

Hook = Callable[["Transaction"], object]
PAUSE = 0.01  # seconds between two looks at a lock
_current: ContextVar[Transaction | None] = ContextVar("holter_prefect_transaction", default=None)
_NOTHING = object()


class IsolationLevel(Enum):
    """SERIALIZABLE: whoever has the same key waits for its turn."""

    READ_COMMITTED = 1
    SERIALIZABLE = 2


class CommitMode(Enum):
    """EAGER: at its own end. LAZY: with the transaction around it. OFF: never."""

    EAGER = 1
    LAZY = 2
    OFF = 3


class TransactionState(Enum):
    PENDING = 0
    ACTIVE = 1
    STAGED = 2
    COMMITTED = 3
    ROLLED_BACK = 4


class Transaction:
    """`with Transaction(...)`: staged work is committed at the end, or with the transaction around this one; after an
    error it is rolled back, its hooks in reverse order, and so is the one around."""

    def __init__(
        self,
        key: str | None = None,
        store: ResultStore | None = None,
        commit_mode: CommitMode | None = None,
        isolation_level: IsolationLevel | None = None,
        overwrite: bool = False,
        write_on_commit: bool = True,
        expires_in: timedelta | None = None,
        **_: Any,
    ) -> None:
        self.key = key
        self.store = store or get_result_store()
        self.commit_mode = commit_mode
        self.isolation_level = isolation_level or IsolationLevel.READ_COMMITTED
        self.overwrite, self.write_on_commit, self.expires_in = overwrite, write_on_commit, expires_in
        self.state = TransactionState.PENDING
        self.on_commit_hooks: list[Hook] = []
        self.on_rollback_hooks: list[Hook] = []
        self.children: list[Transaction] = []
        self.parent: Transaction | None = None
        self._values: dict[str, Any] = {}
        self._staged: Any = None
        self._holder = str(uuid4())
        self._mark: Any = None
        if self.isolation_level is IsolationLevel.SERIALIZABLE and self.store.lock_manager is None:
            raise ConfigurationError(
                f"Isolation level {self.isolation_level.name} is not supported by provided configuration. "
                "Please ensure you've provided a lock manager in your result store."
            )

    # --- for scripts ---

    def get(self, name: str, default: Any = _NOTHING) -> Any:
        """A value that was set here or in a transaction around. Raises ValueError where there is none."""
        if name in self._values:
            return self._values[name]
        if self.parent is not None:
            return self.parent.get(name, default)
        if default is _NOTHING:
            raise ValueError(f"Could not retrieve value for unknown key: {name}")
        return default

    def set(self, name: str, value: Any) -> None:
        self._values[name] = value

    def is_active(self) -> bool:
        return self.state is TransactionState.ACTIVE

    def is_committed(self) -> bool:
        return self.state is TransactionState.COMMITTED

    def is_rolled_back(self) -> bool:
        return self.state is TransactionState.ROLLED_BACK

    def is_staged(self) -> bool:
        return self.state is TransactionState.STAGED

    def is_pending(self) -> bool:
        return self.state is TransactionState.PENDING

    def read(self) -> Any:
        """The committed value."""
        return self.store.read(self.key) if self.key else None

    def stage(
        self,
        value: Any,
        on_rollback_hooks: list[Hook] | None = None,
        on_commit_hooks: list[Hook] | None = None,
    ) -> None:
        """There is something to commit."""
        if self.state not in (TransactionState.COMMITTED, TransactionState.ROLLED_BACK):
            self._staged = value
            self.on_rollback_hooks += on_rollback_hooks or []
            self.on_commit_hooks += on_commit_hooks or []
            self.state = TransactionState.STAGED

    def commit(self) -> bool:
        """Keep what is staged, the inner ones first; whether there was anything to do."""
        if self.state in (TransactionState.COMMITTED, TransactionState.ROLLED_BACK):
            return False
        for child in self.children:
            child.commit()
        for hook in self.on_commit_hooks:
            _call(hook, self)
        if self.key and self.write_on_commit:
            self.store.write(self.key, self._staged, self.expires_in)
        self.state = TransactionState.COMMITTED
        return True

    def rollback(self) -> bool:
        """Undo what is staged, the last first, and the transaction around; whether there was anything to do."""
        if self.state in (TransactionState.COMMITTED, TransactionState.ROLLED_BACK):
            return False
        self.state = TransactionState.ROLLED_BACK
        for hook in reversed(self.on_rollback_hooks):
            _call(hook, self)
        for child in reversed(self.children):
            child.rollback()
        if self.parent is not None:
            self.parent.rollback()
        return True

    # --- begin and end ---

    def __enter__(self) -> Transaction:
        while not self._have_lock():
            time.sleep(PAUSE)
        return self._begin()

    async def __aenter__(self) -> Transaction:
        while not self._have_lock():  # noqa: ASYNC110 - its holder may be another process
            await asyncio.sleep(PAUSE)
        return self._begin()

    def _have_lock(self) -> bool:
        if self.key is None or self.isolation_level is not IsolationLevel.SERIALIZABLE:
            return True
        return bool(self.store.lock_manager.try_acquire(self.key, self._holder))

    def _begin(self) -> Transaction:
        self.parent = _current.get()
        if self.commit_mode is None:
            self.commit_mode = CommitMode.LAZY
        committed = self.key is not None and not self.overwrite and self.store.exists(self.key)
        self.state = TransactionState.COMMITTED if committed else TransactionState.ACTIVE
        self._mark = _current.set(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        _current.reset(self._mark)
        try:
            if error is not None or self.commit_mode is CommitMode.OFF:
                self.rollback()
            elif self.parent is None or self.commit_mode is CommitMode.EAGER:
                self.commit()
            else:
                self.parent.children.append(self)
        finally:
            if self.key is not None and self.isolation_level is IsolationLevel.SERIALIZABLE:
                self.store.lock_manager.release_lock(self.key, self._holder)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.__exit__(kind, error, trace)


@harmless
def _call(hook: Hook, transaction: Transaction) -> None:
    from .calls import finish

    result = hook(transaction)
    if hasattr(result, "__await__"):
        finish(result)


def get_transaction() -> Transaction | None:
    return _current.get()


@contextmanager
def transaction(key: str | None = None, **options: Any) -> Iterator[Transaction]:
    """A transaction around tasks. With a `key` it leaves a record, so that it is committed already the next time."""
    with Transaction(key, **options) as made:
        yield made
