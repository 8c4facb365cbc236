"""A job that was learned from its first run, and that does not come again: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from holter.agent.watchdog.incidents import open_incidents
from holter.backends.urls import open_backend

JOB = """
from holter import flow

@flow(schedule="every 1s", grace="500ms")
def tick():
    pass

tick()
"""


def test_a_job_that_does_not_come_again_is_missed_until_it_is_paused(tmp_path: Path) -> None:
    env = {**os.environ, "HOLTER_HOME": str(tmp_path / "home")}
    script = tmp_path / "tick.py"
    script.write_text(JOB)
    subprocess.run([sys.executable, str(script)], env=env, check=True, timeout=30)
    watching = subprocess.Popen([sys.executable, "-m", "holter", "watch"], env=env, stderr=subprocess.DEVNULL)
    try:
        store = open_backend("sqlite:///holter.db", str(tmp_path / "home"))
        end, events = time.monotonic() + 20, []
        while events != ["missed"] and time.monotonic() < end:
            events = [each.event for each in open_incidents(store)]
            time.sleep(0.05)
        assert events == ["missed"]
        status = [sys.executable, "-m", "holter", "status"]
        said = subprocess.run(status, env=env, capture_output=True, text=True, timeout=30, check=False)
        assert (said.returncode, "missed" in said.stdout) == (1, True)
        pause = [sys.executable, "-m", "holter", "checks", "pause", "tick"]
        subprocess.run(pause, env=env, check=True, timeout=30, stdout=subprocess.DEVNULL)
        while events and time.monotonic() < end:
            events = [each.event for each in open_incidents(store)]
            time.sleep(0.05)
        assert events == []
        store.close()
    finally:
        watching.send_signal(signal.SIGTERM)
        watching.wait(20)
