"""Clients that others wrote, against `holter serve`: nothing but their host is changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from .collecting import Collector


class Pinged:
    """A collector, and whoever types commands on its host."""

    def __init__(self, collector: Collector, host: Any) -> None:
        self.collector, self.host = collector, host
        self.url = f"{collector.url}/ping"

    def key(self, *options: str) -> str:
        done = self.host.holter("token", "new", "--ping", *options)
        assert done.code == 0, done.err
        return str(done.out.strip())

    def python(self, text: str, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", text, *args], capture_output=True, text=True, timeout=60, check=False
        )

    def runs(self, job: str) -> list[dict[str, Any]]:
        """The oldest first."""
        return list(reversed(self.host.json("runs", "--job", job)))


@pytest.fixture
def pinged(new_host: Any, tmp_path: Path) -> Iterator[Pinged]:
    collector = Collector(tmp_path)
    try:
        yield Pinged(collector.start(), new_host(f"sqlite:///{collector.home}/collector.db"))
    finally:
        collector.close()


def test_curl_in_a_crontab_makes_runs_that_are_judged_like_any_other(pinged: Pinged) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl: apt-get install curl")
    key, uuid = pinged.key("--project", "shop"), pinged.key("--job", "nightly-backup")
    curl = "curl -fsS -m 10 --retry 3"
    lines = f"""
        {curl} '{pinged.url}/{key}/report/start?create=1'; (exit 4); code=$?
        echo 12 rows | {curl} --data-binary @- {pinged.url}/{key}/report/$code
        {curl} -o /dev/null {pinged.url}/{uuid} && {curl} -I {pinged.url}/{uuid}
        curl -sS -w ' %{{http_code}}' {pinged.url}/{key}/nobody
    """
    done = subprocess.run(["sh", "-c", lines], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.startswith("CreatedOK")
    assert done.stdout.endswith("not found 404")
    assert "ping-body-limit: 100000" in done.stdout.lower()
    (report,) = pinged.runs("report")
    assert (report["state"], report["exit_code"], report["project"]) == ("FAILED", 4, "shop")
    assert pinged.host.holter("logs", "last:report").out.endswith(" 12 rows\n")
    assert [run["state"] for run in pinged.runs("nightly-backup")] == ["COMPLETED"] * 2
    status = pinged.host.holter("status")
    assert (status.code, "exit code 4" in status.out) == (1, True)
    assert "None" not in pinged.host.holter("show", "last:nightly-backup").out
    assert key not in pinged.collector.log.read_text()


CONTEXT = """
import sys
from runchecked.health_checked_context import HealthCheckedContext
with HealthCheckedContext(sys.argv[1]) as checked:
    checked.run(["sh", "-c", "echo one; echo two"])
with HealthCheckedContext(sys.argv[1]) as checked:
    checked.run(["sh", "-c", "echo three; exit 3"])
"""
DECORATED = """
import sys
from healthchecks_decorator import healthcheck
@healthcheck(url=sys.argv[1], send_start=True, send_diagnostics=True)
def work(rows):
    return {"rows": 12 // rows}
work(3)
work(0)
"""


def test_runchecked_reports_success_and_failure_with_output(pinged: Pinged) -> None:
    done = pinged.python(CONTEXT, f"{pinged.url}/{pinged.key('--job', 'checked')}")
    assert "Failed to report" not in done.stderr
    good, bad = pinged.runs("checked")
    assert (good["state"], bad["state"], bad["reason"]) == ("COMPLETED", "FAILED", "its client pinged /fail")
    said = [pinged.host.holter("logs", run["id"]).out for run in (good, bad)]
    assert ("two" in said[0], "three" in said[1]) == (True, True)


def test_the_healthchecks_decorator_starts_ends_and_fails_runs(pinged: Pinged) -> None:
    done = pinged.python(DECORATED, f"{pinged.url}/{pinged.key()}/decorated?create=1")
    assert "ZeroDivisionError" in done.stderr
    good, bad = pinged.runs("decorated")
    assert (good["state"], bad["state"]) == ("COMPLETED", "FAILED")
    assert None not in (good["duration_seconds"], bad["duration_seconds"])
    assert "rows=4" in pinged.host.holter("logs", good["id"]).out


@pytest.mark.long
def test_a_client_that_was_killed_leaves_a_run_that_is_overdue_and_later_ones_go_on(
    pinged: Pinged, until: Any
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl: apt-get install curl")
    uuid, rid = pinged.key("--job", "etl"), uuid4()
    script = (
        f"curl -fsS {pinged.url}/{uuid}/start?rid={rid}; kill -9 $$; curl -fsS {pinged.url}/{uuid}?rid={rid}"
    )
    killed = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, check=False)
    assert killed.returncode == -9
    subprocess.run(["curl", "-fsS", f"{pinged.url}/{uuid}"], check=True, capture_output=True, timeout=60)
    assert pinged.host.holter("checks", "add", "etl", "--max-duration", "1s").code == 0
    with pinged.host.watching():
        until(lambda: pinged.runs("etl")[0]["conditions"] == ["overdue"], "the run is overdue")
    hangs, well = pinged.runs("etl")
    assert (hangs["state"], well["state"]) == ("RUNNING", "COMPLETED")
    assert pinged.host.holter("mark", hangs["id"], "FAILED", "--reason", "killed").code == 0
    assert pinged.runs("etl")[0]["state"] == "FAILED"
