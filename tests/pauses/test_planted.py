"""Defects planted into recorder and watchdog: the checks of this family find each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.collecting import Collector
from tests.acceptance.conftest import Hook, Host
from tests.faults.breaking import Breaker
from tests.planting import Defect, planted
from tests.prove import Proof

from . import test_a_collector, test_a_writer, test_watchdogs

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

FOUND = (AssertionError, pytest.fail.Exception)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    pytest.importorskip("uvicorn", reason="pip install 'holter[web]'")
    with closing(Collector(tmp_path)) as made:
        yield made.start()


def plant(host: Host, folder: Path, file: str, right: str, wrong: str) -> None:
    host.env["PYTHONPATH"] = planted(Defect(file, right, wrong), folder)


def test_a_lock_that_is_ignored_is_found(
    breaker: Breaker, new_host: Callable[..., Host], proof: Proof, tmp_path: Path
) -> None:
    host = new_host()
    plant(host, tmp_path, "agent/watchdog/remains.py", "identity.alive(header) is False\n", "True\n")
    with pytest.raises(FOUND):
        test_a_writer.attack(breaker, host, 7, tmp_path / "said")
    proof.count(1, "planted defects found")


def test_an_end_that_waits_for_the_collector_is_found(
    collector: Collector, proof: Proof, tmp_path: Path
) -> None:
    ground = test_a_collector.ground_of(collector, tmp_path)
    ground.unhurt()
    right, wrong = "self._done.acquire(timeout=EXIT_SECONDS)", "self._done.acquire()"
    ground.env["PYTHONPATH"] = planted(Defect("agent/shipper.py", right, wrong), tmp_path)
    assert collector.process is not None
    with pytest.raises(FOUND):
        test_a_collector.attack(ground, collector.process.pid, 0.0, 10.0)
    proof.count(1, "planted defects found")


def test_a_watchdog_that_takes_any_silence_for_a_stop_is_found(
    new_host: Callable[..., Host], hook: Hook, proof: Proof, tmp_path: Path
) -> None:
    host = new_host()
    plant(host, tmp_path, "agent/watchdog/reconcile.py", "> MISSED_BEATS * beat", "> -1.0")
    with pytest.raises(FOUND):
        test_watchdogs.beside(host, hook, 4)
    proof.count(1, "planted defects found")
