"""A failure of the machine is no failure of the test, and no failure of a test is one of the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = """
import pathlib, time

def test_that_fails_the_first_time(tmp_path):
    tries = pathlib.Path(__file__).with_suffix(".tries")
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    time.sleep(1)
    assert len(tries.read_text()) > 1
"""


@pytest.mark.long
@pytest.mark.parametrize("still", [True, False])
def test_only_what_failed_while_the_machine_stood_still_is_repeated(tmp_path: Path, still: bool) -> None:
    tests, out = tmp_path / "tests", tmp_path / "out.txt"
    tests.mkdir()
    (tests / "test_it.py").write_text(TESTS)
    for name in ("conftest.py", "prove.py", "standstill.py"):
        (tests / name).write_text((Path(__file__).parents[1] / name).read_text())
    command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "--rootdir=.", "-n0", "tests"]
    with out.open("w") as file:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=file, start_new_session=True)
    while not (tests / "test_it.tries").exists():
        assert process.poll() is None, out.read_text()
        time.sleep(0.05)
    if still:
        os.killpg(process.pid, signal.SIGSTOP)  # all of it: the test, and who watches the machine
        time.sleep(3.5)
        os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(60) == (0 if still else 1), out.read_text()
    assert ("repeated, the machine stood still for" in out.read_text()) is still
