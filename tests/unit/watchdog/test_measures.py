"""What monitoring systems are told, and that nothing of it is counted twice, lost, or without bounds."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from holter.agent.exposition import text
from holter.agent.settings import Check, Limit, Settings, load
from holter.agent.watchdog import counting, measures, pulse
from holter.agent.watchdog.counting import count
from holter.agent.watchdog.metrics_port import MetricsPort
from holter.agent.watchdog.tidy import forget_documents
from holter.backends.base import Backend
from holter.backends.errors import HolterError
from holter.backends.queries import Retention

from .conftest import HandSetClock, Scribe

ETL = {"project": "default", "job": "etl", "kind": "flow"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(str(tmp_path), {})


def read(store: Backend, settings: Settings, clock: HandSetClock, **only: str) -> dict[str, list[Any]]:
    """The page as the official parser reads it: samples by their names."""
    page = text(measures.measures(store, settings, clock.wall(), **only))
    found: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def ended(store: Backend, clock: HandSetClock) -> dict[str, int]:
    """How often each job ended, whichever way."""
    return {each.job: sum(each.states.values()) for each in count(store, clock.wall())}


# --- counts ----------------------------------------------------------------------------------------------------


def test_counts_begin_when_somebody_asks_and_outlive_the_runs(
    store: Backend, scribe: Scribe, clock: HandSetClock
) -> None:
    scribe.ran("r0", "COMPLETED")
    clock.now += 10
    assert count(store, clock.now) == []
    clock.now += 10
    scribe.ran("r1", "COMPLETED", seconds=3.0)
    scribe.ran("r2", "FAILED")
    (found,) = count(store, clock.now)
    assert (found.job, found.states, found.seconds) == ("etl", {"COMPLETED": 1, "FAILED": 1}, 3.0)
    store.prune(Retention(clock.now + 9, clock.now + 9, clock.now + 9))
    scribe.ran("r3", "COMPLETED", seconds=700.0)
    (found,) = count(store, clock.now)
    assert (found.states, found.seconds) == ({"COMPLETED": 2, "FAILED": 1}, 703.0)
    assert [bound for bound, number in zip(counting.BOUNDS, found.spans, strict=False) if number] == [
        5.0,
        1800.0,
    ]


def test_only_root_runs_count_and_an_ending_that_is_corrected_counts_once(
    store: Backend, scribe: Scribe, clock: HandSetClock
) -> None:
    count(store, clock.now)
    clock.now += 1
    scribe.start("r1")
    scribe.start("r1.1", "step", "task")
    scribe.end("r1.1", "COMPLETED")
    scribe.condition("r1", "overdue")
    scribe.crash("r1")
    scribe.end("r1", "COMPLETED")
    (found,) = count(store, clock.now)
    assert (found.job, found.states) == ("etl", {"CRASHED": 1})


def test_any_number_that_counts_at_once_counts_each_ending_once(
    open_store: Callable[[], Backend], clock: HandSetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_PAGE", 7)
    count(open_store(), clock.now)
    scribe = Scribe(open_store(), clock)
    clock.now += 1
    over = threading.Event()
    problems: list[BaseException] = []

    def go(store: Backend) -> None:
        try:
            while not over.is_set():
                count(store, clock.now)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=go, args=(open_store(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        scribe.ran(f"r{number}", "COMPLETED", name=f"job{number % 3}")
    over.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert ended(open_store(), clock) == {"job0": 20, "job1": 20, "job2": 20}


def test_one_that_dies_between_the_counts_and_the_cursor_is_repeated_without_effect(
    store: Backend, scribe: Scribe, clock: HandSetClock
) -> None:
    count(store, clock.now)
    clock.now += 1
    scribe.ran("r1")
    before = store.get(*counting.CURSOR)
    assert ended(store, clock) == {"etl": 1}
    after = store.get(*counting.CURSOR)
    assert before is not None
    assert after is not None
    store.put(*counting.CURSOR, before.value, after.version)
    assert ended(store, clock) == {"etl": 1}


def test_a_long_backlog_is_worked_off_over_several_calls(
    store: Backend, scribe: Scribe, clock: HandSetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_PAGE", 4)
    monkeypatch.setattr(counting, "_RUNS", 5)
    count(store, clock.now)
    clock.now += 1
    for number in range(20):
        scribe.ran(f"r{number}")
    found = [ended(store, clock)["etl"] for _ in range(5)]
    assert found == sorted(found)
    assert (found[0] < 10, found[-1]) == (True, 20)


def test_jobs_beyond_the_bound_are_counted_together_and_shown_no_more(
    store: Backend, settings: Settings, scribe: Scribe, clock: HandSetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (counting, measures):
        monkeypatch.setattr(module, "JOBS", 3)
    count(store, clock.now)
    for number in range(5):
        clock.now += 1
        scribe.ran(f"r{number}", name=f"job{number}")
    assert ended(store, clock) == {"job0": 1, "job1": 1, "job2": 1, "others": 2}
    found = read(store, settings, clock)
    assert {labels["job"] for labels, _ in found["holter_job_well"]} == {"job2", "job3", "job4"}
    assert found["holter_jobs_left_out"] == [({}, 2)]


def test_counts_of_a_job_that_is_long_gone_are_forgotten(
    store: Backend, settings: Settings, scribe: Scribe, clock: HandSetClock
) -> None:
    count(store, clock.now)
    clock.now += 1
    scribe.ran("r1")
    count(store, clock.now)
    clock.now += 89 * 86400
    assert forget_documents(store, settings, clock) == 0
    clock.now += 2 * 86400
    assert forget_documents(store, settings, clock) == 1
    assert counting.counted(store) == []


# --- the page --------------------------------------------------------------------------------------------------


def test_a_job_is_told_as_it_is_judged(
    store: Backend, settings: Settings, scribe: Scribe, clock: HandSetClock
) -> None:
    read(store, settings, clock)
    clock.now += 1
    check = {"schedule": "every 10m", "grace": 60.0}
    scribe.start("r1", check=check)
    scribe.end("r1", "COMPLETED", seconds=4.0)
    done = clock.now
    clock.now += 605
    found = read(store, settings, clock)
    assert found["holter_job_well"] == [(ETL, 1)]
    assert found["holter_job_lateness_seconds"] == [(ETL, 0)]  # within its grace
    assert found["holter_job_last_success_timestamp_seconds"] == [(ETL, done)]
    assert found["holter_job_last_duration_seconds"] == [(ETL, 4.0)]
    assert found["holter_job_next_start_timestamp_seconds"] == [(ETL, done + 600)]
    clock.now = done + 700
    found = read(store, settings, clock)
    assert found["holter_job_well"] == [(ETL, 0)]
    assert found["holter_job_problem"] == [({**ETL, "event": "late"}, 1)]
    assert found["holter_job_lateness_seconds"] == [(ETL, 100)]
    scribe.start("r2", check=check)
    found = read(store, settings, clock)
    assert found["holter_runs_open"] == [({**ETL, "state": "running"}, 1)]
    assert found["holter_job_last_start_timestamp_seconds"] == [(ETL, clock.now)]
    scribe.end("r2", "FAILED")
    found = read(store, settings, clock)
    assert found["holter_runs_ended_total"] == [
        ({**ETL, "state": "completed"}, 1),
        ({**ETL, "state": "failed"}, 1),
    ]
    assert found["holter_run_duration_seconds_sum"] == [(ETL, 4.0)]
    assert found["holter_job_problem"] == [({**ETL, "event": "failed"}, 1)]


def test_no_sample_is_there_twice_whatever_the_jobs_are_called(
    store: Backend, settings: Settings, scribe: Scribe, clock: HandSetClock
) -> None:
    """A Prometheus that meets one refuses the whole page."""
    settings.checks["etl"] = settings.checks["never"] = Check(schedule="@daily")
    read(store, settings, clock)
    clock.now += 1
    for number, (kind, project) in enumerate([("flow", "shop"), ("command", "shop"), ("flow", "bank")]):
        scribe.start(f"r{number}", kind=kind, project=project)
        scribe.end(f"r{number}", "COMPLETED", seconds=1.0)
        scribe.start(f"s{number}", kind=kind, project=project)
    for name, values in read(store, settings, clock).items():
        labels = [tuple(sorted(labels.items())) for labels, _ in values]
        assert len(set(labels)) == len(labels), name


def test_who_may_see_one_project_is_told_of_its_jobs_and_of_nothing_else(
    store: Backend, settings: Settings, scribe: Scribe, clock: HandSetClock
) -> None:
    pulse.beat(store, clock.now, started_at=clock.now)
    count(store, clock.now)
    clock.now += 1
    scribe.start("r1", project="shop")
    scribe.end("r1")
    scribe.ran("r2", name="other")
    found = read(store, settings, clock, project="shop")
    assert {labels.get("job") for values in found.values() for labels, _ in values} == {"etl", None}
    assert {name for name in found if not name.startswith(("holter_job", "holter_run"))} == {
        "holter_build_info"
    }
    assert [labels["job"] for labels, _ in found["holter_runs_ended_total"]] == ["etl"]


def test_slots_and_watchdogs_are_told(store: Backend, settings: Settings, clock: HandSetClock) -> None:
    settings.limits["db"] = Limit(3)
    pulse.beat(
        store, clock.now, started_at=clock.now, about={"passes": {"seconds": 0.25, "errors": {"x": "y"}}}
    )
    found = read(store, settings, clock)
    db = {"limit": "db", "scope": "host"}
    assert [found[f"holter_slots{each}"] for each in ("", "_held", "_waiting")] == [
        [(db, 3)],
        [(db, 0)],
        [(db, 0)],
    ]
    assert [value for _, value in found["holter_watchdog_up"]] == [1]
    assert [value for _, value in found["holter_watchdog_pass_seconds"]] == [0.25]
    assert [value for _, value in found["holter_watchdog_failing_steps"]] == [1]
    clock.now += 3600
    assert [value for _, value in read(store, settings, clock)["holter_watchdog_up"]] == [0]


# --- the port --------------------------------------------------------------------------------------------------


def test_the_port_serves_the_page_to_this_host_and_nothing_else(settings: Settings) -> None:
    port = MetricsPort(lambda: settings, 0)
    try:
        base = f"http://127.0.0.1:{port.port}"
        with urlopen(f"{base}/metrics", timeout=10) as answer:  # noqa: S310 - our own
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"holter_build_info" in answer.read()
        refused = {f"{base}/": 404, f"{base}/metrics": 403}
        for (url, status), host in zip(
            refused.items(), (f"127.0.0.1:{port.port}", "evil.example"), strict=True
        ):
            with pytest.raises(HTTPError) as caught:
                urlopen(Request(url, headers={"Host": host}), timeout=10)  # noqa: S310 - our own
            assert caught.value.code == status
            caught.value.close()
        with pytest.raises(HolterError, match="cannot listen on"):
            MetricsPort(lambda: settings, port.port)
    finally:
        port.close()


def test_a_store_that_is_away_is_an_answer_too(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "holter.db").mkdir()
    port = MetricsPort(lambda: settings, 0)
    try:
        with pytest.raises(HTTPError) as caught:
            urlopen(f"http://127.0.0.1:{port.port}/metrics", timeout=10)
        assert caught.value.code == 503
        caught.value.close()
    finally:
        port.close()


# --- what is in docs -------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[3]


def metrics_there_are() -> set[str]:
    plain = set(re.findall(r'"(holter_\w+)"', Path(measures.__file__).read_text()))
    return plain | {f"holter_run_duration_seconds_{part}" for part in ("bucket", "sum", "count")}


def test_the_dashboard_the_rules_and_the_page_of_docs_name_metrics_that_there_are() -> None:
    board = json.loads((ROOT / "docs/grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    texts = [*asked, (ROOT / "docs/holter-rules.yml").read_text()]
    named = {name for each in texts for name in re.findall(r"holter_\w+", each)}
    documented = set(re.findall(r"`(holter_\w+)`", (ROOT / "docs/prometheus.md").read_text()))
    assert named <= metrics_there_are()
    assert documented <= metrics_there_are()
    assert metrics_there_are() - documented == {
        f"holter_run_duration_seconds_{part}" for part in ("bucket", "sum", "count")
    }
