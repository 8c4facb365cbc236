"""Expectations become incidents at the moment at which they are not kept, and a ledger that is complete."""

from __future__ import annotations

from contextlib import closing
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
from holter.backends.queries import RunQuery
from holter.backends.schedule import Schedule
from holter.backends.urls import open_backend
from tests.damaged import damage

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


def test_a_job_whose_newest_record_a_disk_has_damaged_does_not_keep_others_from_being_late(
    tmp_path: Path, clock: HandSetClock
) -> None:
    with closing(open_backend("sqlite:///holter.db", str(tmp_path), clock=clock)) as store:
        scribe = Scribe(store, clock)
        clock.now = AT_TWO - HOUR
        dog = Watch(store, clock)
        dog.look()
        for each in ("a", "b", "c"):
            ran(scribe, clock, AT_TWO + 3, f"r{each}", name=each)
        dog.look()
        damage(tmp_path / "holter.db", "rb")
        dog.watch(AT_TWO + DAY + 900, 600)
        assert sorted((each.job, each.event) for each in dog.open()) == [
            ("a", "late"),
            ("b", "unjudged"),
            ("c", "late"),
        ]


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
    assert (missed.details["last_missed"], again.details["last_missed"]) == (
        AT_TWO + 2 * DAY,
        AT_TWO + 4 * DAY,
    )
    assert "3 in a row" in again.reason
    ran(scribe, clock, AT_TWO + 4 * DAY + 5, "r2")
    assert dog.look() == []
    assert dog.outcomes(MIDNIGHT, MIDNIGHT + 5 * DAY) == ["on_time", "missed", "missed", "missed", "on_time"]


@pytest.fixture
def dog(store: Backend, clock: HandSetClock, scribe: Scribe) -> Watch:
    """A watchdog, and a job whose first run was in time."""
    clock.now = AT_TWO - HOUR
    watch = Watch(store, clock)
    watch.look()
    ran(scribe, clock, AT_TWO + 3, "r0")
    watch.look()
    return watch


def test_a_job_that_cannot_be_judged_is_an_incident_until_it_can(
    dog: Watch, scribe: Scribe, clock: HandSetClock
) -> None:
    ran(scribe, clock, AT_TWO + HOUR, "r1", check={**NIGHTLY, "timezone": "Europe/Berlim"})
    assert dog.look() == ["unjudged"]
    assert dog.watch(AT_TWO + 2 * HOUR) == ["unjudged"]
    (incident,) = dog.open()
    assert incident.job == "etl"
    assert incident.reason == "there is no time zone 'Europe/Berlim' (did you mean Europe/Berlin?)"
    ran(scribe, clock, AT_TWO + 3 * HOUR, "r2", check={**NIGHTLY, "timezone": "Europe/Berlin"})
    assert dog.look() == []


# --- three clocks, by wall time, run by run (SC-3, SC-5, SC-6) -----------------------------------------------


def test_not_started_too_long_and_not_finished_have_three_clocks(
    dog: Watch, scribe: Scribe, clock: HandSetClock
) -> None:
    """SC-3: an hour late to finish is no late start, and the other way round."""
    dog.settings = Settings(checks={"etl": Check(finish_by="3h", max_duration=HOUR)})  # type: ignore[arg-type]
    dog.watch(AT_TWO + DAY - 60, 1800)
    ran(scribe, clock, AT_TWO + DAY + 10, "r1", state="")
    assert dog.watch(AT_TWO + DAY + 3 * HOUR - 1, 900) == []
    assert [p.event for p in status(dog.store, dog.settings, clock.now)[0].verdict.problems] == ["overdue"]
    assert dog.watch(AT_TWO + DAY + 3 * HOUR) == ["unfinished"]
    scribe.end("r1", "COMPLETED")
    assert dog.look() == []


