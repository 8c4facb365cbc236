"""The metrics page in its three ways, linted by Prometheus's own tool."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .collecting import Collector

ROOT = Path(__file__).parents[2]
JOB = """
    import os, signal, sys
    from holter import concurrency, flow

    @flow(schedule="every 10m", grace="1m")
    def etl(how):
        with concurrency("database"):
            if how == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            1 / (how != "fail")

    etl(sys.argv[1])
"""


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool: apt-get install prometheus")
    return found


@pytest.fixture
def busy(host: Any) -> Any:
    """A host on which something has been going on since metrics were asked for."""
    host.settings("limits: {database: 2}")
    assert host.holter("metrics").code == 0
    for how in ("work", "fail", "die"):
        host.run(host.script(JOB), how)
    host.holter("run", "--name", 'odd "name" \\ of\na job', "--", "true")
    return host


def read(page: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def fetch(url: str, token: str = "") -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urlopen(Request(url, headers=headers), timeout=20) as answer:  # noqa: S310 - our own
        return str(answer.read().decode())


def test_the_page_passes_the_linter_and_tells_what_happened(busy: Any, promtool: str) -> None:
    page = busy.holter("metrics").out
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    found = read(page)
    counts = {
        labels["state"]: value for labels, value in found["holter_runs_ended_total"] if labels["job"] == "etl"
    }
    assert counts == {"completed": 1, "failed": 1, "crashed": 1}
    assert 'odd "name" \\ of\na job' in {labels["job"] for labels, _ in found["holter_job_well"]}
    assert found["holter_slots"] == [({"limit": "database", "scope": "host"}, 2)]
    assert ({"project": "default", "job": "etl", "kind": "flow", "event": "crashed"}, 1) in found[
        "holter_job_problem"
    ]


def test_the_rules_and_the_examples_of_docs_are_valid(promtool: str) -> None:
    rules = ROOT / "docs" / "holter-rules.yml"
    done = subprocess.run(
        [promtool, "check", "rules", str(rules)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "SUCCESS: 6 rules found" in done.stdout) == (0, True), done.stdout + done.stderr


RULE_TESTS = """
rule_files: [RULES]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'holter_job_well{project="p",job="etl",kind="flow"}', values: "1 1 0x20"}
      - {series: 'holter_job_lateness_seconds{project="p",job="etl",kind="flow"}', values: "0 0 60+60x20"}
      - {series: 'holter_watchdog_up{host="a"}', values: "1x20"}
      - {series: 'holter_watchdog_up{host="b"}', values: "0x20"}
      - {series: 'holter_channels_broken', values: "0x30"}
    alert_rule_test:
      - {eval_time: 1m, alertname: HolterJobInTrouble}
      - eval_time: 10m
        alertname: HolterJobInTrouble
        exp_alerts:
          - exp_labels: {severity: warning, project: p, job: etl, kind: flow}
            exp_annotations:
              summary: "etl of p is not well"
              description: "`holter status` says what is wrong, `holter explain last:etl` why."
      - {eval_time: 10m, alertname: HolterNobodyWatches}
      - {eval_time: 10m, alertname: HolterAlertsDoNotArrive}
  - interval: 1m
    input_series: [{series: 'holter_watchdog_up{host="a"}', values: "1 1 0x20"}]
    alert_rule_test:
      - eval_time: 10m
        alertname: HolterNobodyWatches
        exp_alerts:
          - exp_labels: {severity: critical}
            exp_annotations: {summary: "no watchdog watches: nobody would be told of a death"}
"""


def test_the_rules_fire_when_they_should_and_not_before(promtool: str, tmp_path: Path) -> None:
    test = tmp_path / "tests.yml"
    test.write_text(RULE_TESTS.replace("RULES", str(ROOT / "docs" / "holter-rules.yml")))
    done = subprocess.run(
        [promtool, "test", "rules", str(test)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_textfile_is_replaced_whole_and_a_folder_that_is_not_there_is_one_line(host: Any) -> None:
    host.holter("run", "--name", "etl", "--", "true")
    folder = host.home / "textfiles"
    folder.mkdir()
    target = folder / "holter.prom"
    for _ in range(2):
        done = host.holter("metrics", "--output", str(target))
        assert (done.code, done.out, done.err) == (0, "", "")
        assert [each.name for each in folder.iterdir()] == ["holter.prom"]
        assert target.stat().st_mode & 0o777 == 0o644
        assert "holter_job_well" in read(target.read_text())
    done = host.holter("metrics", "--output", str(folder / "no" / "where.prom"))
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "cannot write" in done.err


def test_the_watchdog_serves_metrics_on_a_port_of_loopback(host: Any, until: Any) -> None:
    with host.watching("--metrics-port", "0") as dog:
        (url,) = until(lambda: re.findall(r"metrics at (\S+)", host.watch_log), "it says where")
        found = read(fetch(url))
        assert [value for _, value in found["holter_watchdog_up"]] == [1]
        dog.send_signal(signal.SIGTERM)
        assert dog.wait(30) == 0
    assert host.holter("watch", "--once", "--metrics-port", "0").code == 2


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made.start()
    made.close()


def test_the_collector_asks_for_a_token_that_may_read_once_there_is_one(
    collector: Collector, new_host: Any
) -> None:
    here = new_host(f"sqlite:///{collector.home}/collector.db")
    here.run(here.script(JOB), "work")
    url = f"{collector.url}/metrics"
    assert "holter_job_well" in read(fetch(url))
    ingest, reader, bound = (
        here.holter("token", "new", *options).out.strip()
        for options in (["--ingest"], ["--read"], ["--read", "--project", "other"])
    )
    for token, status in (("", 401), (ingest, 403)):
        with pytest.raises(HTTPError) as caught:
            fetch(url, token)
        assert caught.value.code == status
        caught.value.close()
    assert "holter_job_well" in read(fetch(url, reader))
    assert set(read(fetch(url, bound))) == {"holter_jobs_left_out", "holter_build_info"}
