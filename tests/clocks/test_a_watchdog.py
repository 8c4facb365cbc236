"""The clock is set, or the host sleeps, under a watchdog: who is well is not marked, who is not is told of."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests.acceptance.conftest import Hook, Host, wait_until
from tests.prove import Proof

from .setting import DAY, HOUR, STEPS, YEAR, HostClock

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

BEAT = 0.2  # seconds; three of them missed are silence
SETTINGS = """
    heartbeat: 0.2
    channels: {{hook: {{webhook: "{url}"}}}}
    alerts: [{{on: [failed, crashed, timed_out, late, missed, stale, overdue, unfinished, not_fresh], to: [hook]}}]
    watchdog: {{interval: 0.1, digest: 0}}
    limits: {{gpu: {{slots: 1, scope: shared, lease: 5s}}}}
"""
LIVES = """
import os, sys, time
from holter import flow, task, concurrency
@task
def work():
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.02)
@flow(name="lives", max_duration=120, stall_after=120, timeout_seconds=300)
def main():
    with concurrency("gpu"):
        print("in", flush=True)
        work()
main()
"""
FAILS = """
from holter import flow
@flow(name="fails")
def main(): raise ValueError
main()
"""


@contextmanager
def watched(host: Host, hook: Hook, set_before: HostClock | None = None, by: float = 0.0) -> Iterator[Any]:
    """A watchdog, and a healthy run that it knows; which is as healthy in the end. `set_before`: the clock that is set
    `by` so much between the run's beginning and the watchdog's."""
    host.settings(SETTINGS.format(url=hook.url))
    stop = host.folder / "stop"
    job = host.start(host.script(LIVES, "lives.py"), str(stop))
    assert job.stdout is not None and job.stdout.readline() == "in\n"
    if set_before is not None:
        wait_until(lambda: host.seen(job="lives"), "the run to be stored")
        set_before.set_by(by)
    with host.watching(ahead=by):
        wait_until(lambda: host.seen(job="lives"), "the run to be known")
        goes_on(host)  # and looked at
        yield job
        assert job.poll() is None, job.communicate()
        stop.touch()
        out, err = job.communicate(timeout=20)
        assert (job.returncode, err) == (0, ""), out
        wait_until(lambda: host.seen(job="lives")[0].ended, "its end")
    assert host.states()["lives"] == "COMPLETED"


def beats(host: Host) -> int:
    return max((each.beats for each in host.store.processes()), default=0)


def goes_on(host: Host, count: int = 5) -> None:
    """So many beats later the watchdog has had a pass for each."""
    before = beats(host)
    wait_until(lambda: beats(host) >= before + count, "more beats")


def marks(host: Host) -> list[Any]:
    return [(row.condition, row.to_state, row.reason) for row in host.store.transitions(0) if row.condition]


def attack(host: Host, hook: Hook, clock: HostClock, how: str, steps: Sequence[float]) -> None:
    with watched(host, hook):
        if how == "asleep":  # of a sleep before it first looked, a watchdog cannot know
            goes_on(host)
        for by in steps:
            (clock.set_by if how == "set" else clock.sleep_for)(by)
            goes_on(host)
            assert marks(host) == [], f"after {by:g} s"
    assert [each["alert"]["event"] for each in hook.taken] == []
    (lives,) = host.seen(job="lives")
    assert lives.duration_seconds is not None and lives.duration_seconds < 300


@pytest.mark.parametrize("how", ["set", "asleep"])
def test_no_healthy_run_is_marked_and_nobody_is_told_of_it(
    host: Host, hook: Hook, clock: HostClock, proof: Proof, how: str
) -> None:
    steps = [each for each in STEPS if how == "set" or each > 0] * proof.of(1, 5)
    attack(host, hook, clock, how, steps)
    proof.count(len(steps), f"{'clocks set' if how == 'set' else 'hosts asleep'} under a watchdog")


@pytest.mark.parametrize("by", [HOUR, -HOUR, 8 * DAY, 5 * YEAR, -10 * YEAR])
def test_a_watchdog_that_starts_after_a_step_knows_how_old_a_run_is(
    host: Host, hook: Hook, clock: HostClock, proof: Proof, by: float
) -> None:
    with watched(host, hook, set_before=clock, by=by):
        goes_on(host)
    assert marks(host) == []
    assert hook.taken == []
    proof.count(1, "watchdogs begun after a step")


@pytest.mark.parametrize("by", [HOUR, -HOUR, 8 * DAY, -8 * DAY, 5 * YEAR, -10 * YEAR])
def test_who_fails_or_dies_after_a_step_is_told_of_at_once(
    host: Host, hook: Hook, clock: HostClock, proof: Proof, by: float
) -> None:
    with watched(host, hook):
        clock.set_by(by)
        began = time.monotonic()
        assert host.run(host.script(FAILS, "fails.py")).code == 1
        dies = host.start(host.script(LIVES.replace('"lives"', '"dies"').replace('"gpu"', '"cpu"')), "never")
        assert dies.stdout is not None and dies.stdout.readline() == "in\n"
        dies.kill()
        dies.wait(20)
        wait_until(lambda: len(hook.taken) >= 2, "both alerts")
        assert time.monotonic() - began < 15
        goes_on(host)
    assert sorted(each["alert"]["event"] for each in hook.taken) == ["crashed", "failed"]
    proof.count(1, "alerts after a step")


def away(host: Host, hook: Hook, clock: HostClock, by: float) -> None:
    """The channel is away when the clock is set, or the host sleeps, and for a while after it."""
    hook.close()
    tries = lambda: sum(held.value["attempts"] for _, held in host.store.list("alert"))  # noqa: E731
    with watched(host, hook):
        assert host.run(host.script(FAILS, "fails.py")).code == 1
        wait_until(tries, "a try")
        before = tries()
        clock.sleep_for(by) if by > 0 else clock.set_by(by)
        wait_until(lambda: tries() > before, "a try after it")
        with closing(Hook(int(hook.url.rpartition(":")[2].partition("/")[0]))) as again:
            wait_until(lambda: again.taken, "the alert", 30.0)
            assert {each["alert"]["event"] for each in again.taken} == {"failed"}


@pytest.mark.parametrize("by", [2 * DAY, 5 * YEAR, -2 * DAY])
def test_an_alert_whose_channel_is_away_is_neither_given_up_nor_put_off_by_a_step(
    host: Host, hook: Hook, clock: HostClock, proof: Proof, by: float
) -> None:
    """A laptop that sleeps over a weekend has no network before, and none at once afterwards."""
    away(host, hook, clock, by)
    proof.count(1, "alerts that waited over a step")
