"""Expectations become incidents at the moment at which they are not kept, and a ledger that is complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from holter.agent import ledgers
from holter.agent.jobs import Registered, key_of, register
from holter.agent.reports import report, status
from holter.agent.settings import Check, Settings
from holter.agent.watchdog import gaps, pulse
from holter.agent.watchdog.expecting import EVENTS, Expecting
from holter.agent.watchdog.incidents import Incident, open_incidents
from holter.backends.base import Backend
from holter.backends.clock import token
from holter.backends.ledger import Entry
from holter.backends.memory import MemoryBackend
from holter.backends.records import RunQuery

from .conftest import HandSetClock, Scribe

DAY, HOUR, MINUTE = 86400.0, 3600.0, 60.0
MIDNIGHT = 20_834 * DAY  # 2027-01-16, UTC
AT_TWO = MIDNIGHT + 2 * HOUR
NIGHTLY = {"schedule": "0 2 * * *", "grace": 900.0}


class Watch:
    """One watchdog's step, with the gap and the pulse that the real one writes round it."""

    def __init__(self, store: Any, clock: HandSetClock, **checks: Check) -> None:
        self.store, self.clock = store, clock
        self.settings = Settings(checks=checks)
        self.step = Expecting(clock)

    def look(self, at: float | None = None) -> list[str]:
        """One pass, as many times as it has more to do; the events of what is open."""
        self.clock.now = at if at is not None else self.clock.now
        gaps.note(self.store, self.clock.now)
        for _ in range(40):
            self.step.look(self.store, self.settings)
        pulse.beat(self.store, self.clock.now, started_at=self.clock.now)
        return [each.event for each in self.open()]

    def watch(self, until: float, every: float = 60.0) -> list[str]:
        """Pass after pass, none of them late enough to be a gap."""
        while self.clock.now < until:
            now = min(until, self.clock.now + every)
            pulse.beat(self.store, now - 1, started_at=now)
            self.look(now)
        return [each.event for each in self.open()]

    def open(self) -> list[Incident]:
        return open_incidents(self.store)

    def ledger(self, since: float, until: float, job: str = "etl") -> list[Entry]:
        return ledgers.entries(self.store, key_of("default", job), since, until)

    def outcomes(self, since: float, until: float) -> list[str]:
        return [each.outcome for each in self.ledger(since, until)]




def ran(scribe: Scribe, clock: HandSetClock, at: float, run: str, took: float = 60.0, **more: Any) -> None:
    """A run that is recorded at its own times."""
    state, check = more.pop("state", "COMPLETED"), more.pop("check", NIGHTLY)
    clock.now = at
    scribe.start(run, check=check, **more)
    if state:
        clock.now = at + took
        scribe.end(run, state, seconds=took)


def test_a_job_is_known_from_its_first_run_and_late_when_its_grace_is_over(
    store: Backend, scribe: Scribe, clock: HandSetClock
) -> None:
    clock.now = AT_TWO - HOUR
    dog = Watch(store, clock)
    dog.look()
    ran(scribe, clock, AT_TWO + 3, "r1")
    assert dog.look() == []
    assert dog.watch(AT_TWO + DAY + 899, 600) == []
    assert dog.watch(AT_TWO + DAY + 900) == ["late"]
    assert dog.open()[0].reason == "expected at 2027-01-17 02:00 UTC, grace 15m"
    ran(scribe, clock, AT_TWO + DAY + 1000, "r2")
    assert dog.look() == []
    assert dog.outcomes(MIDNIGHT, MIDNIGHT + 2 * DAY) == ["on_time", "late"]


def test_misses_in_a_row_are_one_incident_that_counts_them(
    store: Backend, scribe: Scribe, clock: HandSetClock
) -> None:
    clock.now = AT_TWO - HOUR
    dog = Watch(store, clock)
    dog.look()
    ran(scribe, clock, AT_TWO + 3, "r1")
    dog.watch(AT_TWO + 2 * DAY, 1800)
    (missed,) = dog.open()
    assert (missed.event, missed.details["misses"]) == ("missed", 1)
    dog.watch(AT_TWO + 4 * DAY, 1800)
    (again,) = dog.open()
    assert (again.key, again.details["misses"]) == (missed.key, 3)
    assert "3 in a row" in again.reason
    ran(scribe, clock, AT_TWO + 4 * DAY + 5, "r2")
    assert dog.look() == []
    assert dog.outcomes(MIDNIGHT, MIDNIGHT + 5 * DAY) == ["on_time", "missed", "missed", "missed", "on_time"]
