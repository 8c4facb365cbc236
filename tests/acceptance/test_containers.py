"""The container example, as far as it can be tried without a container engine: what the files say, and what their
commands do for an unprivileged user in PID namespaces of their own on one HOLTER_HOME."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend

from .conftest import BOUND, wait_until
from .people import SOURCE, Readable, can_be_others

EXAMPLE = Path(__file__).parents[2] / "examples" / "container"
INNER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child"]


def compose() -> dict[str, Any]:
    found = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())
    return dict(found["services"])


def test_both_services_are_one_unprivileged_user_of_one_host_on_one_volume() -> None:
    job, watchdog = compose()["job"], compose()["watchdog"]
    for key in ("user", "hostname", "volumes", "environment"):
        assert job[key] == watchdog[key], key
    assert job["user"] == "10001:10001" and job["cap_drop"] == ["ALL"] and job["read_only"]
    image = (EXAMPLE / "Containerfile").read_text()
    assert "USER 10001:10001" in image and "-o 10001 -g 10001 -m 0700 /holter" in image
    assert f"HOLTER_HOME={job['environment']['HOLTER_HOME']}" in image


def test_the_pods_containers_share_volume_and_user() -> None:
    spec = yaml.safe_load((EXAMPLE / "pod.yaml").read_text())["spec"]["jobTemplate"]["spec"]["template"][
        "spec"
    ]
    (job,), (watchdog,) = spec["containers"], spec["initContainers"]
    assert watchdog["restartPolicy"] == "Always" and watchdog["command"] == compose()["watchdog"]["command"]
    assert job["command"] == compose()["job"]["command"]
    assert job["volumeMounts"] == watchdog["volumeMounts"] and job["env"] == watchdog["env"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that an unprivileged user can enter (that of pytest is not)."""
    folder = Path(tempfile.mkdtemp(prefix="holter-containers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def contained(shared: Path, service: str) -> subprocess.Popen[str]:
    """A service's command in namespaces of its own: PIDs, host name, users, mounts. Who runs it is nobody's root."""
    said = compose()[service]
    readable = Readable(shared / "image")
    names: dict[str, list[str]] = {"python": [], "holter": ["-m", "holter"]}
    command = [readable.python, *names[said["command"][0]], *said["command"][1:]]
    home = shared / "volume" / "home"
    inner = [*INNER, "sh", "-c", f'hostname {said["hostname"]}; exec "$@"', "sh"]
    env = readable.env(**{**said["environment"], "HOLTER_HOME": str(home)})
    if os.geteuid() == 0:
        uid, gid = map(int, said["user"].split(":"))
        os.chown(home.parent, uid, gid)
        full = readable.command(uid, gid, command, before=inner)
    else:
        env["PYTHONPATH"] = os.pathsep.join([str(SOURCE.parent), *filter(None, sys.path)])
        full = [*inner, sys.executable, *command[1:]]
    with (shared / f"{service}.log").open("w") as log:
        return readable.start(full, env, cwd=str(shared / "app"), stdout=log, stderr=log)


def test_a_job_killed_in_its_container_is_crashed_by_the_lock_for_the_watchdog_in_another(
    shared: Path,
) -> None:
    if subprocess.run([*INNER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make user namespaces")
    if os.geteuid() == 0 and (why := can_be_others()):
        pytest.skip(why)
    (shared / "volume").mkdir()
    (shared / "app").mkdir()
    shutil.copy(EXAMPLE / "nightly.py", shared / "app")
    home = shared / "volume" / "home"
    job, watchdog = contained(shared, "job"), contained(shared, "watchdog")
    try:
        wait_until((home / "holter.db").exists, "the watchdog's store")  # made by it, not by us
        store = open_backend("sqlite:///holter.db", str(home))

        def run() -> Any:
            return next(iter(store.runs(RunQuery(kinds=("flow",), limit=1))), None)

        assert wait_until(lambda: (found := run()) and found.state == "RUNNING" and found, "the job's run")
        pulses = wait_until(lambda: store.list("pulse"), "the watchdog's pulse")
        spaces = {each.header["pid"]: each.header["namespace"] for each in store.processes(open_only=False)}
        assert all(pid < 10 for pid in spaces)  # both count their processes from one
        job.send_signal(signal.SIGKILL)
        crashed = wait_until(lambda: (found := run()) and found.state == "CRASHED" and found, "the verdict")
        assert "is gone without a word" in crashed.reason
        assert crashed.host == compose()["job"]["hostname"] and pulses
        assert (home / "holter.db").stat().st_uid == home.stat().st_uid
        assert (home.stat().st_uid == 10001) == (os.geteuid() == 0)
        store.close()
    finally:
        for each in (job, watchdog):
            each.kill()
            each.wait(BOUND)
