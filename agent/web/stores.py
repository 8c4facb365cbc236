"""Threads that ask the store: each has a handle of its own, and so many questions may wait, not more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ...backends.base import Backend
from ...backends.clock import Clock
from ...backends.errors import StorageError
from ...backends.urls import open_backend
from .options import Options
from .refusals import Refusal

T = TypeVar("T")

READERS = 4
QUESTIONS_AT_MOST = 256  # waiting for a thread
STORE_SECONDS = 10.0  # that the store's other writers may make one wait


class Stores:
    """The readers' pool. `ask` runs a function of a backend there; a handle that failed is opened anew next time."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self._options, self._clock = options, clock
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="holter-read")
        self._mine = threading.local()
        self._handles: set[Backend] = set()
        self._waiting = 0

    def open(self) -> Backend:
        """Another handle on the store, for the thread that calls. Raises StorageError."""
        options = self._options
        return open_backend(options.backend, options.home, clock=self._clock, timeout=STORE_SECONDS)

    async def ask(self, question: Callable[[Backend], T]) -> T:
        """Raises Refusal where too many wait already, and what `question` raises."""
        if self._waiting >= QUESTIONS_AT_MOST:
            raise Refusal(429, "too many questions wait for the store", "ask again later", retry_after=1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, question)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=True)
        for handle in self._handles:
            handle.close()

    def _answer(self, question: Callable[[Backend], T]) -> T:
        backend: Backend | None = getattr(self._mine, "backend", None)
        if backend is None:
            backend = self._mine.backend = self.open()
            self._handles.add(backend)
        try:
            return question(backend)
        except (StorageError, Refusal):  # the handle is in order
            raise
        except Exception:
            self._mine.backend = None  # whatever state it is in
            self._handles.discard(backend)
            backend.close()
            raise
