"""History turned into figures, on stores that were written as scripts write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holter.agent.reports import forecast, report, status
from holter.agent.settings import Check, Settings
from holter.backends.base import Backend
from holter.backends.clock import Clock, rfc3339
from holter.backends.lines import encode
from holter.backends.queries import Retention, RunQuery
from holter.backends.urls import open_backend

DAY = 86400.0
NOW = 20_100 * DAY + 12 * 3600  # noon, UTC
AT_TWO = NOW - 10 * 3600


class Diary:
    """Writes runs into a store with the times that a test wants."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._offset, self._count = backend, 0, 0
        self._say({"event": "process", "at": NOW, "host": "web-1", "pid": 42})

    def _say(self, event: dict[str, Any]) -> None:
        self._offset = self._backend.append("j1", self._offset, encode(event))

    def ran(self, at: float, state: str | None = "COMPLETED", name: str = "etl", **facts: Any) -> str:
        took, kind = facts.pop("took", 60.0), facts.pop("kind", "flow")
        self._count += 1
        run = facts.pop("run", f"{self._count:016}")
        self._say({"event": "start", "run": run, "at": at, "kind": kind, "name": name, **facts})
        if state is not None:
            self._say({"event": "end", "run": run, "at": at + took, "state": state, "seconds": took})
        return str(run)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    url = f"memory:{tmp_path}" if request.param == "memory" else "sqlite:///holter.db"
    backend = open_backend(url, str(tmp_path), clock=Clock())
    yield backend
    backend.close()


@pytest.fixture
def diary(store: Backend) -> Diary:
    return Diary(store)


def week(**more: Any) -> RunQuery:
    return RunQuery(since=NOW - 7 * DAY, until=NOW, roots=True, **more)


# --- report -------------------------------------------------------------------------------------------------


def test_a_report_counts_states_and_leaves_skipped_and_cancelled_out_of_the_success_rate(
    store: Backend, diary: Diary
) -> None:
    for state, count in {"COMPLETED": 3, "FAILED": 1, "SKIPPED": 4, "CANCELLED": 2}.items():
        for _ in range(count):
            diary.ran(NOW - 3600, state)
    diary.ran(NOW - 60, None)
    (job,) = report(store, {}, week()).to_json()["jobs"]
    assert job["runs"] == 11
    assert job["by_state"] == {"CANCELLED": 2, "COMPLETED": 3, "FAILED": 1, "RUNNING": 1, "SKIPPED": 4}
    assert job["success_rate"] == 0.75


def test_a_job_of_which_nothing_was_tried_has_no_success_rate(store: Backend, diary: Diary) -> None:
    diary.ran(NOW - 3600, "SKIPPED")
    assert report(store, {}, week()).jobs[0].success_rate is None


def test_a_report_has_percentiles_of_completed_runs_and_the_last_run(store: Backend, diary: Diary) -> None:
    for seconds in range(1, 101):
        last = diary.ran(NOW - 200 + seconds, took=float(seconds))
    (job,) = report(store, {}, week()).to_json()["jobs"]
    assert (job["duration_p50_seconds"], job["duration_p95_seconds"]) == (50.0, 95.0)
    assert job["last"]["id"] == last
    assert job["last"]["created_at"] == rfc3339(NOW - 100)


def test_what_ran_before_the_period_is_not_in_the_report(store: Backend, diary: Diary) -> None:
    diary.ran(NOW - 8 * DAY, "FAILED")
    assert report(store, {}, week()).to_json() == {
        "since": rfc3339(NOW - 7 * DAY),
        "until": rfc3339(NOW),
        "jobs": [],
    }


def test_completeness_and_lateness_come_from_the_schedule_that_the_decorator_declared(
    store: Backend, diary: Diary
) -> None:
    check = {"schedule": "0 2 * * *", "grace": 900.0}
    for days, late in ((4, 4.0), (3, 8.0), (0, 6.0)):  # two nights are missing in between
        diary.ran(AT_TWO - days * DAY + late, check=check)
    (job,) = report(store, {}, week()).jobs
    assert job.completeness == 3 / 5
    assert job.lateness_p50_seconds == 6.0


def test_completeness_counts_from_the_first_run_only_where_that_is_in_the_period(
    store: Backend, diary: Diary
) -> None:
    diary.ran(NOW - 20 * DAY)
    diary.ran(AT_TWO + 1)
    found = report(store, {"etl": Check(schedule="0 2 * * *")}, week())
    assert found.jobs[0].completeness == 1 / 7


