"""Defects planted into recorder and watchdog: the checks of this family find each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import Hook, Host
from tests.planting import Defect, planted
from tests.prove import Proof

from . import test_a_schedule, test_a_script, test_a_watchdog
from .setting import DAY, HostClock

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

FOUND = (AssertionError, pytest.fail.Exception)


def plant(host: Host, folder: Path, file: str, right: str, wrong: str) -> None:
    host.env["PYTHONPATH"] = planted(Defect(file, right, wrong), folder)


def test_a_duration_by_the_wall_clock_is_found(
    host: Host, clock: HostClock, tmp_path: Path, proof: Proof
) -> None:
    right, wrong = "import perf_counter_ns,", "import time_ns as perf_counter_ns,"
    plant(host, tmp_path, "agent/active.py", right, wrong)
    with pytest.raises(FOUND):
        test_a_script.attack(host, clock, 10.0, "in step 1", "set")
    proof.count(1, "planted defects found")


def test_an_age_by_the_wall_clock_is_found(
    host: Host, hook: Hook, clock: HostClock, tmp_path: Path, proof: Proof
) -> None:
    right, wrong = "held.get(name) or ", ""
    plant(host, tmp_path, "agent/watchdog/sightings.py", right, wrong)
    with pytest.raises(FOUND):
        test_a_watchdog.attack(host, hook, clock, "asleep", [3600.0])
    proof.count(1, "planted defects found")


def test_a_judge_who_does_not_mind_a_step_is_found(
    host: Host, hook: Hook, clock: HostClock, tmp_path: Path, proof: Proof
) -> None:
    plant(host, tmp_path, "agent/watchdog/expecting.py", "> JUMP:", "> 1e12:")
    with pytest.raises(FOUND):  # whether a pass falls just between step and start is chance: each step is one
        test_a_schedule.attack(host, hook, clock, [0.0, *[5 * test_a_schedule.MINUTE] * 5])
    proof.count(1, "planted defects found")


def test_a_retry_that_waits_for_the_clock_to_come_again_is_found(
    host: Host, hook: Hook, clock: HostClock, tmp_path: Path, proof: Proof
) -> None:
    plant(host, tmp_path, "agent/watchdog/delivery.py", "now < until <= now + most", "now < until")
    with pytest.raises(FOUND):
        test_a_watchdog.away(host, hook, clock, -2 * DAY)
    proof.count(1, "planted defects found")
