"""Futures of submitted tasks. They end with a state, so that a failed task can be asked for its exception."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from .states import State

R = TypeVar("R")
Inner = concurrent.futures.Future


class PrefectFuture(Generic[R]):
    """What `task.submit()` gives: `wait()`, `result()`, `state`, `task_run_id`."""

    def __init__(self, call: Any, inner: Inner[State]) -> None:
        self._call = call
        self.inner = inner

    @property
    def task_run_id(self) -> str:
        return str(self._call.run.id)

    @property
    def state(self) -> State:
        return self.inner.result() if self.inner.done() else self._call.run.state

    def wait(self, timeout: float | None = None) -> None:
        """Until it has ended, or for `timeout` seconds: then it returns all the same."""
        concurrent.futures.wait([self.inner], timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """What the task returned, once it has. Raises TimeoutError after `timeout` seconds."""
        try:
            state = self.inner.result(timeout)
        except TimeoutError:
            raise TimeoutError(
                f"Task run {self.task_run_id} did not complete within {timeout} seconds"
            ) from None
        return state.result(raise_on_failure)  # type: ignore[no-any-return]

    async def wait_async(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - Prefect's
        import asyncio

        await asyncio.wait([asyncio.wrap_future(self.inner)], timeout=timeout)

    async def result_async(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:  # noqa: ASYNC109
        await self.wait_async(timeout)
        return self.result(0 if timeout is not None else None, raise_on_failure)

    def add_done_callback(self, fn: Callable[[PrefectFuture[R]], object]) -> None:
        self.inner.add_done_callback(lambda _: fn(self))


PrefectConcurrentFuture = PrefectDistributedFuture = PrefectFuture


class PrefectFutureList(list[PrefectFuture[R]]):
    """What `task.map()` gives."""

    def wait(self, timeout: float | None = None) -> None:
        wait(self, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """All results, in order. Raises TimeoutError unless all come within `timeout` seconds, together."""
        concurrent.futures.wait([each.inner for each in self], timeout)
        return [each.result(None if timeout is None else 0, raise_on_failure) for each in self]


class DoneAndNotDoneFutures(NamedTuple):
    """Both are sets."""

    done: set[PrefectFuture[Any]]
    not_done: set[PrefectFuture[Any]]


def wait(futures: Iterable[PrefectFuture[Any]], timeout: float | None = None) -> DoneAndNotDoneFutures:
    """Until all have ended, or for `timeout` seconds."""
    all_of_them = list(futures)
    concurrent.futures.wait([each.inner for each in all_of_them], timeout)
    done = {each for each in all_of_them if each.inner.done()}
    return DoneAndNotDoneFutures(done, set(all_of_them) - done)


def as_completed(
    futures: Iterable[PrefectFuture[R]], timeout: float | None = None
) -> Iterator[PrefectFuture[R]]:
    """Each of them as it ends. Raises TimeoutError if some have not after `timeout` seconds."""
    by_inner = {each.inner: each for each in futures}
    for inner in concurrent.futures.as_completed(by_inner, timeout):
        yield by_inner[inner]


def resolve_futures_to_states(value: Any) -> Any:
    """The value with each future in it, also in lists, tuples, sets and dicts, replaced by its state."""
    return replaced(value, lambda found: found.inner.result() if isinstance(found, PrefectFuture) else found)


def resolve_futures_to_results(value: Any) -> Any:
    """As `resolve_futures_to_states`, by its result. Raises the exception of one that failed."""
    return replaced(value, lambda found: found.result() if isinstance(found, PrefectFuture) else found)


ATOMS = (str, bytes, int, float, bool, type(None))


def replaced(value: Any, replace: Callable[[Any], Any]) -> Any:
    """The value after `replace` had each leaf of it. What holds nothing that changed is the same object."""
    if type(value) in ATOMS:
        return value
    if isinstance(value, list | tuple | set | frozenset):
        new = [replaced(each, replace) for each in value]
        if all(a is b for a, b in zip(new, value)):
            return value
        if hasattr(value, "_fields"):  # a named tuple
            return type(value)(*new)
        return (list if isinstance(value, list) else type(value))(new)
    if isinstance(value, dict):
        items = {key: replaced(each, replace) for key, each in value.items()}
        return value if all(items[key] is each for key, each in value.items()) else items
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return _dataclass(value, replace)
    return replace(value)


def _dataclass(value: Any, replace: Callable[[Any], Any]) -> Any:
    from dataclasses import fields
    from dataclasses import replace as remade

    old = {field.name: getattr(value, field.name, None) for field in fields(value) if field.init}
    new = {name: replaced(each, replace) for name, each in old.items()}
    changed = {name: each for name, each in new.items() if each is not old[name]}
    return remade(value, **changed) if changed else value
