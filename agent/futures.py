"""Calls in threads: `task.submit(...)` and `task.map(...)`. Loaded on first use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from threading import Lock
from typing import Any

_depth: ContextVar[int] = ContextVar("holter_depth", default=0)
_pools: list[
    ThreadPoolExecutor
] = []  # by depth: who submits from inside a pool and waits must not hold a place in it


def submit(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
    """Run `call` in a thread pool of the process with this context's run as its parent.

    Futures among the arguments are waited for, in the pool, and replaced by their results. A coroutine function
    runs in an event loop of its own.
    """
    depth = _depth.get()
    context = copy_context()
    context.run(_depth.set, depth + 1)
    return _pool(depth).submit(context.run, _resolved, call, args, kwargs)


def map_rows(
    call: Callable[..., Any], columns: tuple[Iterable[Any], ...], constants: dict[str, Any]
) -> list[Future[Any]]:
    """Submit one call for each row. Raises ValueError where the columns differ in length."""
    return [submit(call, *row, **constants) for row in zip(*columns, strict=True)]


def _resolved(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = call(*map(_value, args), **{name: _value(value) for name, value in kwargs.items()})
    if hasattr(result, "__await__"):
        import asyncio

        return asyncio.run(_awaited(result))
    return result


async def _awaited(result: Any) -> Any:
    return await result


def _value(value: Any) -> Any:
    return value.result() if isinstance(value, Future) else value


def _pool(depth: int) -> ThreadPoolExecutor:
    with _growing:
        while len(_pools) <= depth:
            _pools.append(ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4), f"holter-{depth}"))
    return _pools[depth]


def _forget() -> None:
    """A forked child has the objects but not their threads."""
    global _growing
    _growing = Lock()
    _pools.clear()


_growing = Lock()
os.register_at_fork(after_in_child=_forget)
