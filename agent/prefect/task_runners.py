"""Where submitted tasks run: threads by default."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from .futures import PrefectFuture, PrefectFutureList
from .states import State

MANY = 250  # threads of a runner for which nobody named a number


class TaskRunner:
    """One is made for each run of a flow, by `duplicate`, and closed at its end."""

    def __init__(self) -> None:
        self._executor: Executor | None = None

    def duplicate(self) -> TaskRunner:
        raise NotImplementedError

    def _open(self) -> Executor:
        raise NotImplementedError

    def start(self, call: Any) -> PrefectFuture[Any]:
        """Run a prepared call elsewhere."""
        if self._executor is None:
            self._executor = self._open()
        inner: Future[State] = self._executor.submit(copy_context().run, call.what.state_of, call)
        return PrefectFuture(call, inner)

    def submit(
        self, task: Any, parameters: dict[str, Any], wait_for: Any = None, **_: Any
    ) -> PrefectFuture[Any]:
        return self.start(task.call_with(parameters, wait_for))

    def map(self, task: Any, parameters: dict[str, Any], wait_for: Any = None) -> PrefectFutureList[Any]:
        from .parameters import rows

        return PrefectFutureList(self.submit(task, row, wait_for) for row in rows(task.signature, parameters))

    def close(self, *, cancel: bool = False) -> None:
        """All that was submitted is waited for; with `cancel`, only what runs already."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=cancel)
            self._executor = None

    def __enter__(self) -> TaskRunner:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = object.__hash__


class ThreadPoolTaskRunner(TaskRunner):
    """Threads of this process, at most `max_workers`."""

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__()
        if max_workers is not None and max_workers < 1:
            raise ValueError("max_workers must be at least 1")
        self._max_workers = max_workers

    def duplicate(self) -> ThreadPoolTaskRunner:
        return type(self)(self._max_workers)

    def _open(self) -> Executor:
        return ThreadPoolExecutor(self._max_workers or MANY, "holter-prefect")


ConcurrentTaskRunner = ThreadPoolTaskRunner


def __getattr__(name: str) -> Any:
    if name == "ProcessPoolTaskRunner":
        from .far import ProcessPoolTaskRunner

        return ProcessPoolTaskRunner
    if name == "PrefectTaskRunner":
        from .refusals import stand_in

        return stand_in(name, "prefect.task_worker")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def outside() -> TaskRunner:
    """The runner of tasks that no flow submits: the interpreter waits for them at its end."""
    global _outside
    if _outside is None:
        _outside = ThreadPoolTaskRunner()
    return _outside


_outside: TaskRunner | None = None
