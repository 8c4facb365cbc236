"""Calls in threads: `task.submit(...)` and `task.map(...)`. Loaded on first use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

_pool: ThreadPoolExecutor | None = None


def submit(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
    """Run `call` in the process's thread pool with this context's run as its parent.

    Futures among the arguments are waited for, in the pool, and replaced by their results. A coroutine function
    runs in an event loop of its own.
    """
    return _executor().submit(copy_context().run, _resolved, call, args, kwargs)


def map_rows(call: Callable[..., Any], columns: tuple[Iterable[Any], ...], constants: dict[str, Any]) -> list[Future[Any]]:
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


def _executor() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max_workers=min(32, (os.cpu_count() or 1) + 4), thread_name_prefix="holter")
    return _pool


def _forget() -> None:
    """A forked child has the object but not its threads."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget)
