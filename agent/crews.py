"""What a run has submitted and not yet seen the end of, and the executor that carries it.

A run ends when all that it submitted has ended. Where it fails, what has not started is cancelled; what runs already
is waited for. Where its time is up, or it is interrupted, nothing is waited for, and the worker processes of an
executor that was made for it are ended.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future, wait
from contextvars import ContextVar
from threading import Lock
from typing import Any

from ..backends.errors import RunTimeout
from .active import ActiveRun

LOOK = 0.5  # seconds between looks, in which a deadline that is set on the thread can interrupt the waiting
employer: ContextVar[ActiveRun | None] = ContextVar("holter_employer", default=None)
_making = Lock()


def employ(run: ActiveRun, executor: Any, stack: Any) -> None:
    """What is submitted in this context is carried by `executor`, for as long as `stack` is open."""
    run.executor = executor
    stack.callback(employer.reset, employer.set(run))


def crew_of(run: ActiveRun) -> Crew:
    """The crew of the run's present attempt, made on first use."""
    with _making:
        if run.crew is None:
            run.crew = Crew(run.executor)
        return run.crew


class Crew:
    """`given` is an executor, a function that makes one (which is then closed with the crew), or None."""

    __slots__ = ("futures", "_closed", "_given", "_lock", "_made", "_pid")

    def __init__(self, given: Any) -> None:
        self.futures: set[Future[Any]] = set()
        self._given = given
        self._made: Executor | None = None
        self._lock = Lock()
        self._closed = False
        self._pid = os.getpid()

    def executor(self) -> Executor:
        """The executor. Raises what the function that makes it raises, TypeError where it makes none."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the run whose executor this is has ended")
            if not makes_one(self._given):
                return self._given  # type: ignore[no-any-return]
            if self._made is None:
                made = self._given()
                if not hasattr(made, "submit"):
                    raise TypeError(f"executor: {self._given!r} made {made!r}, which is no Executor")
                self._made = made
            return self._made

    def add(self, future: Future[Any]) -> None:
        self.futures.add(future)
        future.add_done_callback(self.futures.discard)

    def finish(self) -> None:
        """Wait until all has ended, however it ended, and close the executor that was made."""
        if self._is_ours():
            self._wait()
            self._close(wait=True)

    def abandon(self, error: BaseException) -> None:
        """The run failed with `error`: cancel what has not started, wait for the rest unless there is no time."""
        if not self._is_ours():
            return
        self._cancel()
        patient = _patient(error)
        if patient:
            self._wait()
        self._close(wait=patient)

    async def finish_later(self) -> None:
        """`finish`, for a coroutine."""
        if self._is_ours():
            await self._wait_later()
            self._close(wait=True)

    async def abandon_later(self, error: BaseException) -> None:
        """`abandon`, for a coroutine."""
        if not self._is_ours():
            return
        self._cancel()
        patient = _patient(error)
        if patient:
            await self._wait_later()
        self._close(wait=patient)

    def _is_ours(self) -> bool:
        """A forked child has its parent's futures, which never end there."""
        return self._pid == os.getpid()

    def _cancel(self) -> None:
        for future in self.futures.copy():
            future.cancel()

    def _wait(self) -> None:
        while left := self.futures.copy():
            wait(left, timeout=LOOK)

    async def _wait_later(self) -> None:
        import asyncio

        while left := self.futures.copy():
            await asyncio.wait([asyncio.wrap_future(future) for future in left])

    def _close(self, wait: bool) -> None:
        with self._lock:
            self._closed = True
            made, self._made = self._made, None
        if made is None:
            return
        if wait:
            made.shutdown(wait=True)
        else:
            _stop(made)


def _after_fork_in_child() -> None:
    global _making
    _making = Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def makes_one(given: Any) -> bool:
    """Whether it makes executors (a function, a class) and is none itself."""
    return isinstance(given, type) or not hasattr(given, "submit")


def _patient(error: BaseException) -> bool:
    return isinstance(error, Exception | SystemExit) and not isinstance(error, RunTimeout)


def _stop(executor: Any) -> None:
    """End it with the processes that it has started, as far as it tells of them. Threads cannot be ended."""
    if hasattr(executor, "terminate_workers"):  # as of Python 3.14
        return executor.terminate_workers()  # type: ignore[no-any-return]
    workers = list((getattr(executor, "_processes", None) or {}).values())  # shutdown forgets them
    executor.shutdown(wait=False)
    for worker in workers:
        worker.terminate()
