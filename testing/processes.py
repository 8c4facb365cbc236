"""Children of the test process: they use the store as any process would, and some are killed."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def child(work: Callable[[], object]) -> int:
    """Fork a process that does `work` and exits 0, or 1 after an error, which it prints. Its pid."""
    with warnings.catch_warnings():  # other tests may have left threads, which a child does not use
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:  # it must never run on into the test runner
            sys.__stderr__.write(f"child: {error!r}\n")  # type: ignore[union-attr]
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """Wait for a child; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def running(work: Callable[[], object]) -> Iterator[int]:
    """A child that is killed at the end, if it is not over by then."""
    pid = child(work)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)


def await_sleep(pid: int, seconds: float = 20.0) -> None:
    """Return once the process lies in `time.sleep` (Linux; elsewhere, and where that cannot be seen, a moment later).

    Python handles a signal that comes just before a sleep only after it; what a signal does to a sleeper is seen so.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.02)
        try:
            with open(f"/proc/{pid}/wchan") as file:
                where = file.read()
        except OSError:
            return
        if "nanosleep" in where or where == "0":
            return
