"""A watchdog is stopped at each of its calls, another takes over, and the first goes on: one verdict, and one alert."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest

from tests.acceptance.conftest import Hook, Host, wait_until
from tests.faults.breaking import Breaker
from tests.prove import Proof

from .pausing import Paused, changes, pause

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

SETTINGS = """
    channels: {{hook: {{webhook: "{url}"}}}}
    alerts: [{{on: [failed, crashed, stale], to: [hook]}}]
    watchdog: {{interval: 0.1, digest: 0}}
"""
DIES = """
import sys, time
from holter import flow, task, current_run
@task
def step():
    print(current_run().id, flush=True)
    time.sleep(600)
@flow(name="dies")
def main():
    print(current_run().id, flush=True)
    step()
main()
"""
ONCE = [sys.executable, "-m", "holter", "watch", "--once"]


def killed(host: Host) -> set[str]:
    """The runs of a process that was killed; nobody has looked yet."""
    job = host.start(host.script(DIES))
    assert job.stdout is not None
    runs = {job.stdout.readline().strip(), job.stdout.readline().strip()}
    job.kill()
    job.wait(20)
    return runs


def assert_one_verdict_and_one_alert(host: Host, hook: Hook, runs: set[str]) -> None:
    assert all((run := host.store.run(each)) and run.state == "CRASHED" for each in runs)
    endings = Counter((run, state) for run, state, condition in changes(host, runs) if state == "CRASHED")
    assert endings == Counter((run, "CRASHED") for run in runs)
    told = [each["alert"]["dedupe_key"] for each in hook.taken if each["alert"]["run_id"] in runs]
    assert len(told) == len(set(told)) == 1, told


def attack(breaker: Breaker, new_host: Callable[..., Host], hook: Hook, step: int, shared: bool) -> int:
    """Stop the first watchdog at every `step`-th call; how many were stopped. `shared`: the second is another host's
    at the same store; else it is of the same home."""
    first = second = new_host()
    if shared:
        second = new_host(f"sqlite:///{first.home}/holter.db")
        second.env["HOLTER_TEST_HOST"] = "another"
    for host in (first, second):
        host.settings(SETTINGS.format(url=hook.url))
    for number in count():
        runs = killed(first)
        paused = Paused(breaker, first, ONCE, 1 + number * step)
        if not paused.stopped:
            return number
        taken = second.holter("watch", "--once")
        assert taken.code in (0, 1) and "Traceback" not in taken.err, taken.err  # at most, the store was held
        code, _, err = paused.go_on()
        assert code in (0, 1) and "Traceback" not in err, err
        try:
            for host in (second, first):
                assert host.holter("watch", "--once").code == 0
            assert_one_verdict_and_one_alert(first, hook, runs)
        except AssertionError as error:
            raise AssertionError(f"stopped before call {1 + number * step}\n{err}") from error
    raise AssertionError


@pytest.mark.parametrize("shared", [False, True], ids=["one home", "one store"])
def test_a_watchdog_that_was_stopped_while_another_took_over_says_nothing_twice(
    breaker: Breaker, new_host: Callable[..., Host], hook: Hook, proof: Proof, shared: bool
) -> None:
    stopped = attack(breaker, new_host, hook, proof.of(199, 11) if shared else proof.of(61, 1), shared)
    assert stopped > 1
    proof.count(stopped, "watchdogs stopped")


def beside(host: Host, hook: Hook, turns: int) -> None:
    """A watchdog is stopped again and again. One job lives all the while, others are killed just before, or while."""
    host.settings(SETTINGS.format(url=hook.url))
    lives = host.start(host.script(DIES.replace('"dies"', '"lives"'), "lives.py"), HOLTER_HEARTBEAT="0.2")
    with host.watching() as dog:
        wait_until(lambda: host.seen(job="lives"), "the run to be known")
        for turn in range(turns):
            runs = killed(host) if turn % 2 else set()
            pause(dog.pid, 0.2 + 1.0 * turn / turns)
            runs = runs or killed(host)
            told = lambda runs=runs: [a for a in hook.taken if a["alert"]["run_id"] in runs]  # noqa: E731
            wait_until(told, "the alert")
            assert_one_verdict_and_one_alert(host, hook, runs)
    (run,) = host.seen(job="lives")
    assert (run.state, run.conditions) == ("RUNNING", ())
    assert [each for each in changes(host, {run.id}) if each[2]] == []
    assert lives.poll() is None


def test_a_watchdog_that_was_stopped_marks_nobody_when_it_goes_on_and_misses_no_death(
    new_host: Callable[..., Host], hook: Hook, proof: Proof
) -> None:
    turns = proof.of(6, 60)
    beside(new_host(), hook, turns)
    proof.count(turns, "watchdogs stopped and watched")
