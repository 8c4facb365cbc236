"""A process that is stopped (SIGSTOP) just before its n-th call to the file system, and goes on when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Host, wait_until
from tests.faults.breaking import Breaker, Fault


def state_of(pid: int) -> str:
    """As the kernel says it: R, S, D, T (stopped), Z; "" where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class Paused:
    """A command of this host that stops before its `at`-th call; `stopped` says whether it got so far."""

    def __init__(self, breaker: Breaker, host: Host, command: list[str], at: int, **env: str) -> None:
        trace = breaker.folder / "trace"
        trace.unlink(missing_ok=True)
        fault = breaker.faults(host.home, Fault(at=at, do="stop"), trace)
        self.process: subprocess.Popen[str] = host.spawn(command, **fault, **env)
        wait_until(lambda: self.process.poll() is not None or state_of(self.process.pid) == "T", "the stop")
        self.stopped = self.process.poll() is None

    def go_on(self) -> tuple[int, str, str]:
        """Exit code and streams."""
        self.process.send_signal(signal.SIGCONT)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def pause(pid: int, seconds: float) -> None:
    """Stop a process from outside for so long."""
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


def changes(host: Host, runs: set[str]) -> list[Any]:
    """What the store told of these runs: (run, state, condition), in order."""
    found, after = [], 0
    while page := host.store.transitions(after):
        found += [(each.run_id, each.to_state, each.condition) for each in page if each.run_id in runs]
        after = page[-1].seq
    return found
