"""Threads of `_thread`: no list shows them, nothing joins or waits for them unless it is told to."""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def in_main_interpreter() -> bool:
    """Whether this is no sub-interpreter: one that has a thread cannot be ended."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # as of Python 3.13, and before
        try:
            interpreters = __import__(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() == interpreters.get_main())
    return True


def start_joinable(function: Callable[[], None]) -> Callable[[float], object]:
    """Start a thread that no list shows; return how to wait, so many seconds, until it is past all Python code.

    A thread that asks for the interpreter once that has begun to end is ended by `pthread_exit`, which aborts the
    process where there is no memory left to load what it needs.
    """
    start = getattr(_thread, "start_joinable_thread", None)
    if start is not None:  # as of Python 3.13
        return start(function, daemon=True).join  # type: ignore[no-any-return]
    ends: list[Any] = []

    def run() -> None:
        ends.append(_thread._set_sentinel())  # type: ignore[attr-defined] # free when the thread is gone
        ends[0].acquire()
        function()

    _thread.start_new_thread(run, ())
    return lambda timeout: ends[0].acquire(timeout=timeout)


def held_lock() -> Any:
    """A lock that is taken: who waits for it waits until somebody releases it."""
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock
