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

from holter.backends.records import RunQuery
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
