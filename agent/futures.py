"""`task.submit(...)` and `task.map(...)`: calls beside each other. Loaded on first use.

What they return are `concurrent.futures.Future`s: its `wait`, `as_completed` and asyncio's `wrap_future` take them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import suppress
from contextvars import copy_context
from itertools import repeat
from threading import RLock
from typing import Any, Generic, TypeVar

from . import recorder
from .crews import crew_of, employer
from .errands import Errand, Reply
from .pools import default_pool, go_deeper, needs_pickles, soon, takes_names

T = TypeVar("T")
DEPTH = 4  # of lists, tuples, sets and dicts in each other, so far futures are looked for


class unmapped(Generic[T]):
    """`task.map(rows, unmapped(table))`: the same `table` for every call."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


class allow_failure(Generic[T]):
    """`task.submit(allow_failure(future))`: where that failed, the task is called with the exception instead of not at
    all. In `wait_for`: it has to end, not to succeed."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


class TaskFuture(Future[Any]):
    """A submitted call. It is handed to the executor when all that it waits for has ended.

    Not guaranteed: that `cancel` stops what an executor has begun; `running` is as exact as the executor is.
    """

    def __init__(self, make: Callable[[tuple[Any, ...], dict[str, Any]], Errand], executor: Executor) -> None:
        super().__init__()
        self._make, self._executor = make, executor
        self._sent: Errand | None = None
        self._carried: Future[Any] | None = None  # what the executor returned
        self._gate = RLock()

    def cancel(self) -> bool:
        """Take it back, if it has not begun. Whatever waits for it is cancelled too."""
        with self._gate:
            carried = self._carried
            if carried is not None and not carried.cancel():
                return False
            return self._take_back()

    def running(self) -> bool:
        """Whether it is executing, as far as the executor tells."""
        carried = self._carried
        return carried is not None and not self.done() and carried.running()

    def _take_back(self) -> bool:
        with self._gate:
            if self.cancelled():
                return True
            cancelled = super().cancel()
            if cancelled:
                self.set_running_or_notify_cancel()  # wakes `wait` and `as_completed`
            return cancelled

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What it waited for has ended: hand it over. Whatever goes wrong is its result."""
        try:
            errand = self._sent = self._make(*_settled((args, kwargs)))
            task = errand.packed() if needs_pickles(self._executor) else errand
            with self._gate:
                if self.done():
                    return
                carried = self._carried = self._executor.submit(task)
            carried.add_done_callback(self._arrive)
        except CancelledError:
            self._take_back()
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            self._fail(error)

    def _arrive(self, carried: Future[Any]) -> None:
        try:
            result = carried.result()
            self._succeed(result.open() if isinstance(result, Reply) else result)
        except CancelledError as error:
            if not carried.cancelled() or not self._take_back():
                self._fail(error)
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail(error)
        self._carried = self._sent = None  # they hold arguments and result once more

    def _succeed(self, result: Any) -> None:
        with suppress(InvalidStateError):  # it was cancelled meanwhile
            self.set_result(result)

    def _fail(self, error: BaseException) -> None:
        if self._sent is not None and self._sent.refused is not None:
            error = self._sent.refused
        with suppress(InvalidStateError):
            self.set_exception(error)


def submit(
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: Any = None,
) -> TaskFuture:
    """Hand `call` to the executor of the flow around it, else to the threads of this process, as a part of this
    context's run. Raises what the function raises that makes the executor."""
    run, employing = recorder.current(), employer.get()
    employed = employing is not None and not employing.inherited
    executor = crew_of(employing).executor() if employing is not None and employed else default_pool()
    context = copy_context()
    context.run(go_deeper)
    upstream = [wait_for] if isinstance(wait_for, Future | allow_failure) else list(wait_for or ())
    future = TaskFuture(lambda a, k: Errand(call, a, k, context, not takes_names(executor)), executor)
    if run is not None and not run.inherited:
        crew_of(run).add(future)
    _when_ended(
        [*_futures_in(args), *_futures_in(kwargs), *_futures_in(upstream)],
        lambda: future._begin(args, kwargs) if _let_through(future, upstream) else None,
    )
    return future


def map_rows(
    call: Callable[..., Any],
    columns: tuple[Any, ...],
    constants: dict[str, Any],
    wait_for: Any = None,
) -> list[TaskFuture]:
    """Submit one call for each row. A column may be a future: it is waited for. Raises ValueError where the columns
    differ in length, or none has one."""
    constants = {name: _bare(value) for name, value in constants.items()}
    given = [column.result() if isinstance(column, Future) else column for column in columns]
    lists = [None if isinstance(column, unmapped) else list(column) for column in given]
    lengths = {len(column) for column in lists if column is not None}
    if len(lengths) != 1:
        found = f"have {', '.join(map(str, sorted(lengths)))} items" if lengths else "are all unmapped"
        raise ValueError(f"map() takes columns of one length; these {found}")
    rows = zip(*(repeat(_bare(whole)) if rows is None else rows for whole, rows in zip(given, lists)))
    upstream = [wait_for] if isinstance(wait_for, Future | allow_failure) else list(wait_for or ())
    return [submit(call, row, constants, upstream) for row in rows]


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, unmapped) else value


# --- what a call waits for ---------------------------------------------------------------------------------------


def _futures_in(value: Any, depth: int = DEPTH) -> Iterator[Future[Any]]:
    if isinstance(value, Future):
        yield value
    elif isinstance(value, allow_failure | unmapped):
        yield from _futures_in(value.value, depth)
    elif depth and type(value) in (list, tuple, set, dict):
        for item in value.values() if type(value) is dict else value:
            yield from _futures_in(item, depth - 1)


def _when_ended(futures: list[Future[Any]], then: Callable[[], None]) -> None:
    """Call `then` when all have ended: now, or in a thread of ours, since an executor that breaks calls its futures'
    callbacks while it holds the lock that `submit` takes."""
    waiting = {id(future): future for future in futures if not future.done()}
    if not waiting:
        return then()
    lock, left = RLock(), len(waiting)

    def one_ended(_: Future[Any]) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            soon(then)

    for future in waiting.values():
        future.add_done_callback(one_ended)


def _let_through(future: TaskFuture, upstream: list[Any]) -> bool:
    """Whether what is in `wait_for` succeeded, or may fail; if not, the future fails like that."""
    try:
        _settled(upstream, DEPTH)
    except CancelledError:
        future._take_back()
        return False
    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
        future._fail(error)
        return False
    return True


def _settled(value: Any, depth: int = DEPTH + 1) -> Any:
    """The same with results in the place of futures. Raises the exception of one that failed."""
    if isinstance(value, Future):
        return value.result()
    if isinstance(value, allow_failure):
        return _whatever_came(value.value)
    if isinstance(value, unmapped):
        return _settled(value.value, depth)
    if not _holds_one(value, depth):
        return value
    if type(value) is dict:
        return {key: _settled(item, depth - 1) for key, item in value.items()}
    return type(value)(_settled(item, depth - 1) for item in value)


def _holds_one(value: Any, depth: int) -> bool:
    """Whether there is something to replace in it; else it stays the very object."""
    if isinstance(value, Future | allow_failure | unmapped):
        return True
    if not depth or type(value) not in (list, tuple, set, dict):
        return False
    return any(_holds_one(item, depth - 1) for item in (value.values() if type(value) is dict else value))


def _whatever_came(value: Any) -> Any:
    try:
        return _settled(value)
    except Exception as error:  # noqa: BLE001 - the task asked for it
        return error
