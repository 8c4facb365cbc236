"""The clock is set while a script runs, at each of its moments: it runs on, and took as long as it took."""

from __future__ import annotations

import time
from contextlib import closing
from itertools import product

import pytest

from holter.agent.watchdog.adopt import catch_up
from holter.backends.base import Backend
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.urls import open_backend
from tests.acceptance.conftest import Host
from tests.prove import Proof

from .setting import STEPS, HostClock

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

# It sets the clock itself, so that it happens exactly there.
JOB = """
import struct, sys, time
from holter import flow, task, current_run, concurrency
file, moment, by, asleep = sys.argv[1], sys.argv[2], int(float(sys.argv[3]) * 1e9), sys.argv[4] == "asleep"

def now(name):
    if name == moment:
        with open(file, "r+b") as ahead:
            ahead.write(struct.pack("qq", by, by if asleep else 0))

@task(timeout_seconds=60)
def step(n):
    time.sleep(0.05)
    now(f"in step {n}")
    current_run().log(f"line {n}")
    time.sleep(0.05)

@task(retries=1, retry_delay_seconds=0.1)
def twice(tried=[]):
    if not tried:
        tried.append(1)
        now("before a retry")
        raise ValueError
    return 1

@flow(name="main", timeout_seconds=60, max_duration=60)
def main():
    with concurrency("limit"):
        now("holding a slot")
        step(1)
    step(2)
    twice()
    now("at the end")

was = time.time()
now("before it")
began = time.monotonic()
main()
print(time.monotonic() - began)
now("after it")
print(time.time() - was)
"""
MOMENTS = (
    "before it",
    "holding a slot",
    "in step 1",
    "in step 2",
    "before a retry",
    "at the end",
    "after it",
)


def assert_it_took_as_long_as_it_took(store: Backend, took: float) -> None:
    runs = store.runs(RunQuery(limit=None))
    seconds: dict[str, list[float]] = {}
    for run in runs:
        assert run.state == "COMPLETED" and run.conditions == ()
        assert run.duration_seconds is not None
        seconds.setdefault(run.name, []).append(run.duration_seconds)
    assert sorted((name, len(found)) for name, found in seconds.items()) == [
        ("main", 1),
        ("step", 2),
        ("twice", 1),
    ]
    assert all(0.1 <= each <= took for each in (*seconds["step"], *seconds["twice"]))
    assert took - 0.1 <= seconds["main"][0] <= took
    (main,) = [run for run in runs if run.parent_id is None]
    assert sorted(log.text for log in store.logs(LogQuery(main.id)) if log.text.startswith("line")) == [
        "line 1",
        "line 2",
    ]


def attack(host: Host, clock: HostClock, by: float, moment: str, how: str) -> None:
    """One run, in the middle of which the clock is set, or the host sleeps."""
    clock.set_by(-clock.ahead)
    url = f"sqlite:///{time.monotonic_ns()}.db"
    done = host.run(host.script(JOB), str(clock.file), moment, str(by), how, HOLTER_BACKEND=url)
    try:
        assert (done.code, done.err) == (0, "")
        took, passed = map(float, done.out.split())
        assert abs(passed - took - by) < 0.5  # it did see another time
        with closing(open_backend(url, str(host.home))) as store:
            assert catch_up(str(host.home), store).faults == []
            assert_it_took_as_long_as_it_took(store, took)
    except AssertionError as error:
        raise AssertionError(f"{how} by {by:g} s {moment}") from error


@pytest.mark.parametrize("how", ["set", "asleep"])
def test_a_clock_that_is_set_changes_nothing_of_a_script(
    host: Host, clock: HostClock, proof: Proof, how: str
) -> None:
    cases = list(product([each for each in STEPS if how == "set" or each > 0], MOMENTS))
    for by, moment in cases[:: proof.of(6, 1)]:
        attack(host, clock, by, moment, how)
        proof.count(1, "clocks set under a script" if how == "set" else "hosts asleep under a script")
