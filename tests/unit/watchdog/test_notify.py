"""From transitions to delivered alerts: nothing lost, nothing said needlessly, whatever dies in between."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from holter.agent import identity
from holter.agent.settings import Channel, Rule, Settings, WatchdogSettings
from holter.agent.watchdog import delivery, notify, outbox
from holter.agent.watchdog.incidents import Board, Incident
from holter.backends.base import Backend
from holter.backends.urls import open_backend
from tests.damaged import damage

from .conftest import Scribe
from .dying import Dying, Killed

HOUR = 3600.0


def hook(receiver: Any) -> Channel:
    return Channel(kind="webhook", target=receiver.url)


def settings(*rules: Rule, **channels: Channel) -> Settings:
    """Every alert is a message of its own here; digests have tests of their own."""
    return Settings(channels=channels, alerts=rules, watchdog=WatchdogSettings(digest=0))


def rule(*on: str, to: tuple[str, ...] = ("ops",), **fields: Any) -> Rule:
    return Rule(on=on or ("failed", "crashed", "stalled"), to=to, **fields)


def watch(backend: Any, clock: Any, config: Settings, **options: Any) -> None:
    """One pass of the alerting half."""
    while notify.collect(backend, clock, config):
        pass
    while notify.deliver(backend, clock, config, **options):
        pass


def events(receiver: Any) -> list[str]:
    return [alert["event"] for alert in receiver.taken]


def about_runs(receiver: Any) -> list[str]:
    return [key for key in receiver.keys if not key.startswith("channel:")]


@pytest.fixture
def config(receiver: Any) -> Settings:
    return settings(rule(), ops=hook(receiver))


# --- what is said ---


def test_a_crash_arrives_with_everything_that_the_reader_needs(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.ran("r0", "COMPLETED", seconds=30.0)
    watch(store, clock, config)
    scribe.start("r1")
    for number in range(30):
        scribe.say("log", run="r1", text=f"line {number}", level="INFO", stream="stdout")
    clock.now += 12
    scribe.crash("r1")
    watch(store, clock, config)
    (alert,) = receiver.taken
    assert alert == {
        "event": "crashed",
        "dedupe_key": "r1:crashed",
        "job": "etl",
        "project": "default",
        "run_id": "r1",
        "state": "CRASHED",
        "conditions": [],
        "host": "web-1",
        "at": "2027-01-15T08:00:12.000Z",
        "reason": "killed by signal 9",
        "error": None,
        "log_tail": [f"line {number}" for number in range(10, 30)],
        "duration_seconds": 12.0,
        "usual_duration_seconds": 30.0,
        "title": "etl crashed on web-1",
        "body": alert["body"],
    }
    for part in ("killed by signal 9", "after 12 s (usually 30 s)", "  line 29", "holter show r1"):
        assert part in alert["body"]


def test_the_exception_line_is_in_the_text(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.ran("r1", error={"type": "ValueError", "message": "no rows", "traceback": "..."})
    watch(store, clock, config)
    assert receiver.taken[0]["body"].startswith("ValueError: no rows\n")
    assert receiver.taken[0]["error"]["type"] == "ValueError"


def test_the_three_likeliest_causes_are_in_the_text(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    for run, state, change in (("r0", "COMPLETED", 0), ("r1", "FAILED", 1)):
        clock.now += 60
        scribe.start(run, parameters=dict.fromkeys("abcd", change))
        scribe.end(run, state, error={"type": "OSError", "message": "no space left"} if change else None)
    watch(store, clock, config)
    assert receiver.taken[0]["body"].partition("Probably because:\n")[2].splitlines()[:4] == [
        "  The disk is full, or a quota or size limit is reached: OSError: no space left",
        "  Parameter a is 1, and was 0 in the last success",
        "  Parameter b is 1, and was 0 in the last success",
        "",
    ]


def test_an_odd_error_from_a_foreign_journal_holds_up_nobody(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.ran("r1", error={"type": 5, "message": ["no", "text"]})
    scribe.ran("r2", name="other [1]*", error={})
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed", "r2:failed"]


def test_every_final_failure_is_told_and_no_attempt_before_it(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.start("r1")
    scribe.say("retry", run="r1", attempt=1, error=None, delay=1)
    watch(store, clock, config)
    scribe.say("attempt", run="r1", attempt=2)
    watch(store, clock, config)
    assert receiver.requests == []
    scribe.end("r1", "FAILED")
    watch(store, clock, config)
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed"]


def test_tasks_of_a_crashed_run_do_not_speak_for_themselves(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.start("r1")
    scribe.start("r1.2", "load", "task", parent="r1")
    scribe.crash("r1.2")
    scribe.crash("r1")
    watch(store, clock, config)
    assert receiver.keys == ["r1:crashed"]


def test_after_is_counted_over_the_jobs_runs_in_the_ledger(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(rule(after=2, recovered=False), ops=hook(receiver))
    for number, state in enumerate(["FAILED", "COMPLETED", "FAILED", "SKIPPED", "TIMED_OUT", "FAILED"]):
        clock.now += 60
        scribe.ran(f"r{number}", state)
        scribe.ran(f"x{number}", "FAILED" if number % 2 else "COMPLETED", name="other")
        watch(store, clock, config)
    assert receiver.keys == [
        "r5:failed"
    ]  # timed_out is a failure that counts, but this rule does not name it


def test_two_rules_that_ask_for_the_same_alert_send_it_once_per_channel(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(rule(), rule("failed", to=("ops", "two")), ops=hook(receiver), two=hook(receiver))
    scribe.ran("r1")
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed", "r1:failed"]
    assert {each["channel"] for each in outbox.list_alerts(store)} == {"ops", "two"}


def test_the_first_pass_leaves_out_what_is_older_than_an_hour(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    for number in range(250):
        scribe.ran(f"old{number}", name=f"job{number}")
    clock.now += HOUR + 1
    scribe.ran("young")
    clock.now += HOUR - 1
    watch(store, clock, config)
    assert receiver.keys == ["young:failed"]


def test_a_watchdog_without_channels_takes_nothing_from_one_that_has_some(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    watch(store, clock, config)
    scribe.ran("r1")
    watch(store, clock, settings())
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed"]


# --- recovery ---


def test_a_job_that_completes_after_failures_recovers_once(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    for number, state in enumerate(["COMPLETED", "FAILED", "FAILED", "COMPLETED", "COMPLETED"]):
        clock.now += 60
        scribe.ran(f"r{number}", state)
        watch(store, clock, config)
    assert receiver.keys == ["r1:failed", "r2:failed", "r3:recovered"]
    recovered = receiver.taken[-1]
    assert recovered["state"] == "COMPLETED"
    assert "Since 2027-01-15T08:02:00.000Z" in recovered["body"]  # when the first of the failures was
    assert not any(each["open"] for each in outbox.list_alerts(store))


def test_one_batch_with_failure_and_completion_recovers_too(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    for number, state in enumerate(["FAILED", "COMPLETED", "FAILED", "COMPLETED"]):
        scribe.ran(f"r{number}", state)
    watch(store, clock, config)
    assert receiver.keys == ["r0:failed", "r1:recovered", "r2:failed", "r3:recovered"]


def test_a_condition_that_comes_and_goes_is_told_each_time(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.start("r1")
    for _ in range(2):
        for on in (True, False):
            clock.now += 60
            scribe.condition("r1", "stalled", on)
            watch(store, clock, config)
    assert events(receiver) == ["stalled", "recovered", "stalled", "recovered"]
    assert len(set(receiver.keys)) == 4


def test_a_stalled_run_that_ends_badly_does_not_recover(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.start("r1")
    scribe.condition("r1", "stalled")
    watch(store, clock, config)
    scribe.end("r1", "FAILED")
    watch(store, clock, config)
    assert events(receiver) == ["stalled", "failed"]
    assert [each["open"] for each in outbox.list_alerts(store) if each["event"] == "stalled"] == [False]


def test_a_crash_verdict_that_the_process_refutes_is_taken_back(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.start("r1")
    scribe.crash("r1")
    watch(store, clock, config)
    scribe.end("r1", "COMPLETED")
    watch(store, clock, config)
    assert receiver.keys == ["r1:crashed", "r1:recovered"]


def test_recovered_false_is_silent_about_recovery(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(rule(recovered=False), ops=hook(receiver))
    scribe.ran("r1")
    scribe.ran("r2", "COMPLETED")
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed"]


# --- reminders, snoozes, acknowledgements ---


def test_trouble_that_lasts_is_repeated_until_it_is_over(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(rule(remind=4 * HOUR), ops=hook(receiver))
    scribe.ran("r1")
    scribe.start("r2", "other")
    scribe.condition("r2", "stalled")
    for _ in range(10):
        watch(store, clock, config)
        clock.now += HOUR
    said = Counter(key.partition(":reminder")[0] for key in receiver.keys)
    assert sorted(said.values()) == [3, 3]  # at once, after 4 and after 8 hours
    assert len(set(receiver.keys)) == 6
    assert "reminder 2" in receiver.taken[-1]["title"]
    scribe.ran("r3", "COMPLETED")
    scribe.condition("r2", "stalled", on=False)
    watch(store, clock, config)
    assert events(receiver)[6:] == ["recovered", "recovered"]
    clock.now += 48 * HOUR
    watch(store, clock, config)
    assert len(receiver.taken) == 8


def test_a_job_that_fails_again_and_again_is_reminded_of_once_per_interval(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(rule(remind=4 * HOUR), ops=hook(receiver))
    for number in range(3):
        scribe.ran(f"r{number}")
        watch(store, clock, config)
    clock.now += 5 * HOUR
    watch(store, clock, config)
    assert receiver.keys[3:] == ["r2:failed:reminder-1"]


def test_a_snoozed_job_is_recorded_and_not_told_until_the_snooze_ends(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    outbox.snooze(store, "et*", clock.now + HOUR, by="ada")
    scribe.ran("r1")
    scribe.ran("x1", name="other")
    watch(store, clock, config)
    assert receiver.keys == ["x1:failed"]
    assert [each["state"] for each in outbox.list_alerts(store) if each["job"] == "etl"] == ["snoozed"]
    assert outbox.snoozes(store, clock.now) == [{"job": "et*", "until": clock.now + HOUR, "by": "ada"}]
    scribe.ran("r2", "COMPLETED")  # nobody heard of the failure: no recovery
    clock.now += HOUR
    scribe.ran("r3")
    watch(store, clock, config)
    assert receiver.keys == ["x1:failed", "r3:failed"]
    assert outbox.snoozes(store, clock.now) == []


def test_what_was_told_before_a_snooze_recovers_after_it(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.ran("r1")
    watch(store, clock, config)
    outbox.snooze(store, "etl", clock.now + HOUR)
    scribe.ran("r2")
    watch(store, clock, config)
    clock.now += 2 * HOUR
    scribe.ran("r3", "COMPLETED")
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed", "r3:recovered"]


def test_what_still_lasts_when_a_snooze_ends_is_reminded_of(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(rule(remind=HOUR), ops=hook(receiver))
    outbox.snooze(store, "etl", clock.now + 4 * HOUR)
    scribe.ran("r1")
    for _ in range(5):
        watch(store, clock, config)
        clock.now += HOUR
    assert receiver.keys == ["r1:failed:reminder-1"]


def test_a_snooze_can_be_replaced_and_ended(store: Backend, clock: Any) -> None:
    outbox.snooze(store, "etl", clock.now + HOUR)
    outbox.snooze(store, "etl", clock.now + 2 * HOUR)
    assert [each["until"] for each in outbox.snoozes(store, clock.now)] == [clock.now + 2 * HOUR]
    outbox.snooze(store, "etl", clock.now)
    assert outbox.snoozes(store, clock.now) == []


def test_an_acknowledged_alert_is_not_repeated_but_its_recovery_is_told(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    config = settings(rule(remind=HOUR), ops=hook(receiver))
    scribe.ran("r1")
    watch(store, clock, config)
    assert outbox.ack(store, "etl", "ada", clock) == 1
    assert outbox.ack(store, "nobody", "ada", clock) == 0
    clock.now += 3 * HOUR
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed"]
    assert outbox.list_alerts(store)[0]["acked_at"]
    scribe.ran("r2", "COMPLETED")
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed", "r2:recovered"]


# --- channels that fail ---


def test_500_hang_and_reset_lose_nothing_and_send_nothing_more_than_twice(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    receiver.answers = [500, "hang", "reset", "lost", 503, 429, 200, "lost", 500]
    for number in range(10):
        scribe.ran(f"r{number}", name=f"job{number}")
    for _ in range(60):
        watch(store, clock, config, timeout=0.3)
        clock.now += 10
    assert set(receiver.keys) == {f"r{number}:failed" for number in range(10)}
    assert max(Counter(receiver.keys).values()) <= 2
    assert {each["state"] for each in outbox.list_alerts(store)} == {"sent"}
    assert outbox.broken_channels(store) == []


def test_a_dead_channel_is_asked_ever_less_often_and_by_one_alert_at_a_time(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    receiver.answers = [500] * 10_000
    for number in range(30):
        scribe.ran(f"r{number}", name=f"job{number}")
    tries = []
    for _ in range(480):
        watch(store, clock, config, dice=lambda: 1.0)
        tries.append(len(receiver.requests))
        clock.now += 5
    new = [after - before for before, after in pairwise(tries)]
    assert max(new) == 1
    assert tries[-1] <= 30 + 6 + 2400 / 300
    assert outbox.broken_channels(store)[0]["last_error"].endswith("answered 500")
    receiver.answers = []
    clock.now += 300
    watch(store, clock, config)
    clock.now += 300
    watch(store, clock, config)
    assert len(set(receiver.keys)) == 30


def test_one_alert_that_the_receiver_cannot_digest_does_not_hold_up_the_others(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    served = receiver._serve

    def serve(handler: Any) -> None:
        if handler.headers["Idempotency-Key"] == "r0:failed":
            receiver.answers = [500]
        served(handler)

    receiver._serve = serve
    for number in range(20):
        scribe.ran(f"r{number}", name=f"job{number}")
    for _ in range(5):
        watch(store, clock, config)
        clock.now += 10
    assert set(receiver.keys) == {f"r{number}:failed" for number in range(1, 20)}
    clock.now += HOUR
    watch(store, clock, config)
    scribe.ran("new", name="job20")
    clock.now += 30
    watch(store, clock, config)
    assert receiver.keys[-1] == "new:failed"


def test_a_permanent_error_goes_to_the_fallback_at_once_and_is_reported(
    store: Backend, clock: Any, scribe: Any, receiver: Any, new_receiver: Callable[[], Any]
) -> None:
    pager = new_receiver()
    config = settings(rule(fallback="pager"), ops=hook(receiver), pager=hook(pager))
    receiver.answers = [404, 410, 200]
    for number in range(3):
        scribe.ran(f"r{number}", name=f"job{number}")
        watch(store, clock, config)
    assert about_runs(pager) == ["r0:failed", "r1:failed"]
    assert receiver.keys == ["r2:failed"]  # a channel is never given up for good
    assert "Channel ops did not take this alert: webhook" in pager.taken[0]["body"]
    shown = {each["dedupe_key"]: each for each in outbox.list_alerts(store)}
    assert (shown["r0:failed"]["channel"], shown["r0:failed"]["via"]) == ("ops", "pager")
    assert "404" in shown["r0:failed"]["last_error"]
    assert shown["r2:failed"]["via"] == "ops"


def test_a_permanent_error_without_fallback_is_undelivered_and_the_channel_is_called_broken(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    receiver.answers = [410]
    scribe.ran("r1")
    watch(store, clock, config)
    assert outbox.list_alerts(store)[0]["state"] == "undelivered"
    assert outbox.broken_channels(store)[0]["channel"] == "ops"


def test_after_a_day_of_failing_the_fallback_hears_of_every_alert(
    store: Backend, clock: Any, scribe: Any, receiver: Any, new_receiver: Callable[[], Any]
) -> None:
    pager = new_receiver()
    config = settings(rule(fallback="pager"), ops=hook(receiver), pager=hook(pager))
    receiver.answers = [503] * 10_000
    for number in range(5):
        scribe.ran(f"r{number}", name=f"job{number}")
    for _ in range(23 * 6):
        watch(store, clock, config)
        clock.now += 600
    assert events(pager) == ["channel_broken"]
    for _ in range(2):
        clock.now += 2400
        watch(store, clock, config)
    assert sorted(about_runs(pager)) == [f"r{number}:failed" for number in range(5)]


def test_when_the_fallback_fails_too_the_alert_is_undelivered(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    config = settings(rule(fallback="pager"), ops=hook(receiver), pager=Channel("command", "/no/such/pager"))
    receiver.answers = [404]
    scribe.ran("r1")
    watch(store, clock, config)
    (shown,) = outbox.list_alerts(store)
    assert (shown["state"], shown["via"]) == ("undelivered", None)
    assert "/no/such/pager" in shown["last_error"]


def test_a_channel_that_only_another_watchdog_knows_is_left_to_it_for_a_while_and_then_goes_to_the_fallback(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    scribe.ran("r1")
    both = settings(rule(to=("gone",), fallback="ops"), gone=hook(receiver), ops=hook(receiver))
    notify.collect(store, clock, both)
    mine = settings(rule(), ops=hook(receiver))
    watch(store, clock, mine)
    assert receiver.requests == []
    clock.now += 600
    watch(store, clock, mine)
    assert receiver.keys == ["r1:failed"]
    assert "there is no channel gone" in receiver.taken[0]["body"]


def test_a_channel_that_hangs_delays_the_others_by_one_timeout_at_most(
    store: Backend, clock: Any, scribe: Any, receiver: Any, new_receiver: Callable[[], Any]
) -> None:
    slow = new_receiver()
    slow.answers = ["hang"] * 100
    config = settings(rule(to=("slow", "ops")), slow=hook(slow), ops=hook(receiver))
    for number in range(20):
        scribe.ran(f"r{number}", name=f"job{number}")
    watch(store, clock, config, timeout=0.3, dice=lambda: 1.0)
    assert (len(receiver.taken), len(slow.requests)) == (20, 1)


def test_only_serves_the_channel_that_it_names(
    store: Backend, clock: Any, scribe: Any, receiver: Any, new_receiver: Callable[[], Any]
) -> None:
    other = new_receiver()
    config = settings(rule(to=("ops", "other")), ops=hook(receiver), other=hook(other))
    scribe.ran("r1")
    watch(store, clock, config, only="other")
    assert (len(receiver.taken), len(other.taken)) == (0, 1)


def test_a_failure_is_told_before_its_recovery_even_after_tries_that_failed(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    receiver.answers = [500]
    scribe.ran("r1")
    watch(store, clock, config, dice=lambda: 1.0)
    scribe.ran("r2", "COMPLETED")
    watch(store, clock, config)
    clock.now += 5
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed", "r2:recovered"]


def test_alerts_and_snoozes_are_forgotten_in_the_end_but_nothing_that_waits(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.ran("r1")
    watch(store, clock, config)
    outbox.snooze(store, "x", clock.now + HOUR)
    clock.now += outbox.KEEP
    scribe.ran("r2")
    notify.collect(store, clock, config)
    clock.now += outbox.KEEP
    assert outbox.tidy(store, clock) == 2
    assert [each["dedupe_key"] for each in outbox.list_alerts(store)] == ["r2:failed"]


# --- deaths and rivals ---


def story(scribe: Any, clock: Any) -> Iterator[None]:
    """Failures, a flapping condition, a recovery: with a pass of the watchdog at each yield."""
    scribe.ran("a1", name="a")
    scribe.start("b1", "b")
    scribe.condition("b1", "stalled")
    yield
    clock.now += 60
    scribe.ran("a2", name="a")
    scribe.condition("b1", "stalled", on=False)
    yield
    clock.now += 60
    scribe.ran("a3", "COMPLETED", name="a")
    scribe.condition("b1", "stalled")
    yield
    clock.now += 1.5 * HOUR  # time for a reminder
    yield
    scribe.end("b1", "CRASHED")
    yield


@pytest.mark.parametrize(
    "after",
    [False, pytest.param(True, marks=pytest.mark.long)],
    ids=["before it took effect", "after it took effect"],
)
def test_a_watchdog_killed_at_any_call_loses_nothing_and_repeats_only_with_the_same_key(
    after: bool, tmp_path: Path, clock: Any, receiver: Any, new_scribe: Callable[[Backend], Any]
) -> None:
    began = clock.now
    config = settings(rule(remind=HOUR), ops=hook(receiver))

    def told(at: int) -> tuple[Counter[str], bool]:
        clock.now = began
        receiver.answers, receiver.requests = [500], []
        backend = open_backend(f"memory:{tmp_path}/{at}", str(tmp_path), clock=clock)
        dying = Dying(backend, at, after)
        for _ in story(new_scribe(backend), clock):
            with suppress(Killed):
                watch(dying, clock, config, dice=lambda: 1.0)
            clock.now += 60  # the next watchdog starts when the claim has run out
            watch(backend, clock, config)
        return Counter(receiver.keys), dying.died

    expected, _ = told(10**9)
    assert len(expected) == 8
    at, died = 0, True
    while died:
        at += 1
        said, died = told(at)
        assert set(said) == set(expected), f"killed at call {at}"
        assert max(said.values()) <= 2, f"killed at call {at}"
    assert at > 100


def test_two_watchdogs_at_once_send_every_alert_once(
    open_store: Callable[[], Backend], clock: Any, receiver: Any, config: Settings, scribe: Any
) -> None:
    for number in range(40):
        scribe.ran(f"r{number}", name=f"job{number}")
    start = threading.Barrier(3)
    errors: list[BaseException] = []

    def one() -> None:
        backend = open_store()
        start.wait()
        try:
            watch(backend, clock, config)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert Counter(receiver.keys) == {f"r{number}:failed": 1 for number in range(40)}


def test_a_claim_is_respected_until_it_runs_out(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.ran("r1")
    notify.collect(store, clock, config)
    ((key, held),) = outbox.pending(store)
    claim = {"by": "rival", "seen": {identity.host(): clock.now}}
    store.put(outbox.ALERT, key, {**held.value, "claim": claim}, held.version)
    watch(store, clock, config)
    assert receiver.requests == []
    clock.now += 40
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed"]


def test_how_long_a_claim_of_another_host_holds_is_counted_by_our_own_clock(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    scribe.ran("r1")
    notify.collect(store, clock, config)
    ((key, held),) = outbox.pending(store)
    far_off = {"by": "rival", "seen": {"a host whose clock is off": clock.now - 7200}}
    store.put(outbox.ALERT, key, {**held.value, "claim": far_off}, held.version)
    watch(store, clock, config)
    clock.now += 39
    watch(store, clock, config)
    assert receiver.requests == []
    clock.now += 1
    watch(store, clock, config)
    assert receiver.keys == ["r1:failed"]


def test_the_outcome_of_a_claim_that_was_lost_is_not_recorded(
    store: Backend, clock: Any, scribe: Any
) -> None:
    """The claim ran out while the channel was slow, and a rival took the alert over."""

    scribe.ran("r1")
    config = settings(rule(), ops=Channel("command", "true"))
    notify.collect(store, clock, config)
    ((key, _),) = outbox.pending(store)
    doc = store.get(outbox.ALERT, key)
    assert doc is not None
    rounds = delivery._Round(store, clock, config, {}, 5.0, lambda: 1.0, {})
    claim = {"by": "rival", "seen": {identity.host(): clock.now}}
    store.put(outbox.ALERT, key, {**doc.value, "claim": claim}, doc.version)
    rounds._record(key, "ours", None, doc.value)
    held = store.get(outbox.ALERT, key)
    assert held is not None
    assert held.value["state"] == "pending"
    assert held.value["claim"]["by"] == "rival"


def test_what_was_told_is_kept_small_and_costs_the_next_pass_nothing(
    store: Backend, clock: Any, scribe: Any, config: Settings
) -> None:
    scribe.start("r1")
    for _ in range(20):
        scribe.say("log", run="r1", text="x" * 400)
    scribe.end("r1")
    watch(store, clock, config)
    assert len(store.list(outbox.ALERT)) == 1  # still open
    scribe.ran("r2", "COMPLETED")
    watch(store, clock, config)
    assert store.list(outbox.ALERT) == []
    assert len(outbox.list_alerts(store)) == 2
    assert max(len(json.dumps(held.value)) for _, held in store.list(outbox.TOLD)) < 1500


def test_what_was_told_is_not_told_again_by_a_watchdog_that_repeats_old_transitions(
    store: Backend, clock: Any, scribe: Any, receiver: Any, config: Settings
) -> None:
    for number, state in enumerate(["FAILED", "COMPLETED", "CRASHED", "COMPLETED", "FAILED"]):
        scribe.ran(f"r{number}", state)
        watch(store, clock, config)
    before = outbox.list_alerts(store)
    cursor = store.get("cursor", "alerts")
    assert cursor is not None
    store.put("cursor", "alerts", {**cursor.value, "seq": 0}, cursor.version)
    watch(store, clock, config)
    assert outbox.list_alerts(store) == before
    assert len(receiver.taken) == 5


def test_a_record_that_a_disk_has_damaged_does_not_keep_the_alerts_of_others(
    tmp_path: Path, clock: Any, receiver: Any, config: Settings
) -> None:
    store = open_backend("sqlite:///holter.db", str(tmp_path), clock=clock)
    scribe = Scribe(store, clock)
    for each in ("r1", "r2", "r3"):
        scribe.ran(each)
    damage(tmp_path / "holter.db", "r2")
    watch(store, clock, config)
    assert about_runs(receiver) == ["r1:failed", "r3:failed"]
    store.close()


def test_an_incident_of_a_job_whose_newest_record_is_damaged_is_told_and_holds_up_no_other(
    tmp_path: Path, clock: Any, receiver: Any
) -> None:
    store = open_backend("sqlite:///holter.db", str(tmp_path), clock=clock)
    scribe = Scribe(store, clock)
    for each in ("a", "b"):
        scribe.ran(f"r{each}", "COMPLETED", name=each)
    damage(tmp_path / "holter.db", "ra")
    for each in ("a", "b"):
        late = Incident("late", f"job:{each}:late:1", "expected at 02:00", clock.now, job=each)
        Board(store).settle(f"job:default/{each}", [late], clock.now)
    watch(store, clock, settings(rule("late"), ops=hook(receiver)))
    assert sorted(each["job"] for each in receiver.taken) == ["a", "b"]
    store.close()
