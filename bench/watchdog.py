"""`python -m bench.watchdog [--json FILE]`: what a watchdog costs while nothing happens, and how fast it is then.

A home with thousands of live journals (real processes, each with locks on several of them), watched by a real
`holter watch`: its processor time and memory over a quiet minute, and the time until the last of many simultaneous
deaths is a CRASHED run in the store.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from holter.agent.journal import Journal
from holter.agent.tape import header
from holter.agent.watchdog.adopt import catch_up
from holter.backends.base import Backend
from holter.backends.clock import new_id
from holter.backends.lines import encode
from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend

URL = "sqlite:///holter.db"
HEARTBEAT = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.watchdog", description=__doc__)
    parser.add_argument("--processes", type=int, default=1000, help="real ones")
    parser.add_argument("--journals", type=int, default=5, help="of each")
    parser.add_argument("--kill", type=int, default=200, help="processes that die at the same moment")
    parser.add_argument("--seconds", type=float, default=60.0, help="to look at the idle watchdog")
    parser.add_argument("--quiet", action="store_true", help="processes that do not beat")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        figures = measure(home, options)
    print(json.dumps(figures, indent=2))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(home: str, options: argparse.Namespace) -> dict[str, Any]:
    open_backend(URL, home).close()
    crew = [hire(home, options.journals, beats=not options.quiet) for _ in range(options.processes)]
    try:
        store = open_backend(URL, home)
        live = options.processes * options.journals
        wait_for(lambda: len(catch_up(home, store).live) == live, 300)
        with watching(home) as dog:
            time.sleep(options.seconds / 4)
            idle = used_while(dog.pid, options.seconds)
            began = time.perf_counter()
            for pid in crew[: options.kill]:
                os.kill(pid, signal.SIGKILL)
            dead = options.kill * options.journals
            wait_for(lambda: states(store).get("CRASHED", 0) == dead, 300)
            took = time.perf_counter() - began
            time.sleep(5)
            found = states(store)
        store.close()
    finally:
        for pid in crew:
            os.kill(pid, signal.SIGKILL)
        for pid in crew:
            os.waitpid(pid, 0)
    assert found == {"CRASHED": dead, "RUNNING": live - dead}, found
    return {
        "processes": options.processes,
        "journals": live,
        "beats": not options.quiet,
        "idle": idle,
        "deaths at once": {"journals": dead, "seconds until the last is stored": round(took, 2)},
    }


def hire(home: str, journals: int, *, beats: bool) -> int:
    """A process that holds so many journals, with a run in each, and beats until it is killed; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        mine = [
            Journal(f"{home}/journals", header(home, "default", URL, HEARTBEAT if beats else 0.0))
            for _ in range(journals)
        ]
        for each in mine:
            at, run = time.time(), new_id()
            each.write(encode({"event": "start", "run": run, "at": at, "kind": "flow", "name": "job"}))
        time.sleep(os.getpid() % 500 / 100)
        number = 0
        while True:
            time.sleep(HEARTBEAT if beats else 3600)
            number += 1
            for each in mine:
                each.write(encode({"event": "beat", "at": time.time(), "seq": number}))
    finally:
        os._exit(1)


@contextmanager
def watching(home: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "holter", "watch"]
    dog = subprocess.Popen(command, env={**os.environ, "HOLTER_HOME": home}, stderr=subprocess.DEVNULL)
    try:
        yield dog
    finally:
        dog.terminate()
        dog.wait(60)


def states(store: Backend) -> dict[str, int]:
    return {state: n for job in store.summarize(RunQuery()) for state, n in job.by_state.items()}


def wait_for(truth: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not truth():
        if time.monotonic() > end:
            raise TimeoutError("it did not come so far")
        time.sleep(0.02)


def used_while(pid: int, seconds: float) -> dict[str, float]:
    """Processor time in percent of one core, and memory."""
    before = cpu(pid)
    time.sleep(seconds)
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    rss, peak = (int(status.partition(f"{name}:")[2].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return {
        "seconds": seconds,
        "percent of a core": round(100 * (cpu(pid) - before) / seconds, 2),
        "rss_mb": round(rss, 1),
        "peak_mb": round(peak, 1),
    }


def cpu(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    raise SystemExit(main())
