"""No field that a client can write may break a verb, a page or the watchdog."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http.client import HTTPConnection
from itertools import product
from pathlib import Path
from traceback import format_exception
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner
from loguru import logger

from holter.agent import knobs
from holter.backends.base import Backend
from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend
from holter.cli import cli
from holter.testing.collector import collector
from tests.prove import Proof

from .fields import WRONG, changed, places, specimen, tape

WATCHED = "channels: {file: {log: %s/alerts.jsonl}}\nalerts: [{to: [file], on: [failed, crashed, missed, overdue]}]\n"
ABOUT_ALL = (
    "runs",
    "runs --json",
    "status",
    "status --json",
    "report",
    "report --json",
    "alerts",
    "checks",
    "top --json",
)
ABOUT_ONE = ("show {}", "show {} --json", "explain {}", "explain {} --json", "logs {}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(knobs, "_configured", {})
    monkeypatch.setenv("HOLTER_HOME", str(tmp_path))
    for name in ("HOLTER_BACKEND", "HOLTER_CONFIG", "HOLTER_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "holter.yaml"
    config.write_text(WATCHED % tmp_path)
    config.chmod(0o600)
    return tmp_path


@pytest.fixture
def store(home: Path) -> Iterator[Backend]:
    found = open_backend("sqlite:///holter.db", str(home))
    yield found
    found.close()


class Broken:
    """What went wrong, with the tracebacks, so that one look shows all of it."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def verb(self, text: str) -> None:
        """It says what it has to say, or refuses in a sentence."""
        result = CliRunner().invoke(cli, text.split())
        if result.exit_code not in (0, 1) or not isinstance(result.exception, SystemExit | None):
            trace = "".join(format_exception(result.exception)) if result.exception else result.output
            self.found.append(f"holter {text}: {trace[-1500:]}")

    def page(self, connection: HTTPConnection, path: str) -> None:
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            self.found.append(f"{path}: {answer.status}")

    def listen(self) -> None:
        """From now on also what the collector logs."""
        logger.remove()
        logger.add(
            lambda text: self.found.append(str(text)[-2500:]),
            level="ERROR",
            format="{message}",
            diagnose=False,
            backtrace=False,
        )
        logger.enable("holter")

    def watch(self) -> None:
        said = CliRunner().invoke(cli, ["watch", "--once"])
        if "failed (" in said.output or "Traceback" in said.output or said.exit_code:
            self.found.append(f"holter watch --once: {said.output[-3000:]}")


@pytest.fixture
def broken() -> Iterator[Broken]:
    """Asserts at the end that nothing is; what the collector logged stands beside it."""
    found = Broken()
    yield found
    logger.remove()
    logger.disable("holter")
    assert not found.found, "\n\n".join(found.found[:12])


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_a_wrong_type_in_any_field_of_any_event_breaks_no_verb_no_page_and_not_the_watchdog(
    home: Path, store: Backend, broken: Broken, proof: Proof
) -> None:
    now = time.time()
    for ended in ("FAILED", None):
        events = specimen("r0", "job", now - 600, ended)
        cases = [*product(places(events), WRONG)]
        for number, (place, value) in enumerate(cases[:: proof.of(41, 1)]):
            run = f"{'e' if ended else 'o'}{number}"
            mine = specimen(run, f"job-{run}", now - 600 + number % 60, ended)
            store.append(f"j-{run}", 0, tape(changed(mine, place, value)))
            proof.count(1, "fields of a wrong type")
    broken.watch()
    for text in ABOUT_ALL:
        broken.verb(text)
    broken.listen()
    with collector(str(home)) as url:
        connection = HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=30)
        for path in ("/", "/alerts", "/slots", "/hosts"):
            broken.page(connection, path)
        for run in store.runs(RunQuery(limit=None)):
            for text in ABOUT_ONE:
                broken.verb(text.format(run.id))
            broken.page(connection, f"/runs/{run.id}")
            broken.page(connection, f"/job?{urlencode({'project': run.project, 'name': run.name})}")
        connection.close()
    broken.watch()


def test_a_duration_as_text_means_what_it_says_and_a_schedule_that_is_none_counts_for_nothing(
    home: Path, store: Backend
) -> None:
    events = specimen("r1", "job", time.time() - 600)
    events[1]["check"] = {
        "schedule": "0 2 * * *",
        "timezone": "Europe/Berln",
        "grace": "5m",
        "max_duration": ["1h"],
    }
    store.append("j1", 0, tape(events))
    run = store.run("r1")
    assert run is not None
    assert run.check == {"schedule": "0 2 * * *", "timezone": "Europe/Berln", "grace": 300.0}
    for text in ("status", "report"):
        assert CliRunner().invoke(cli, [text]).exit_code in (0, 1)
