"""A job comes each minute, as cron starts it, while the clock is set: it is not late, and each time is there once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from holter.agent import jobs, ledgers
from holter.backends.ledger import ANSWERED, Entry, unpack
from tests.acceptance.conftest import Hook, Host, wait_until
from tests.prove import Proof

from .setting import DAY, HOUR, HostClock

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

GRACE = 5.0
SETTINGS = """
    channels: {{hook: {{webhook: "{url}"}}}}
    alerts: [{{on: [late, missed, zone_mismatch, failed, crashed, stale], to: [hook]}}]
    watchdog: {{interval: 0.1, digest: 0}}
    checks: {{job: {{schedule: "* * * * *", timezone: Europe/Berlin, grace: 5s}}}}
"""
JOB = """
from holter import flow
flow(name="job")(lambda: None)()
"""
MINUTE = 60.0
# Each brings the clock to three seconds before a full minute: within this one, or so far from it.
STEPS = (MINUTE, -MINUTE, HOUR, -HOUR, 5 * MINUTE, -2 * MINUTE, 9 * DAY, -9 * DAY, 400 * DAY, -DAY)


class Cron:
    """Starts the job whenever a minute begins."""

    def __init__(self, host: Host, clock: HostClock) -> None:
        self.host, self.clock = host, clock
        self.script = host.script(JOB)
        self.started: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        before = self.clock.wall() // MINUTE
        while not self._over.wait(0.02):
            now = self.clock.wall()
            begins, before = now // MINUTE != before and now % MINUTE < 2.0, now // MINUTE
            if begins:
                self.host.run(self.script)
                self.started.append(before * MINUTE)

    def wait(self) -> None:
        """Until the next start is over."""
        came = len(self.started)
        wait_until(lambda: len(self.started) > came, "the job to come")

    def close(self) -> None:
        self._over.set()
        self._thread.join(30)


def to_just_before(clock: HostClock, minute: float) -> None:
    """Set the clock to three seconds before it."""
    clock.set_by(minute - 3.0 - clock.wall())


def next_minute(clock: HostClock) -> float:
    return clock.wall() // MINUTE * MINUTE + MINUTE


def entries(host: Host) -> list[Entry]:
    keys = [key for key, _ in host.store.list(ledgers.HEAD) if key]
    assert keys == [jobs.key_of("default", "job")]
    return [each for _, page in host.store.list(ledgers.PAGE) for each in unpack(page.value)]


def assert_each_time_is_there_once(found: list[Entry], started: list[float]) -> None:
    times = [each.expected_at for each in found]
    assert len(times) == len(set(times))
    assert all(at % MINUTE == 0 for at in times)
    outcomes = {each.expected_at: each.outcome for each in found}
    assert {outcomes.get(at, "not yet") for at in started} <= {*ANSWERED, "not yet"}
    assert "missed" not in outcomes.values()


@contextmanager
def watched(host: Host, hook: Hook, clock: HostClock) -> Iterator[Cron]:
    host.settings(SETTINGS.format(url=hook.url))
    with host.watching(), closing(Cron(host, clock)) as cron:
        yield cron


def attack(host: Host, hook: Hook, clock: HostClock, steps: Sequence[float]) -> None:
    with watched(host, hook, clock) as cron:
        for by in steps:
            to_just_before(clock, next_minute(clock) + by)
            cron.wait()
            time.sleep(GRACE + 2.0)  # by now a judge would say that it did not
            assert_each_time_is_there_once(entries(host), cron.started)
            assert [each["alert"]["reason"] for each in hook.taken] == [], f"after {by:g} s"
        # After a step of a year, pass by pass a few weeks of minutes of which nobody knows.
        wait_until(lambda: entries(host)[-1].outcome in ANSWERED, "the last time to be written down", 300.0)
        head = ledgers.head(host.store, jobs.key_of("default", "job"))
        assert head is not None
        known = {each.expected_at for each in entries(host)}
        # A ledger forgets, and of what is still to come it says nothing.
        oldest = head.until - ledgers.KEPT + DAY
        assert known >= {at for at in cron.started if oldest < at <= head.until}


def test_a_job_that_comes_each_minute_is_neither_late_nor_counted_twice(
    host: Host, hook: Hook, clock: HostClock, proof: Proof
) -> None:
    steps = (0.0, *STEPS[: proof.of(3, None)])
    attack(host, hook, clock, steps)
    proof.count(len(steps), "clocks set under a schedule")


def test_hosts_in_other_zones_expect_the_same_time(
    host: Host, hook: Hook, clock: HostClock, proof: Proof
) -> None:
    """The watchdog is started anew in another zone each day, and the job runs in yet another one."""
    zones = ("Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "UTC", "Europe/Berlin")
    zones = proof.of(zones[:2], zones)
    first = next_minute(clock)
    there = datetime.fromtimestamp(first, ZoneInfo("Europe/Berlin"))
    text = f'"{there.minute} {there.hour} * * *"'
    host.settings(SETTINGS.format(url=hook.url).replace('"* * * * *"', text))
    script = host.script(JOB)
    for number, zone in enumerate(zones):
        host.env["TZ"] = zone
        with host.watching():
            to_just_before(clock, first + DAY * number)
            wait_until(lambda: clock.wall() % MINUTE < 2.0, "the minute")
            assert host.run(script, TZ=zones[-1 - number]).code == 0
            wait_until(lambda number=number: len(entries(host)) > number, "its outcome")
        proof.count(1, "zones changed")
    found = entries(host)
    assert [each.outcome for each in found] == ["on_time"] * len(zones)
    assert [each.expected_at for each in found] == [first + DAY * number for number in range(len(zones))]
    assert [each["alert"]["reason"] for each in hook.taken] == []
