"""The executors that carry what is submitted: the threads of this process, and what is known of others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import ContextVar
from threading import Lock
from typing import Any

from .crews import employer

_depth: ContextVar[int] = ContextVar("holter_depth", default=0)
# By depth: who submits from inside a pool and waits must not hold a place in it.
_pools: list[ThreadPoolExecutor] = []
_clerk: ThreadPoolExecutor | None = None


def default_pool() -> Executor:
    depth = _depth.get()
    with _growing:
        while len(_pools) <= depth:
            _pools.append(ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4), f"holter-{depth}"))
    return _pools[depth]


def go_deeper() -> None:
    """What a submitted call submits itself is carried by threads of the next depth, whatever carries the call: an
    executor of two places cannot carry two calls that wait for two more."""
    _depth.set(_depth.get() + 1)
    employer.set(None)


def soon(then: Callable[[], None]) -> None:
    """Call `then` in a thread that holds no lock of anybody."""
    global _clerk
    with _growing:
        if _clerk is None:
            _clerk = ThreadPoolExecutor(1, "holter-clerk")
        clerk = _clerk
    try:
        clerk.submit(then)
    except RuntimeError:  # the interpreter ends: no thread may begin anything
        then()


def needs_pickles(executor: Executor) -> bool:
    """Whether it is the standard library's for processes, which must not be given what cannot be pickled."""
    processes = sys.modules.get("concurrent.futures.process")
    return processes is not None and isinstance(executor, processes.ProcessPoolExecutor)


def takes_names(executor: Executor) -> bool:
    """Whether its workers have the `__main__` of this process: those of `multiprocessing` do, if it is a file."""
    main: Any = sys.modules.get("__main__")
    return needs_pickles(executor) and getattr(main, "__file__", None) is not None


def _forget() -> None:
    """A forked child has the objects but not their threads."""
    global _growing, _clerk
    _growing = Lock()
    _clerk = None
    _pools.clear()


_growing = Lock()
os.register_at_fork(after_in_child=_forget)