def test_a_clock_time_to_finish_by_is_meant_in_the_schedules_zone(
    store: Backend, scribe: Scribe, clock: HandSetClock
) -> None:
    clock.now = AT_TWO - DAY
    dog = Watch(store, clock, etl=Check(schedule="0 22 * * *", timezone="Europe/Berlin", finish_by="06:00"))
    dog.look()
    ran(scribe, clock, AT_TWO - 5 * HOUR + 5, "r1", state="")  # 21:00 UTC is 22:00 there
    assert dog.watch(MIDNIGHT + 5 * HOUR - 1, 900) == []
    assert dog.watch(MIDNIGHT + 5 * HOUR) == ["unfinished"]


def test_a_run_that_hangs_is_not_hidden_by_the_next_that_succeeds(
    dog: Watch, scribe: Scribe, clock: HandSetClock
) -> None:
    """SC-5: each run has its own deadline."""
    dog.settings = Settings(checks={"etl": Check(max_duration=HOUR)})  # type: ignore[arg-type]
    ran(scribe, clock, AT_TWO + DAY, "hangs", state="")
    ran(scribe, clock, AT_TWO + DAY + 300, "fine")
    clock.now = AT_TWO + DAY + HOUR + 1
    (job,) = status(dog.store, dog.settings, clock.now)
    assert [(each.event, each.run_id) for each in job.verdict.problems] == [("overdue", "hangs")]


def test_deadlines_are_judged_without_any_run_once_and_under_one_key(dog: Watch, clock: HandSetClock) -> None:
    """SC-6: by wall time, not when the task ends; the key is the job, the event and the time."""
    dog.settings = Settings(checks={"etl": Check(finish_by="3h")})  # type: ignore[arg-type]
    assert dog.watch(AT_TWO + DAY + 3 * HOUR, 900) == ["late", "unfinished"]
    keys = [each.key for each in dog.open()]
    assert keys[0] == f"job:default/etl:late:{int(AT_TWO + DAY + 900)}"
    Watch(dog.store, clock, etl=Check(finish_by="3h")).look()  # type: ignore[arg-type]
    assert [each.key for each in dog.open()] == keys


# --- too short, too often, too long for this job (SC-4, SC-8) -------------------------------------------------


def test_a_run_that_was_too_short_is_an_incident_until_one_is_not(
    dog: Watch, scribe: Scribe, clock: HandSetClock
) -> None:
    """SC-4."""
    dog.settings = Settings(checks={"etl": Check(min_duration=30.0)})  # type: ignore[arg-type]
    ran(scribe, clock, AT_TWO + 400, "quick", took=1.0)
    assert dog.look() == ["short"]
    ran(scribe, clock, AT_TWO + 500, "fine", took=40.0)
    assert dog.look() == []


def test_runs_that_come_too_often_are_an_incident_until_they_do_not(
    dog: Watch, scribe: Scribe, clock: HandSetClock
) -> None:
    """SC-4."""
    dog.settings = Settings(checks={"etl": Check(max_runs_per="3 per 1h")})
    for number in range(1, 5):
        ran(scribe, clock, AT_TWO + number * 600, f"often{number}")
        expected = ["frequent"] if number >= 3 else []
        assert dog.look() == expected
    assert dog.watch(AT_TWO + 600 + HOUR - 1, 60) == ["frequent"]
    assert dog.watch(AT_TWO + 600 + HOUR) == []


def test_a_run_of_ninety_days_is_judged_like_any_other(
    dog: Watch, scribe: Scribe, clock: HandSetClock
) -> None:
    """SC-8: no limit of durations."""
    ran(scribe, clock, AT_TWO + HOUR, "long", took=90 * DAY, check={"max_duration": 91 * DAY})
    dog.look()
    (job,) = status(dog.store, dog.settings, clock.now, since=0.0)
    assert (job.well, job.record.last and job.record.last.duration_seconds) == (True, 90 * DAY)


# --- the zone (SC-1) ------------------------------------------------------------------------------------------


