"""Worker processes: however early they are told to stop, none is left and nobody waits for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import os, signal, sys, threading
from holter.agent.web.workers import run_workers

def work():
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    try:
        os.mkdir(sys.argv[1])
    except FileExistsError:
        pass
    else:
        os.kill(os.getppid(), signal.SIGTERM)  # while the others are being started
    ended.wait()
    return 0

run_workers(8, work)
"""


def test_a_stop_that_comes_while_workers_are_being_started_stops_them_all(tmp_path: Path) -> None:
    for attempt in range(5):
        command = [sys.executable, "-c", CODE, str(tmp_path / str(attempt))]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                _, said = process.communicate(timeout=10)
            finally:
                process.kill()  # its workers end with it
        assert (process.returncode, said) == (0, b"")