def test_a_job_without_schedule_has_neither_completeness_nor_lateness(store: Backend, diary: Diary) -> None:
    diary.ran(AT_TWO)
    job = report(store, {}, week()).jobs[0]
    assert (job.completeness, job.lateness_p50_seconds) == (None, None)


def test_a_name_with_shell_signs_is_that_name_only(store: Backend, diary: Diary) -> None:
    diary.ran(AT_TWO + 1, name="load [a*]", check={"schedule": "0 2 * * *"})
    diary.ran(AT_TWO - DAY + 1, name="load a", check={"schedule": "0 2 * * *"})
    found = {job.figures.name: job.completeness for job in report(store, {}, week()).jobs}
    assert found == {"load [a*]": 1.0, "load a": 0.5}


# --- status -------------------------------------------------------------------------------------------------


def judged(store: Backend, settings: Settings, **more: Any) -> dict[str, list[str]]:
    return {
        each.record.name: [problem.event for problem in each.verdict.problems]
        for each in status(store, settings, NOW, **more)
    }


def test_status_judges_each_job_by_its_last_run_that_says_something(store: Backend, diary: Diary) -> None:
    diary.ran(NOW - 300, "FAILED", "mended")
    diary.ran(NOW - 200, "COMPLETED", "mended")
    diary.ran(NOW - 300, "CRASHED", "broken")
    diary.ran(NOW - 200, "SKIPPED", "broken")
    diary.ran(NOW - 300, "COMPLETED", "running")
    diary.ran(NOW - 200, None, "running")
    assert judged(store, Settings()) == {"broken": ["crashed"], "mended": [], "running": []}


def test_status_leaves_out_what_has_not_run_for_long_unless_it_has_a_check(
    store: Backend, diary: Diary
) -> None:
    diary.ran(NOW - 50 * DAY, "FAILED", "abandoned")
    diary.ran(NOW - 50 * DAY, "COMPLETED", "backup")
    settings = Settings(checks={"backup": Check(fresh_within=DAY)})  # type: ignore[arg-type]
    assert judged(store, settings, since=NOW - 30 * DAY) == {"backup": ["not_fresh"]}


def test_status_knows_a_job_that_is_expected_and_never_ran(store: Backend, tmp_path: Path) -> None:
    config = tmp_path / "holter.yaml"
    config.write_text("# when this was written counts\n")
    checks = {"backup": Check(schedule="0 2 * * *")}
    (job,) = status(store, Settings(config=str(config), checks=checks), NOW)
    assert job.to_json()["last"] is None
    assert job.to_json()["schedule"] == "0 2 * * *"


def test_tasks_are_no_jobs(store: Backend, diary: Diary) -> None:
    root = diary.ran(NOW - 300)
    diary.ran(NOW - 299, "FAILED", "step", kind="task", run=f"{root}.1", parent=root)
    assert judged(store, Settings()) == {"etl": []}


def test_status_can_be_asked_about_one_job(store: Backend, diary: Diary) -> None:
    diary.ran(NOW - 300, "FAILED", "one")
    diary.ran(NOW - 300, "FAILED", "two")
    settings = Settings(checks={"three": Check(fresh_within=DAY)})  # type: ignore[arg-type]
    assert judged(store, settings, job="t[w]o") == {"two": ["failed"]}


# --- prune --------------------------------------------------------------------------------------------------


def test_the_forecast_of_prune_is_what_prune_then_does(store: Backend, diary: Diary) -> None:
    for days in (1, 100, 200, 400, 500):
        diary.ran(NOW - days * DAY)
        diary.ran(NOW - days * DAY, "FAILED", "flaky")
        diary.ran(NOW - days * DAY, "CRASHED", "dead" if days > 300 else "other")
    diary.ran(NOW - 500 * DAY, None, "hanging")
    kept = Retention(NOW - 90 * DAY, NOW - 365 * DAY, NOW - 30 * DAY)
    expected = forecast(store, kept)
    assert expected == 4 + 2 + 1  # completed ones; failures of a year ago; all dead ones but the last
    assert store.prune(kept).runs == expected
    assert forecast(store, kept) == 0


def test_a_job_whose_zone_does_not_exist_is_not_called_well(store: Backend, diary: Diary) -> None:
    diary.ran(NOW - 60, check={"schedule": "@daily", "timezone": "Europe/Berlim"})
    (job,) = status(store, Settings(), NOW)
    (problem,) = job.verdict.problems
    assert (problem.event, job.well, job.schedule) == ("unjudged", False, None)
    assert "did you mean Europe/Berlin?" in problem.reason