def test_a_host_in_another_zone_is_named_and_nobody_is_said_to_be_late(
    store: Backend, clock: HandSetClock
) -> None:
    """SC-1: the schedule means Berlin, the host is at UTC: an hour after the expected time in winter."""
    clock.now = AT_TWO - 2 * DAY
    dog = Watch(store, clock, etl=Check(schedule="0 2 * * *", timezone="Europe/Berlin", grace=900.0))  # type: ignore[arg-type]
    scribe = Scribe(store, clock)
    scribe.say("process", host="web-1", pid=42, zone="UTC", utc_offset=0)
    seen = set()
    for day in range(-1, 3):
        dog.watch(AT_TWO + day * DAY, 300)
        ran(scribe, clock, AT_TWO + day * DAY + 2, f"r{day}", check=None)
        seen |= set(dog.look())
        if day == -1:
            (named,) = dog.open()
    seen |= set(dog.watch(AT_TWO + 3 * DAY + 800, 300))
    assert seen == {"zone_mismatch"}
    assert named.reason == (
        'starts come 1h after the expected time: "0 2 * * *" is meant in Europe/Berlin, but web-1 is at UTC+00:00; '
        "write timezone: UTC into the check, or CRON_TZ=Europe/Berlin into its crontab"
    )
    assert named.details == {"shift_seconds": 3600.0}
    assert "late" in dog.watch(AT_TWO + 3 * DAY + 901, 300)  # it is late by its own clock now


# --- pauses, skips, gaps (CC-8, SC-7, AL-5) -------------------------------------------------------------------


def test_a_run_that_was_skipped_answers_its_turn(dog: Watch, scribe: Scribe, clock: HandSetClock) -> None:
    dog.watch(AT_TWO + DAY - 60, 1800)
    ran(scribe, clock, AT_TWO + DAY + 3, "busy", took=0.0, state="SKIPPED")
    assert dog.watch(AT_TWO + 2 * DAY - 60, 1800) == []
    assert dog.outcomes(MIDNIGHT, MIDNIGHT + 2 * DAY) == ["on_time", "skipped"]


def test_a_paused_job_is_never_late_and_its_turns_are_skipped(dog: Watch, clock: HandSetClock) -> None:
    paused = Registered("etl", pauses=((AT_TWO + HOUR, AT_TWO + 2 * DAY + HOUR),))
    register(dog.store, paused)
    assert dog.watch(AT_TWO + 3 * DAY, 1800) == []
    assert dog.outcomes(MIDNIGHT, MIDNIGHT + 3 * DAY) == ["on_time", "skipped", "skipped"]
    assert dog.watch(AT_TWO + 3 * DAY + 900, 300) == ["late"]


def test_while_nobody_watched_is_unknown_and_nobody_is_late_before_a_grace_has_passed(
    dog: Watch, clock: HandSetClock
) -> None:
    """SC-7 and AL-5."""
    clock.now = AT_TWO + 2 * DAY + HOUR  # two days without a watchdog
    again = Watch(dog.store, clock)
    assert again.look() == []
    assert again.watch(AT_TWO + 2 * DAY + HOUR + 899, 60) == []
    assert again.watch(AT_TWO + 2 * DAY + HOUR + 900) == ["missed"]
    again.watch(AT_TWO + 3 * DAY + 900, 1800)
    assert again.outcomes(MIDNIGHT, MIDNIGHT + 4 * DAY) == ["on_time", "unknown", "unknown"]


def test_a_run_of_an_offline_host_corrects_what_was_said_of_its_turn(
    dog: Watch, scribe: Scribe, clock: HandSetClock
) -> None:
    dog.watch(AT_TWO + 3 * DAY + 60, 1800)
    assert dog.outcomes(MIDNIGHT, MIDNIGHT + 3 * DAY) == ["on_time", "missed", "missed"]
    ran(Scribe(dog.store, clock, "j2"), clock, AT_TWO + DAY + 5, "offline")
    dog.look(AT_TWO + 3 * DAY + 60)
    assert dog.outcomes(MIDNIGHT, MIDNIGHT + 3 * DAY) == ["on_time", "on_time", "missed"]


