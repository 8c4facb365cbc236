"""A script is stopped at each of its calls beside a watchdog: at most it is unresponsive, and it loses nothing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from holter.backends.queries import LogQuery
from tests.acceptance.conftest import Host, wait_until
from tests.faults.breaking import Breaker
from tests.faults.test_a_script import JOB, STORES
from tests.prove import Proof

from .pausing import Paused, changes

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

PAUSE = 1.0  # seconds: five heartbeats
PATIENCE = 30.0  # seconds: how soon a watchdog on a busy machine looks at all journals again
QUICK = {"HOLTER_HEARTBEAT": "0.2"}
SETTINGS = "watchdog: {interval: 0.1}\n"


def assert_all_is_there_once(host: Host, said: list[str]) -> Counter[str]:
    """Each run has the ending that it said, each line is there once, nobody crashed; the conditions that came."""
    starts = [line.split()[1] for line in said if line.startswith("start")]
    assert len(starts) == 3
    ended = lambda: all((run := host.store.run(each)) and run.ended_at for each in starts)  # noqa: E731
    wait_until(ended, "the endings")
    assert [host.store.run(each).state for each in starts] == ["FAILED", "COMPLETED", "FAILED"]  # type: ignore[union-attr]
    lines = Counter((log.run_id, log.text) for log in host.store.logs(LogQuery(starts[0])))
    assert lines == Counter((*line.split(maxsplit=2)[1:],) for line in said if line.startswith("log"))
    told = changes(host, {*starts})
    endings = [(run, state) for run, state, condition in told if condition is None and state != "RUNNING"]
    assert sorted(endings) == sorted(zip(starts, ["FAILED", "COMPLETED", "FAILED"]))
    marks = Counter(condition for _, _, condition in told if condition)
    assert marks["+unresponsive"] >= marks["-unresponsive"]  # an ending ends them, too
    assert set(marks) <= {"+unresponsive", "-unresponsive"}
    assert all(host.store.run(each).conditions == () for each in starts)  # type: ignore[union-attr]
    return marks


def finish(host: Host, job: Paused, said: Path) -> Counter[str]:
    code, out, err = job.go_on()
    assert (code, out, err.count("ValueError: no 2")) == (1, "begun\n", 1), err
    assert err.count("holter:") <= 1, err
    return assert_all_is_there_once(host, said.read_text().splitlines())


def attack(breaker: Breaker, host: Host, step: int, said: Path) -> int:
    """Stop a script at every `step`-th call; how many were stopped."""
    script = host.script(JOB)
    host.settings(SETTINGS)
    with host.watching():
        for number in count():
            said.unlink(missing_ok=True)
            at = 1 + number * step
            job = Paused(breaker, host, [sys.executable, str(script), str(said)], at, **QUICK)
            if not job.stopped:
                return number
            time.sleep(PAUSE)
            try:
                finish(host, job, said)
            except AssertionError as error:
                raise AssertionError(f"stopped before call {at}") from error
    raise AssertionError


@pytest.mark.parametrize("url", STORES.values(), ids=STORES)
def test_a_script_that_is_stopped_anywhere_loses_and_doubles_nothing(
    breaker: Breaker, new_host: Callable[..., Host], proof: Proof, tmp_path: Path, url: str
) -> None:
    stopped = attack(breaker, new_host(url), proof.of(23, 1), tmp_path / "said")
    assert stopped > 3
    proof.count(stopped, "scripts stopped")


def test_a_script_that_stays_stopped_is_unresponsive_and_recovers(
    breaker: Breaker, new_host: Callable[..., Host], proof: Proof, tmp_path: Path
) -> None:
    """It is stopped in the middle of a write to its journal, while runs are open."""
    said = tmp_path / "said"
    host = new_host("file:///history")
    host.settings(SETTINGS)
    argv = [str(host.script(JOB)), str(said)]
    with host.watching():
        for _ in range(2):  # the first one leaves a cache, and so makes other calls
            calls = breaker.run(argv, host.home, HOLTER_BACKEND="file:///history", **QUICK).calls
        writes = [call.number for call in calls if call.name == "write" and call.path.endswith(".jsonl")]
        for at in writes[2 : proof.of(4, 8)]:
            said.unlink(missing_ok=True)
            job = Paused(breaker, host, [sys.executable, *argv], at, **QUICK)
            wait_until(lambda: "unresponsive" in marked(host), "the condition", PATIENCE)
            assert finish(host, job, said)["+unresponsive"] > 0
            proof.count(1, "called unresponsive, and taken back")


def marked(host: Host) -> set[str]:
    return {each for run in host.seen() for each in run.conditions}
