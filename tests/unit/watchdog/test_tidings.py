"""Incidents, quiet hours, snoozes and broken channels: what is told, when, through what, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from holter.agent.setting_types import QuietHours
from holter.agent.settings import Channel, Rule, Settings, WatchdogSettings
from holter.agent.watchdog import broken, notify, outbox, reminders
from holter.agent.watchdog.gather import gather
from holter.agent.watchdog.incidents import Board, Incident
from holter.agent.watchdog.quiet import quiet_until
from holter.backends.base import Backend
from holter.backends.clock import token
from holter.backends.memory import MemoryBackend

HOUR = 3600.0
LATE = Incident("late", "default:etl:late:100", "expected at 02:00", 1_799_999_000.0, job="etl", host="web-1")
DISK = Incident("disk", "host:web-1:disk:100", "/ has 1% left", 1_799_999_000.0, host="web-1")


def settings(receiver: Any, *rules: Rule, digest: int = 0, **channels: Any) -> Settings:
    hooks = {name: Channel("webhook", each.url) for name, each in {"ops": receiver, **channels}.items()}
    return Settings(channels=hooks, alerts=rules, watchdog=WatchdogSettings(digest=digest))


def watch(backend: Any, clock: Any, config: Settings, **options: Any) -> None:
    while notify.collect(backend, clock, config):
        pass
    while notify.deliver(backend, clock, config, **options):
        pass


def found(store: Backend, clock: Any, scope: str, *incidents: Incident) -> None:
    Board(store).settle(scope, incidents, clock.now)


# --- incidents ---


def test_an_incident_is_told_once_and_its_end_too(store: Backend, clock: Any, receiver: Any) -> None:
    config = settings(receiver)
    found(store, clock, "job:default/etl", LATE)
    watch(store, clock, config)
    watch(store, clock, config)
    (alert,) = receiver.taken
    assert (alert["event"], alert["dedupe_key"], alert["job"]) == ("late", LATE.key, "etl")
    assert (alert["run_id"], alert["state"], alert["title"]) == (None, None, "etl late on web-1")
    assert "expected at 02:00\nAt 2027-01-15T07:43:20.000Z." in alert["body"]
    assert alert["body"].endswith("See more: holter status --job etl")
    found(store, clock, "job:default/etl")
    watch(store, clock, config)
    assert receiver.keys == [LATE.key, f"{LATE.key}:recovered"]
    assert "before: late, expected at 02:00" in receiver.taken[1]["body"]
    assert store.list("incident") == []
    assert not any(each["open"] for each in outbox.list_alerts(store))


def test_an_incident_that_names_a_run_has_its_lines_and_figures(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    scribe.start("r1")
    scribe.say("log", run="r1", text="waiting for it", level="INFO", stream="stdout")
    wait = Incident("slot_wait", "limit:gpu@web-1:slot_wait:9", "gpu for 2 h", 9.0, job="etl", run_id="r1")
    found(store, clock, "limit:gpu@web-1", wait)
    watch(store, clock, settings(receiver))
    (alert,) = receiver.taken
    assert (alert["run_id"], alert["state"], alert["log_tail"]) == ("r1", "RUNNING", ["waiting for it"])
    assert alert["body"].endswith("See more: holter slots")


def test_late_that_became_missed_did_not_recover(store: Backend, clock: Any, receiver: Any) -> None:
    config = settings(receiver)
    found(store, clock, "job:default/etl", LATE)
    watch(store, clock, config)
    missed = Incident("missed", "default:etl:missed:100", "no run came", clock.now, job="etl")
    found(store, clock, "job:default/etl", missed)
    watch(store, clock, config)
    found(store, clock, "job:default/etl")
    watch(store, clock, config)
    assert [each["event"] for each in receiver.taken] == ["late", "missed", "recovered"]


def test_misses_have_a_threshold_of_their_own(store: Backend, clock: Any, receiver: Any) -> None:
    config = settings(receiver, Rule(on=("missed",), to=("ops",), after=5, after_missed=3))
    missed = [
        Incident("missed", f"default:etl:missed:{n}", "no run came", clock.now, job="etl") for n in range(3)
    ]
    for number in range(3):
        assert receiver.requests == []
        found(store, clock, "job:default/etl", *missed[: number + 1])
        watch(store, clock, config)
    assert set(receiver.keys) == {each.key for each in missed}


def test_misses_that_one_incident_counts_reach_the_threshold_too(
    store: Backend, clock: Any, receiver: Any
) -> None:
    config = settings(receiver, Rule(on=("missed",), to=("ops",), after_missed=3))
    for number in (1, 2, 3, 4):
        counted = {"misses": number}
        found(
            store,
            clock,
            "job:default/etl",
            Incident("missed", "m", f"{number}", 100.0, job="etl", details=counted),
        )
        watch(store, clock, config)
        assert len(receiver.requests) == (number >= 3)
    assert receiver.taken[0]["reason"] == "3"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (Rule(on=("late", "disk")), ["late", "disk"]),
        (Rule(on=("late", "disk"), jobs=("etl",)), ["late"]),
        (Rule(on=("late", "disk"), jobs=("other",)), []),
        (Rule(on=("late", "disk"), projects=("def*",)), ["late"]),
        (Rule(on=("late", "disk"), projects=("billing",)), []),
        (Rule(on=("late", "disk"), tags=("nightly",)), ["late"]),
        (Rule(on=("late", "disk"), tags=("weekly",)), []),
    ],
)
def test_a_rule_about_jobs_projects_or_tags_hears_of_those_only(
    rule: Rule, told: list[str], store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    scribe.start("r1", tags=["nightly"])
    scribe.end("r1", "COMPLETED")
    found(store, clock, "job:default/etl", LATE)
    found(store, clock, "host:web-1", DISK)
    watch(store, clock, settings(receiver, rule))
    assert sorted(each["event"] for each in receiver.taken) == sorted(told)


def test_a_run_is_chosen_by_its_tags_and_project_too(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    scribe.start("r1", tags=["nightly"])
    scribe.end("r1")
    scribe.ran("r2")
    watch(store, clock, settings(receiver, Rule(on=("failed",), tags=("night*",), projects=("default",))))
    assert receiver.keys == ["r1:failed"]


def test_3_of_5_is_told_at_the_third_bad_ending_of_the_last_five(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(receiver, Rule(on=("failed", "crashed"), after="3 of 5", recovered=False))
    for number, state in enumerate(
        ["FAILED", "COMPLETED", "FAILED", "COMPLETED", "FAILED", "COMPLETED", "FAILED"]
    ):
        clock.now += 60
        scribe.ran(f"r{number}", state)
        watch(store, clock, config)
    assert receiver.keys == ["r4:failed", "r6:failed"]
    assert len(store.transitions(0)) == 14  # each failure is recorded all the same


def test_a_crash_is_told_at_once_however_patient_the_rule_is_about_failures(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(receiver, Rule(on=("failed", "crashed"), after=3))
    scribe.ran("r1")
    scribe.start("r2")
    scribe.crash("r2")
    watch(store, clock, config)
    assert receiver.keys == ["r2:crashed"]


def test_an_incident_is_repeated_until_it_is_over_but_not_for_ever(
    store: Backend, clock: Any, receiver: Any
) -> None:
    config = settings(receiver, Rule(on=("disk",), remind=HOUR))
    found(store, clock, "host:web-1", DISK)
    for _ in range(2 * reminders.AT_MOST):
        watch(store, clock, config)
        clock.now += HOUR
    assert receiver.keys == [DISK.key, *(f"{DISK.key}:reminder-{n}" for n in range(1, reminders.AT_MOST + 1))]
    assert receiver.taken[1]["title"] == "web-1 runs out of disk space (reminder 1)"
    assert "/ has 1% left" in receiver.taken[1]["body"]


def test_a_crash_says_what_its_host_said_meanwhile(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    scribe.start("r1")
    clock.now += 60
    signals = {
        "at": clock.now,
        "disk_free": 0.01,
        "notes": ["/ has 1% left", "2 processes killed for memory"],
    }
    store.put("host", "web-1", signals, 0)
    scribe.crash("r1")
    watch(store, clock, settings(receiver))
    assert "web-1: / has 1% left\nweb-1: 2 processes killed for memory" in receiver.taken[0]["body"]
    clock.now += 60
    scribe.start("r2")
    scribe.crash("r2")
    watch(store, clock, settings(receiver))
    assert "1% left" not in receiver.taken[1]["body"]  # that was before its time


def test_what_a_host_restarted_with_is_told_with_it_and_not_said_to_be_over(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    restart = Incident("host_restarted", "host:web-1:host_restarted:9", "1 run is gone", 9.0, host="web-1")
    config = settings(receiver, digest=5)
    scribe.start("r1")
    scribe.say("judge", run="r1", state="CRASHED", by="proof", reason="host restarted")
    found(store, clock, "host:web-1", restart)
    while notify.collect(store, clock, config):
        pass
    found(store, clock, "host:web-1")  # told, as detection sees it
    for _ in range(2):
        watch(store, clock, config)
    (alert,) = receiver.taken
    assert alert["title"] == "web-1 was restarted: 1 restarted, 1 crashed"
    assert "over" not in alert["body"].lower()


def test_what_happened_is_not_said_to_be_over_when_it_arrives_late(
    store: Backend, clock: Any, receiver: Any
) -> None:
    gap = Incident("watch_gap", "watchdog:web-1:watch_gap:9", "nobody watched", clock.now, host="web-1")
    config = settings(receiver)
    receiver.answers = [500]
    for wanted in ([gap], []):
        found(store, clock, "watchdog:web-1", *wanted)
        watch(store, clock, config)
        clock.now += 60
    watch(store, clock, config)
    (alert,) = receiver.taken
    assert alert["body"].startswith("nobody watched")


def test_after_a_gap_one_message_names_it_and_what_is_unresolved(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    scribe.ran("r1")
    found(store, clock, "job:default/etl", LATE)
    gap = Incident(
        "watch_gap", "watchdog:web-1:watch_gap:9", "nobody watched for 3 h", clock.now, host="web-1"
    )
    found(store, clock, "watchdog:web-1", gap)
    config = settings(receiver, digest=5)
    for _ in range(3):
        watch(store, clock, config)
    (alert,) = receiver.taken
    assert alert["body"].split("\n")[2:4] == [
        "1 not watched for a while: web-1",
        "  nobody watched for 3 h",
    ]
    assert "1 failed: etl" in alert["body"]


# --- snoozes ---


@pytest.mark.parametrize("whom", [{"job": "et*"}, {"job": None, "host": "web-*"}], ids=["a job", "a host"])
def test_a_snooze_outlives_success_failure_restart_and_new_settings_and_then_ends(
    whom: dict[str, Any], open_store: Callable[[], Backend], clock: Any, scribe: Any, receiver: Any
) -> None:
    store = open_store()
    outbox.snooze(store, until=clock.now + 2 * HOUR, by="ada", **whom)
    for number, state in enumerate(["FAILED", "COMPLETED", "FAILED", "CRASHED", "COMPLETED", "FAILED"]):
        clock.now += 600
        scribe.ran(f"r{number}", state)
        config = settings(receiver, Rule(on=("failed", "crashed"), to=("ops",), remind=600.0 + number))
        watch(open_store(), clock, config)  # each time another watchdog, with other settings
    found(store, clock, "job:default/etl", LATE)
    watch(open_store(), clock, settings(receiver))
    assert receiver.requests == []
    states = {each["dedupe_key"]: each["state"] for each in outbox.list_alerts(store)}
    assert states == {
        **{f"r{number}:failed": "snoozed" for number in (0, 2, 5)},
        "r3:crashed": "snoozed",
        LATE.key: "snoozed",
    }
    clock.now += 2 * HOUR
    scribe.ran("r9")
    watch(open_store(), clock, settings(receiver, Rule(on=("failed",))))
    assert receiver.keys == ["r9:failed"]


def test_a_snoozed_host_silences_no_other_host_and_a_snooze_of_0s_ends_it(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    outbox.snooze(store, None, clock.now + HOUR, host="web-2")
    scribe.ran("r1")
    watch(store, clock, settings(receiver))
    assert receiver.keys == ["r1:failed"]
    outbox.snooze(store, None, clock.now + HOUR, host="web-1")
    outbox.snooze(store, "web-1", clock.now + HOUR)
    assert len(outbox.snoozes(store, clock.now)) == 3
    scribe.ran("r2")
    watch(store, clock, settings(receiver))
    outbox.snooze(store, None, clock.now, host="web-1")
    scribe.ran("r3")
    watch(store, clock, settings(receiver))
    assert receiver.keys == ["r1:failed", "r3:failed"]


def test_a_snoozed_host_is_silent_about_jobs_that_should_have_run_there(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    scribe.ran("r1", "COMPLETED")
    outbox.snooze(store, None, clock.now + HOUR, host="web-1")
    missed = Incident("missed", "default:etl:missed:1", "no run came", clock.now, job="etl")
    other = Incident("missed", "default:new:missed:1", "no run came", clock.now, job="new")
    found(store, clock, "job:default/etl", missed)
    found(store, clock, "job:default/new", other)
    watch(store, clock, settings(receiver))
    assert receiver.keys == [other.key]


def test_what_waits_when_a_snooze_begins_is_snoozed(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(receiver, Rule(on=("failed",), quiet_hours=QuietHours("00:00", "09:00")))
    scribe.ran("r1")
    watch(store, clock, config)
    outbox.snooze(store, "etl", clock.now + 4 * HOUR)
    clock.now += 2 * HOUR
    watch(store, clock, config)
    assert receiver.requests == []
    assert [each["state"] for each in outbox.list_alerts(store)] == ["snoozed"]


def test_a_host_is_acknowledged_as_a_whole(store: Backend, clock: Any, scribe: Any, receiver: Any) -> None:
    config = settings(receiver, Rule(on=("failed", "disk"), remind=HOUR))
    scribe.ran("r1")
    found(store, clock, "host:web-1", DISK)
    watch(store, clock, config)
    assert outbox.ack(store, None, "ada", clock, host="web-2") == 0
    assert outbox.ack(store, None, "ada", clock, host="web-1") == 2
    clock.now += 3 * HOUR
    watch(store, clock, config)
    assert len(receiver.requests) == 2


# --- quiet hours ---

NIGHT = QuietHours("22:00", "09:00")  # the tests' clock stands at 08:00 UTC


def test_what_comes_in_quiet_hours_is_one_digest_when_they_end(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(receiver, Rule(on=("failed", "late"), quiet_hours=NIGHT), digest=5)
    scribe.ran("r1")
    scribe.ran("r2", name="other")
    found(store, clock, "job:default/etl", LATE)
    watch(store, clock, config)
    scribe.ran("r3", "COMPLETED", name="other")
    watch(store, clock, config)
    assert receiver.requests == []
    assert {each["state"] for each in outbox.list_alerts(store)} == {"held"}
    clock.now += HOUR
    watch(store, clock, config)
    (alert,) = receiver.taken
    assert alert["title"] == "3 alerts about 2 jobs on web-1: 2 failed, 1 late"
    assert "Over by now (1): other" in alert["body"]
    scribe.ran("r4", name="third")
    watch(store, clock, config)
    assert receiver.keys[1:] == ["r4:failed"]


def test_one_alert_of_the_night_arrives_in_full_and_says_that_it_is_over(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(receiver, Rule(on=("failed",), quiet_hours=NIGHT), digest=5)
    scribe.ran("r1", error={"type": "ValueError", "message": "no rows"})
    watch(store, clock, config)
    scribe.ran("r2", "COMPLETED")
    watch(store, clock, config)
    clock.now += HOUR
    watch(store, clock, config)
    (alert,) = receiver.taken
    assert alert["body"].startswith("This is over since ")
    assert "ValueError: no rows" in alert["body"]


def test_what_the_night_held_is_told_in_the_morning_and_its_recovery_too(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(receiver, Rule(on=("failed",), quiet_hours=NIGHT))
    scribe.ran("r1")
    watch(store, clock, config)
    clock.now += HOUR
    watch(store, clock, config)
    scribe.ran("r2", "COMPLETED")
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed", "r2:recovered"]


def test_an_alert_that_ends_while_another_watchdog_tells_it_recovers(
    open_store: Callable[[], Backend], clock: Any, scribe: Any, receiver: Any
) -> None:
    """The watchdog that sees the recovery read the alert as held; the other one lets it out at that moment."""
    store, config = open_store(), settings(receiver, Rule(on=("failed",), quiet_hours=NIGHT))
    scribe.ran("r1")
    watch(store, clock, config)
    clock.now += HOUR - 1
    scribe.ran("r2", "COMPLETED")
    rival = Overtaken(open_store(), store, clock)
    watch(rival, clock, config)
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed", "r2:recovered"]


class Overtaken:
    """A handle whose owner is overtaken, once, when it has read what is to be done: the quiet hours end."""

    def __init__(self, backend: Backend, other: Backend, clock: Any) -> None:
        self._backend, self._other, self._clock, self._left = backend, other, clock, 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def list(self, kind: str) -> Any:
        found = self._backend.list(kind)
        if kind == outbox.ALERT and self._left:
            self._left -= 1
            self._clock.now += 2
            gather(self._other, dict(found), self._clock.now, 5)
        return found


def test_a_recovery_in_the_night_of_what_was_told_before_comes_in_the_morning(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    clock.now += 12 * HOUR  # 20:00
    config = settings(receiver, Rule(on=("failed",), quiet_hours=NIGHT))
    scribe.ran("r1")
    watch(store, clock, config)
    clock.now += 4 * HOUR
    scribe.ran("r2", "COMPLETED")
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed"]
    clock.now += 9 * HOUR
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed", "r2:recovered"]


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2027-01-15 21:59", None),
        ("2027-01-15 22:00", "2027-01-16 07:00"),
        ("2027-01-16 06:59", "2027-01-16 07:00"),
        ("2027-01-16 07:00", None),
        ("2027-03-27 23:00", "2027-03-28 07:00"),  # the night in which the clocks go forward
        ("2027-10-31 02:30", "2027-10-31 07:00"),  # and back
    ],
)
def test_quiet_hours_go_by_the_wall_clock_of_their_zone(at: str, until: str | None) -> None:
    zone = ZoneInfo("Europe/Berlin")

    def unix(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()

    hours = QuietHours("22:00", "07:00", "Europe/Berlin")
    assert quiet_until(hours, unix(at)) == (unix(until) if until else None)


def test_quiet_days_are_those_on_which_the_quiet_hours_begin() -> None:
    def unix(text: str) -> float:
        return datetime.fromisoformat(f"{text}+00:00").timestamp()

    weekend = QuietHours("22:00", "07:00", days=("fri",))
    assert quiet_until(weekend, unix("2027-01-16 06:00")) == unix("2027-01-16 07:00")  # Saturday's morning
    assert quiet_until(weekend, unix("2027-01-15 06:00")) is None  # Friday's
    whole_day = QuietHours("00:00", "00:00", days=("sat", "sun"))
    assert quiet_until(whole_day, unix("2027-01-16 12:00")) == unix("2027-01-17 00:00")
    assert quiet_until(None, 0.0) is None


# --- broken channels ---


def test_a_channel_that_refuses_for_good_is_alarmed_through_the_fallback_and_recovers(
    store: Backend, clock: Any, scribe: Any, receiver: Any, new_receiver: Callable[[], Any]
) -> None:
    pager = new_receiver()
    config = settings(receiver, Rule(on=("failed",), to=("ops",), fallback="pager"), pager=pager)
    receiver.answers = [404]
    scribe.ran("r1")
    for _ in range(2):
        watch(store, clock, config)
    assert receiver.taken == []
    assert [each["event"] for each in pager.taken] == ["failed", "channel_broken"]
    assert pager.taken[1]["title"] == "channel ops does not deliver"
    assert "404" in pager.taken[1]["reason"]
    assert pager.taken[1]["body"].endswith("See more: holter doctor")
    scribe.ran("r2", name="other")
    clock.now += 60
    for _ in range(3):
        watch(store, clock, config)
    assert receiver.keys == ["r2:failed"]
    assert [each["event"] for each in pager.taken[2:]] == ["recovered"]


def test_a_channel_that_keeps_failing_is_alarmed_through_another_one_and_never_through_itself(
    store: Backend, clock: Any, scribe: Any, receiver: Any, new_receiver: Callable[[], Any]
) -> None:
    other = new_receiver()
    config = settings(receiver, Rule(on=("failed",), to=("ops",)), other=other)
    receiver.answers = [500] * 10_000
    scribe.ran("r1")
    for number in range(30):
        watch(store, clock, config)
        assert len(other.taken) == (number >= 15)
        clock.now += 60
    assert [each["event"] for each in other.taken] == ["channel_broken"]
    assert not any("channel_broken" in each["body"].decode() for each in receiver.requests)
    receiver.answers = []
    clock.now += broken.PATIENCE
    for _ in range(2):
        watch(store, clock, config)
    assert receiver.keys == ["r1:failed"]
    assert [each["event"] for each in other.taken] == ["channel_broken", "recovered"]


def test_an_alert_that_was_given_up_on_is_alarmed_even_where_its_channel_works_again(
    store: Backend, clock: Any, scribe: Any, receiver: Any, new_receiver: Callable[[], Any]
) -> None:
    other = new_receiver()
    config = settings(receiver, Rule(on=("failed",), to=("ops",)), other=other)
    receiver.answers = [410]
    scribe.ran("r1")
    scribe.ran("r2", name="other")
    watch(store, clock, config)  # the first is refused, the second is taken
    watch(store, clock, config)
    assert receiver.keys == ["r2:failed"]
    assert [each["event"] for each in other.taken] == ["channel_broken"]
    assert "an alert was given up on" in other.taken[0]["reason"]
    clock.now += 2 * HOUR
    watch(store, clock, config)
    assert [each["event"] for each in other.taken] == ["channel_broken", "recovered"]


def test_with_only_one_channel_there_is_nobody_to_tell_and_nothing_breaks(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    receiver.answers = [410]
    scribe.ran("r1")
    for _ in range(3):
        watch(store, clock, settings(receiver))
    assert receiver.taken == []
    assert [each["channel"] for each in outbox.broken_channels(store)] == ["ops"]


# --- and all of it together ---

STEPS = ["fail a", "fail b", "good a", "crash a", "lost", "late", "no late", "snooze", "night", "wait"]


class Story:
    """A history of runs and incidents with a pass of the alerting half after each step, over a channel that takes
    everything. `wanted` is what the rule asks for, `told` what the channel took."""

    def __init__(self, store: Backend, clock: Any, scribe: Any, config: Settings) -> None:
        self.store, self.clock, self.scribe, self.config = store, clock, scribe, config
        self.wanted: set[str] = set()
        self.told: list[str] = []
        self.number = 0

    def step(self, name: str) -> None:
        self.number += 1
        self.clock.now += 1
        run = f"r{self.number}"
        if name in ("fail a", "fail b", "good a"):
            state = "COMPLETED" if name == "good a" else "FAILED"
            self.scribe.ran(run, state, name=name[-1])
            self.wanted |= {f"{run}:failed"} if state == "FAILED" else set()
        elif name == "crash a":
            self.scribe.start(run, "a")
            self.scribe.crash(run)
            self.wanted.add(f"{run}:crashed")
        elif name == "lost":
            self.scribe.start(run, f"silent{self.number}")
            self.scribe.condition(run, "lost")
            self.wanted.add(f"{run}:lost:{self.store.transitions(0)[-1].seq}")
        elif name in ("late", "no late"):
            late = Incident("late", f"default:a:late:{self.number}", "", self.clock.now, job="a")
            found(self.store, self.clock, "job:default/a", *([late] if name == "late" else []))
            self.wanted |= {late.key} if name == "late" else set()
        elif name == "snooze":
            outbox.snooze(self.store, "a", self.clock.now + HOUR)
        else:
            self.clock.now += 13 * HOUR if name == "night" else 600
        self.listen()

    def listen(self) -> None:
        while notify.collect(self.store, self.clock, self.config):
            pass
        for key, held in outbox.pending(self.store):
            self.told.append(held.value["alert"]["dedupe_key"])
            sent = {**held.value, "state": "sent", "sent_at": self.clock.now}
            self.store.put(outbox.ALERT, key, sent, held.version)
            outbox.file_away(self.store, key)


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(st.sampled_from(STEPS), max_size=15), size=st.sampled_from([0, 2, 5]))
def test_whatever_a_rule_wants_is_told_once_alone_or_in_a_digest_or_snoozed(
    story: list[str], size: int, clock: Any, new_scribe: Callable[[Backend], Any]
) -> None:
    clock.now = 1_800_000_000.0
    store = MemoryBackend(token(8), clock=clock)
    rule = Rule(
        on=("failed", "crashed", "lost", "late"), to=("ops",), quiet_hours=QuietHours("20:00", "21:30")
    )
    config = Settings(
        channels={"ops": Channel("command", "true")}, alerts=(rule,), watchdog=WatchdogSettings(digest=size)
    )
    it = Story(store, clock, new_scribe(store), config)
    for name in story:
        it.step(name)
    for _ in range(20):
        clock.now += HOUR
        it.listen()
    alerts = {each["dedupe_key"]: each for each in outbox.list_alerts(store)}
    assert len(set(it.told)) == len(it.told)
    assert it.wanted <= set(alerts)
    for key, alert in alerts.items():
        assert alert["state"] in ("sent", "digest", "snoozed"), key
        assert (alert["state"] == "sent") == (key in it.told), key
        if alert["state"] == "digest":
            assert any(outbox.key_of(each, "ops") == alert["digest"] for each in it.told), key