def test_a_sleeping_host_has_one_grace(
    dog: Watch, clock: HandSetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dog.watch(AT_TWO + DAY - 60, 1800)
    slept = clock.now
    monkeypatch.setattr(clock, "monotonic", lambda: slept)
    assert dog.look(AT_TWO + DAY + HOUR) == []  # the wall clock went on, the monotonic did not
    monkeypatch.setattr(clock, "monotonic", lambda: clock.now - (AT_TWO + DAY + HOUR - slept))
    assert dog.watch(AT_TWO + DAY + HOUR + 901, 60) == ["late"]


def test_a_week_of_downtime_of_a_job_of_every_minute_is_caught_up_with_in_bounded_passes(
    clock: HandSetClock, scribe: Scribe, store: Backend
) -> None:
    clock.now = MIDNIGHT
    dog = Watch(store, clock, etl=Check(schedule="* * * * *", grace=30.0))  # type: ignore[arg-type]
    dog.look()
    ran(scribe, clock, MIDNIGHT + 60, "r1", took=1.0)
    dog.watch(MIDNIGHT + 180)
    clock.now = MIDNIGHT + 6 * DAY
    again = Watch(store, clock, etl=Check(schedule="* * * * *", grace=30.0))  # type: ignore[arg-type]
    again.look()
    outcomes = again.outcomes(MIDNIGHT, MIDNIGHT + 6 * DAY)
    assert len(outcomes) in (6 * 1440 - 1, 6 * 1440 - 2)
    assert set(outcomes[5:-1]) == {"unknown"}


def test_an_idle_pass_over_many_jobs_reads_no_run(
    store: Backend, scribe: Scribe, clock: HandSetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.now = AT_TWO - HOUR
    dog = Watch(store, clock)
    for number in range(50):
        ran(scribe, clock, AT_TWO - HOUR, f"r{number}", name=f"job{number}")
    for _ in range(10):
        dog.step.look(store, dog.settings)
    asked: list[str] = []
    for name in ("runs", "run", "newest", "summarize", "processes"):
        real = getattr(store, name)
        monkeypatch.setattr(store, name, lambda *a, _n=name, _r=real, **k: (asked.append(_n), _r(*a, **k))[1])
    clock.now += 5
    dog.step.look(store, dog.settings)
    assert asked == []


# --- status and the watchdog agree, and so do any two watchdogs -----------------------------------------------

CHECKS: list[dict[str, Any]] = [
    {"schedule": "*/30 * * * *", "grace": 300.0},
    {"schedule": "every 30m", "grace": 60.0, "finish_by": "10m"},
    {"schedule": "0 * * * *", "timezone": "Asia/Kolkata", "grace": 60.0, "finish_by": "20m"},
    {"min_duration": 30.0, "max_runs_per": "2 per 1h", "fresh_within": 5400.0},
]
Story = list[tuple[str, int]]
stories = st.lists(
    st.tuples(st.sampled_from(["COMPLETED", "FAILED", "SKIPPED", "", "pause", "resume"]), st.integers(1, 70)),
    max_size=12,
)


def told(store: Any, clock: HandSetClock, scribe: Scribe, number: int, what: str) -> None:
    """One thing happens."""
    if what in ("pause", "resume"):
        register(store, Registered("etl", pauses=((clock.now, None),) if what == "pause" else ()))
        return
    scribe.start(f"r{number}", check=None)
    if what:
        clock.now += (number % 3) * 20.0 + 1
        scribe.end(f"r{number}", what, seconds=(number % 3) * 20.0 + 1)


@settings(max_examples=120, deadline=None)
@given(stories, st.sampled_from(CHECKS))
def test_status_says_what_the_watchdog_says_at_every_moment(story: Story, check: dict[str, Any]) -> None:
    store: Any = MemoryBackend(f"memory:{token(8)}")
    clock = HandSetClock()
    clock.now = MIDNIGHT + 60
    scribe = Scribe(store, clock)
    dog = Watch(store, clock, etl=Check(**check))
    dog.look()
    for number, (what, minutes) in enumerate([("COMPLETED", 1), *story]):
        told(store, clock, scribe, number, what)
        clock.now += minutes * MINUTE
        dog.watch(clock.now + 5, 5)
        found = status(store, dog.settings, clock.now)[0].verdict.problems
        said = sorted((each.event, int(each.since)) for each in found if each.event in EVENTS)
        assert sorted((each.event, int(each.since)) for each in dog.open()) == said


@settings(max_examples=40, deadline=None)
@given(stories, st.sampled_from(CHECKS[:3]), st.data())
def test_the_ledger_is_complete_and_the_same_whoever_looks_and_however_often(
    story: Story, check: dict[str, Any], data: st.DataObject
) -> None:
    """One watchdog that looks all the time, against two that take turns, restart and look seldom."""
    ledgers_of: list[list[Entry]] = []
    for restless in (False, True):
        store: Any = MemoryBackend(f"memory:{token(8)}")
        clock = HandSetClock()
        clock.now = MIDNIGHT + 60
        scribe = Scribe(store, clock)
        dogs = [Watch(store, clock, etl=Check(**check)) for _ in range(2)]
        dogs[0].look()
        for number, (what, minutes) in enumerate([("COMPLETED", 1), *story]):
            if what in ("pause", "resume"):
                continue
            told(store, clock, scribe, number, what)
            end = clock.now + minutes * MINUTE
            # No gap: this is about the order of passes.
            pulse.beat(store, clock.now, started_at=0.0, interval=1e6)
            if restless and data.draw(st.booleans()):
                dogs[data.draw(st.integers(0, 1))] = Watch(store, clock, etl=Check(**check))
            for _ in range(1 if restless else minutes):
                each = dogs[data.draw(st.integers(0, 1)) if restless else 0]
                each.clock.now = min(end, clock.now + (minutes if restless else 1) * MINUTE)
                for _ in range(10):
                    each.step.look(store, each.settings)
            clock.now = end
        for each in dogs if restless else dogs[:1]:
            for _ in range(10):
                each.step.look(store, each.settings)
        ledgers_of.append(dogs[0].ledger(MIDNIGHT, MIDNIGHT + 10 * DAY))
    assert ledgers_of[0] == ledgers_of[1]
    times = [each.expected_at for each in ledgers_of[0]]
    assert times == sorted(set(times))
    if not check["schedule"].startswith("every"):
        schedule = Watch(store, clock, etl=Check(**check)).settings.checks["etl"]
        expected = Schedule.parse(str(schedule.schedule), schedule.timezone).expected_between(
            MIDNIGHT + 61, clock.now
        )
        assert times == expected[: len(times)]
        assert len(expected) - len(times) <= 1  # the last turn may still be open


def test_the_report_takes_completeness_from_the_ledger_unknown_and_skipped_aside(
    dog: Watch, scribe: Scribe, clock: HandSetClock
) -> None:
    clock.now = AT_TWO + 2 * DAY + HOUR  # two turns are unknown
    again = Watch(dog.store, clock)
    again.look()
    again.watch(AT_TWO + 3 * DAY - 60, 1800)
    ran(scribe, clock, AT_TWO + 3 * DAY + 3, "busy", took=0.0, state="SKIPPED")
    again.watch(AT_TWO + 5 * DAY + 60, 1800)  # one is skipped, one is missed
    query = RunQuery(since=MIDNIGHT - DAY, until=clock.now, roots=True)
    (job,) = report(dog.store, {}, query).jobs
    assert again.outcomes(MIDNIGHT, MIDNIGHT + 6 * DAY) == [
        "on_time",
        "unknown",
        "unknown",
        "skipped",
        "missed",
    ]
    assert job.completeness == 1 / 2


def test_what_holter_checks_says_wins_over_the_settings_and_these_over_the_decorator(
    dog: Watch, clock: HandSetClock
) -> None:
    dog.settings = Settings(checks={"etl": Check(grace=1800.0)})  # type: ignore[arg-type]
    assert dog.watch(AT_TWO + DAY + 1799, 900) == []
    register(dog.store, Registered("etl", check={"grace": 3600.0}))
    assert dog.watch(AT_TWO + DAY + 3599, 900) == []
    assert dog.watch(AT_TWO + DAY + 3600) == ["late"]
    register(dog.store, Registered("etl", forgotten_at=clock.now))
    dog.settings = evolve(dog.settings, checks={})
    assert dog.watch(clock.now + 10) == []
