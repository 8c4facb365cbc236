"""Several worker processes on one listening socket; one that dies is replaced, and none outlives the first process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from loguru import logger

# Before a worker is replaced: one that cannot live must not be started a thousand times a second.
AGAIN_SECONDS = 1.0
STOPPING = (signal.SIGINT, signal.SIGTERM)


def run_workers(count: int, work: Callable[[], int]) -> int:
    """Fork `count` processes that `work`, until SIGINT or SIGTERM; both reach them as SIGTERM. Returns 0, or the code
    of a worker that ended without being asked before any had served for AGAIN_SECONDS."""
    crew: set[int] = set()
    stopping = threading.Event()
    lifeline = os.pipe()  # its writing end closes when the first process dies, however it dies

    def stop(number: int, frame: object) -> None:
        stopping.set()
        for pid in crew:
            with suppress(ProcessLookupError):  # it was waited for a moment ago
                os.kill(pid, signal.SIGTERM)

    def hire() -> None:
        """With signals held back: a worker that nobody has on a list would never be told to stop."""
        held = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            if not stopping.is_set():
                crew.add(_fork(work, lifeline))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    for number in STOPPING:
        signal.signal(number, stop)
    began = time.monotonic()
    for _ in range(count):
        hire()
    code = 0
    while crew:
        pid, status = os.wait()
        crew.discard(pid)
        if stopping.is_set():
            continue
        if time.monotonic() - began < AGAIN_SECONDS:
            code = code or os.waitstatus_to_exitcode(status) or 1
            stop(0, None)
            continue
        logger.warning("worker {} ended (status {}): another takes its place", pid, status)
        time.sleep(AGAIN_SECONDS)
        hire()
    return code


def _fork(work: Callable[[], int], lifeline: tuple[int, int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # Systemd hears of each worker, not of who waits for them.
        if os.environ.get("WATCHDOG_PID") == str(os.getppid()):
            os.environ["WATCHDOG_PID"] = str(os.getpid())
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not to the others, in the first process's name
        # of the terminal; the first process passes on what counts
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        os.close(lifeline[1])
        threading.Thread(target=_await_end, args=(lifeline[0],), daemon=True).start()
        code = work()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _await_end(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
