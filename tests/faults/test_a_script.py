"""Every call that a recorded script makes to the file system fails once, stays broken, or is its last.

The script says in a file of its own what it recorded, each time after the recording call returned.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from holter.agent.watchdog.adopt import catch_up
from holter.backends.base import Backend
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.records import Run
from holter.backends.urls import open_backend

from .breaking import KILLED, NOTHING, Breaker, Done, Fault, each_call, events, was_named

pytestmark = pytest.mark.proof

STORES = {"sqlite": "sqlite:///holter.db", "file": "file:///history"}
WAYS = ("fails", "stays broken", "killed")
JOB = """
import os, sys
import holter.agent.shipper as shipper
from holter import flow, task, current_run
shipper.EXIT_SECONDS = 5  # so that it gets to all of its calls on a slow machine too

said = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def say(*words): os.write(said, (" ".join(map(str, words)) + "\\n").encode())

@task
def step(n):
    run = current_run()
    say("start", run.id)
    run.log(f"line {n}")
    say("log", run.id, f"line {n}")
    if n == 2:
        raise ValueError("no 2")
    return run.id

@flow(log_prints=True)
def main():
    say("start", current_run().id)
    print("begun")
    say("log", current_run().id, "begun")
    say("COMPLETED", step(1))
    step(2)

main()
"""


@pytest.fixture
def job(tmp_path: Path) -> list[str]:
    path = tmp_path / "job.py"
    path.write_text(JOB)
    return [str(path), str(tmp_path / "said")]


class Left:
    """What is in the store once the fault is gone and somebody looked."""

    def __init__(self, home: Path, url: str) -> None:
        home.mkdir(exist_ok=True)
        store: Backend = open_backend(url, str(home))
        try:
            swept = catch_up(str(home), store)
            assert swept.faults == []
            self.runs: dict[str, Run] = {run.id: run for run in store.runs(RunQuery(limit=None))}
            roots = [run.id for run in self.runs.values() if run.parent_id is None]
            found = [log for root in roots for log in store.logs(LogQuery(root))]
            self.logs = Counter((log.run_id, log.text) for log in found)
        finally:
            store.close()


def check(done: Done, said: list[str], left: Left) -> None:
    """All that was written whole is in the store, once, and nothing else is; what was said was written."""
    written = events(done.calls)
    starts = [event["run"] for event in written if event["event"] == "start"]
    assert sorted(left.runs) == sorted(set(starts))
    logs = Counter((event["run"], event["text"]) for event in written if event["event"] == "log")
    assert left.logs == logs
    ends = {event["run"]: event["state"] for event in written if event["event"] == "end"}
    for run in left.runs.values():
        if run.id in ends:
            assert run.state == ends[run.id]
        else:
            assert run.state in ("CRASHED", "COMPLETED", "FAILED")
            assert "is gone without a word" in run.reason or "disk was full" in run.reason
    said_states = [word.split() for word in said if not word.startswith("log")]
    said_logs = [tuple(word.split(maxsplit=2)[1:]) for word in said if word.startswith("log")]
    lost_states = [run for kind, run in said_states if run not in starts]
    lost_states += [run for kind, run in said_states if kind == "COMPLETED" and ends.get(run) != kind]
    lost_logs = [each for each in said_logs if not logs[each]]  # type: ignore[index]
    assert_only_the_fault_was_lost(done, lost_states, lost_logs)


def assert_only_the_fault_was_lost(done: Done, states: list[str], logs: list[Any]) -> None:
    """What may be missing although its call returned: everything where no journal could be made (it was said on
    stderr); a line of log whose very write failed; and where writes go on failing, what came after the first."""
    if not was_named(done.calls) and done.code != KILLED:
        assert "holter: not recording" in done.err
        return
    refused = [call for call in done.hit() if call.name == "write" and "/journals/" in call.path]
    assert len(logs) <= len(refused), logs
    if len(refused) <= 1:
        assert states == []


def assert_the_job_is_unhurt(done: Done, expected: Done) -> None:
    assert (done.code, done.out) == (expected.code, expected.out), done.err
    lines = done.err.splitlines()
    assert sum(line.startswith("holter:") for line in lines) <= 1
    theirs = [line for line in lines if not line.startswith("holter:")]
    assert theirs == expected.err.splitlines()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("url", STORES.values(), ids=STORES)
def test_whatever_call_goes_wrong_the_job_is_unhurt_and_what_was_written_is_kept_once(
    breaker: Breaker, job: list[str], proof: Any, url: str, way: str
) -> None:
    said = Path(job[1])
    homes: list[Path] = []

    def once(fault: Fault) -> Done:
        said.unlink(missing_ok=True)
        homes.append(breaker.new_home())
        return breaker.run(job, homes[-1], fault, HOLTER_BACKEND=url)

    expected = once(NOTHING)
    assert (expected.code, expected.out) == (1, "begun\n")
    assert expected.err.count("Traceback") == 1
    tried = hit = 0
    step = proof.of({"fails": 17, "stays broken": 41, "killed": 29}[way], 1)
    for done in each_call(step, proof.of(False, True), way, once):
        context = [str(call) for call in done.hit()[:3]]
        try:
            if way == "killed":
                assert done.code == KILLED or not done.hit()
            else:
                assert_the_job_is_unhurt(done, expected)
            check(done, said.read_text().splitlines() if said.exists() else [], Left(homes[-1], url))
        except AssertionError as error:
            raise AssertionError(f"after {context}\n{done.err}") from error
        tried += 1
        hit += bool(done.hit())
        shutil.rmtree(homes.pop())
    assert hit > 5
    counted = {"fails": "calls failed", "stays broken": "calls broken for good", "killed": "kills"}
    proof.count(tried, counted[way])
