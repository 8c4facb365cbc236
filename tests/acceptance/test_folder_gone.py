"""The job's folder, script and all, is deleted under it, and the watchdog stands in it, too: its death is still told (CR-5)."""

from __future__ import annotations

import os
import shutil
import signal
from typing import Any

import pytest


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
    work = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    script = host.script(
        f"from holter import flow\n@flow(name='job')\ndef job():\n    {work}\njob()\n", "gone/job.py"
    )
    wrapped = f'exec holter run --name job -- python -c "{work}"'
    script.with_suffix(".sh").write_text(wrapped)
    shell = "exec python job.py" if how == "flow" else wrapped
    with monkeypatch.context() as there:
        there.chdir(gone)
        with host.watching():
            there.undo()
            process = host.spawn(["env", "-C", str(gone), "sh", "-c", shell])
            process.stdout.readline()
            until(lambda: host.seen(), "the run")
            shutil.rmtree(gone)
            os.kill(process.pid, signal.SIGKILL)
            until(lambda: hook.taken, "the alert")
            until(lambda: host.seen()[0].state == "CRASHED", "the verdict")
    (said,) = [each["alert"] for each in hook.taken]
    assert (said["event"], said["job"]) == ("crashed", "job")
