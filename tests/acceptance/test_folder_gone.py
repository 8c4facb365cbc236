"""A job's folder is deleted under it, script and all, and the watchdog was started there, too (CR-5)."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from contextlib import suppress
from typing import Any

import pytest

from tests.acceptance.conftest import HOLTER

WORK = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
SCRIPT = f"""
    from holter import flow
    @flow(name="job")
    def job():
        {WORK}
    job()
"""


@pytest.mark.parametrize("how", ["flow", "command"])
def test_of_a_script_whose_folder_is_gone_the_death_is_still_told(
    host: Any, hook: Any, until: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.settings(f"""
        watchdog: {{interval: 0.2}}
        channels: {{hook: {{webhook: "{hook.url}"}}}}
        alerts: [{{on: [crashed], to: [hook]}}]
    """)
    gone = host.folder / "gone"
    gone.mkdir()
    host.script(SCRIPT, "gone/job.py")
    command = {"flow": ["job.py"], "command": ["-c", WORK]}[how]
    wrapper = [*HOLTER, "run", "--name", "job", "--"] if how == "command" else []
    monkeypatch.chdir(gone)
    with host.watching():
        process = host.spawn(
            ["sh", "-c", f"cd {gone}; exec {shlex.join([*wrapper, sys.executable, *command])}"]
        )
        pid = int(process.stdout.readline())
        until(lambda: host.seen(), "the run")
        shutil.rmtree(gone)
        process.kill()
        until(lambda: hook.taken, "the alert")
        with suppress(ProcessLookupError):  # of a command that outlives `holter run`
            os.kill(pid, signal.SIGKILL)
    assert host.one("job").state == "CRASHED"
    (said,) = [each["alert"] for each in hook.taken]
    assert (said["event"], said["job"]) == ("crashed", "job")
