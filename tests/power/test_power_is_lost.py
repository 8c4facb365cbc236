"""`durability: host`: after the loss of power at any call, every event whose recording call had returned is there.

A script is recorded once, with all that it did to its files, and the power is lost after each of these calls, a few
times, each time with another choice of what was not synced. The script says in its home what it has recorded; that
file itself is not synced, and tells us only, at each point, what had returned.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from ..faults.breaking import Breaker, Call, events
from ..faults.test_a_script import Left
from .losing import disk_after, lose_power

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

JOB = """
import os
import holter.agent.shipper as shipper
from holter import flow, task, current_run
shipper.EXIT_SECONDS = 20

def say(*words):
    said = os.open(os.environ["HOLTER_HOME"] + "/said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(said, (" ".join(map(str, words)) + "\\n").encode())
    os.close(said)

@task
def step(n):
    run = current_run()
    say("start", run.id)
    run.log(f"line {n}")
    return run.id

@flow
def main():
    run = current_run()
    say("start", run.id)
    for n in range(3): say("COMPLETED", step(n))
    return run.id

say("COMPLETED", main())
"""
URL = "sqlite:///holter.db"
PLANTED = {
    "events are not synced": "import os; os.fdatasync = lambda fd: None",
    "names are not synced": "import holter.agent.journal as j; j._sync_names = lambda folder: None",
    "the store is not synced before the journal goes": "import os; os.sync = lambda: None",
}


def recorded(breaker: Breaker, prefix: str = "") -> tuple[Path, list[Call]]:
    script = breaker.folder / "job.py"
    script.write_text(f"{prefix}\n{JOB}")
    home = breaker.new_home()
    done = breaker.run([str(script)], home, HOLTER_DURABILITY="host")
    assert (done.code, done.err) == (0, "")
    assert list((home / "journals").iterdir()) == []  # so that what follows has seen it removed
    return home, done.calls


def attack(home: Path, calls: list[Call], times: int, step: int = 1) -> int:
    """Lose power after each `step`-th call; the number of cases, all of which held."""
    cases = 0
    order = list(range(1, len(calls) + 1, step))
    random.Random(1).shuffle(order)  # so that what is wrong somewhere is found soon
    for at in order:
        disk = disk_after(calls[:at])
        for seed in range(times):
            into = home.with_name("found")
            lose_power(disk, home, into, random.Random(f"{at} {seed}"))
            try:
                check(Left(into, URL), calls, at)
            except Exception as error:
                raise AssertionError(f"power lost after {calls[at - 1]}, seed {seed}") from error
            shutil.rmtree(into)
            cases += 1
    return cases


def check(left: Left, calls: list[Call], at: int) -> None:
    written = events(calls)
    starts = {event["run"] for event in written if event["event"] == "start"}
    ends = {event["run"]: event["state"] for event in written if event["event"] == "end"}
    assert set(left.runs) <= starts
    assert all(run.state in (ends[run.id], "CRASHED") for run in left.runs.values())
    assert max(left.logs.values(), default=1) == 1
    for call in calls[:at]:
        if call.name == "write" and call.path.endswith("/said"):
            said, run = call.data.decode().split()
            assert run in left.runs, f"lost: {said} {run}"
            assert said == "start" or left.runs[run].state == said


def test_every_event_whose_call_returned_is_there_after_the_loss_of_power(
    breaker: Breaker, proof: Any
) -> None:
    home, calls = recorded(breaker)
    cases = attack(home, calls, times=proof.of(2, 40), step=proof.of(3, 1))
    proof.count(cases, "losses of power")


@pytest.mark.parametrize("prefix", PLANTED.values(), ids=PLANTED)
def test_the_simulation_finds_a_sync_that_is_missing(breaker: Breaker, proof: Any, prefix: str) -> None:
    home, calls = recorded(breaker, prefix)
    with pytest.raises(AssertionError, match="power lost"):
        attack(home, calls, times=4)
    proof.count(1, "planted defects found")
