"""Storms, restart loops, dead hosts: few messages, every failure recorded, and nothing told twice or not at all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.settings import Channel, Rule, Settings
from holter.agent.watchdog import digest, notify, outbox
from holter.agent.watchdog.digest import Item, Spoken, plan
from holter.agent.watchdog.incidents import Board, Incident
from holter.backends.base import Backend
from holter.backends.lines import encode
from holter.backends.urls import open_backend

from .dying import Dying, Killed

HOUR = 3600.0


def config(receiver: Any, *rules: Rule, **channels: Any) -> Settings:
    everything = Rule(on=("failed", "crashed", "lost", "host_restarted"), to=("ops",))
    hooks = {name: Channel("webhook", each.url) for name, each in {"ops": receiver, **channels}.items()}
    return Settings(channels=hooks, alerts=rules or (everything,))


def watch(backend: Any, clock: Any, settings: Settings) -> None:
    while notify.collect(backend, clock, settings):
        pass
    while notify.deliver(backend, clock, settings):
        pass


def told_of(backend: Backend, receiver: Any) -> Counter[str]:
    """How often each alert was told: alone, or through the digest that its record names."""
    heard = Counter(receiver.keys)
    digests = {
        f"digest~{key.partition(':')[2]}".replace(":", "~") for key in heard if key.startswith("digest:")
    }
    for alert in outbox.list_alerts(backend):
        if alert["state"] == "digest":
            assert any(alert["digest"].startswith(each) for each in digests), alert
            heard[alert["dedupe_key"]] += 1
    return Counter({key: times for key, times in heard.items() if not key.startswith("digest:")})


def named(receiver: Any) -> list[str]:
    """The keys of what was heard, digests without what makes each a name of its own."""
    return [key.rpartition(":")[0] if key.startswith("digest:") else key for key in receiver.keys]


def storm(backend: Backend, clock: Any, many: int, journal: str = "storm") -> None:
    """So many runs of as many jobs, all failed."""
    lines = [encode({"event": "process", "at": clock.now, "host": "web-1", "pid": 1, "project": "default"})]
    for number in range(many):
        run = {"at": clock.now, "run": f"{journal}{number}"}
        error = {"type": "ValueError", "message": "no rows", "traceback": "x" * 500}
        lines.append(encode({"event": "start", "name": f"job{number}", "kind": "flow", **run}))
        lines.append(encode({"event": "end", "state": "FAILED", "error": error, **run}))
    offset = 0
    for first in range(0, len(lines), 1000):
        offset = backend.append(journal, offset, b"".join(lines[first : first + 1000]))


def test_few_alerts_at_once_are_told_each_and_many_in_one_digest(
    store: Backend, clock: Any, receiver: Any
) -> None:
    storm(store, clock, 5, "few")
    watch(store, clock, config(receiver))
    assert receiver.keys == [f"few{number}:failed" for number in range(5)]
    storm(store, clock, 6, "many")
    watch(store, clock, config(receiver))
    assert named(receiver)[5:] == ["digest:ops:many0:failed"]
    (alert,) = receiver.taken[5:]
    assert (alert["event"], alert["count"], alert["host"]) == ("digest", 6, "web-1")
    assert alert["title"] == "6 alerts about 6 jobs on web-1: 6 failed"
    assert "6 failed: job0, job1, job2, job3, job4, job5" in alert["body"]
    assert "ValueError: no rows" in alert["body"]
    assert "holter alerts" in alert["body"]
    assert [each["job"] for each in alert["members"]] == [f"job{number}" for number in range(6)]


def _storm_is_bounded(store: Backend, clock: Any, receiver: Any, many: int) -> float:
    storm(store, clock, many)
    began = time.perf_counter()
    settings = config(receiver)
    while notify.collect(store, clock, settings):
        pass
    took = time.perf_counter() - began
    for _ in range(60):
        watch(store, clock, settings)
        clock.now += 60
    assert len(receiver.requests) <= 20
    assert set(told_of(store, receiver)) == {f"storm{number}:failed" for number in range(many)}
    assert set(told_of(store, receiver).values()) == {1}
    return took


def test_a_storm_yields_few_messages_and_every_failure_is_recorded(
    store: Backend, clock: Any, receiver: Any
) -> None:
    assert _storm_is_bounded(store, clock, receiver, 300) < 10


@pytest.mark.long
def test_10_000_transitions_at_once_are_collected_in_well_under_a_minute(
    store: Backend, clock: Any, receiver: Any
) -> None:
    assert _storm_is_bounded(store, clock, receiver, 10_000) < 30
    assert len(receiver.requests) == 1


def test_a_storm_that_trickles_in_over_an_hour_yields_at_most_20_messages(
    store: Backend, clock: Any, receiver: Any
) -> None:
    settings, began = config(receiver), clock.now
    for number in count():
        storm(store, clock, 7, f"part{number}x")
        watch(store, clock, settings)
        clock.now += 30
        if clock.now >= began + HOUR:
            break
    assert 10 <= len(receiver.requests) <= 20
    clock.now += 2 * digest.PAUSE
    watch(store, clock, settings)
    watch(store, clock, settings)
    assert set(told_of(store, receiver).values()) == {1}
    assert len(told_of(store, receiver)) == 7 * 120


def test_a_restart_loop_is_a_few_alerts_and_then_a_counted_digest_now_and_then(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    settings = config(receiver)
    for number in range(360):
        scribe.ran(f"r{number}")
        if number % 40 == 0:
            scribe.ran(f"other{number}", name=f"other{number}")
        watch(store, clock, settings)
        clock.now += 10
    about = [alert for alert in receiver.taken if alert["job"] == "etl"]
    assert len(about) <= 12
    assert sum(alert["event"] == "failed" for alert in about) == 6
    assert any(alert["event"] == "digest" and alert["count"] > 20 for alert in about)
    assert len(receiver.taken) <= 20
    assert sum(alert.get("count", 1) for alert in receiver.taken) > 250  # what else there is still waits


def test_a_host_that_restarted_is_one_digest_however_few_runs_it_took_down(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    for number in range(3):
        scribe.start(f"r{number}", f"job{number}")
        scribe.say("judge", run=f"r{number}", state="CRASHED", by="proof", reason="host restarted")
    scribe.ran("r9", name="other")
    watch(store, clock, config(receiver))
    assert sorted(named(receiver)) == ["digest:ops:r0:crashed", "r9:failed"]
    first = next(alert for alert in receiver.taken if alert["event"] == "digest")
    assert first["title"] == "web-1 was restarted: 3 crashed"


def test_runs_of_a_host_that_fell_silent_are_one_digest(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    for number in range(3):
        scribe.start(f"r{number}", f"job{number}")
        scribe.condition(f"r{number}", "lost")
    watch(store, clock, config(receiver))
    (alert,) = receiver.taken
    assert (alert["event"], alert["title"]) == ("digest", "3 alerts about 3 jobs on web-1: 3 lost")


def test_the_worst_comes_first_and_what_is_over_is_said_as_over(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    for number in range(6):
        scribe.ran(f"r{number}", name=f"job{number}")
    scribe.start("x", "worst")
    scribe.crash("x")
    scribe.ran("r6", "COMPLETED", name="job0")
    watch(store, clock, config(receiver))
    (alert,) = receiver.taken
    assert alert["members"][0]["event"] == "crashed"
    assert alert["members"][-1]["event"] == "recovered"
    assert alert["title"].endswith("1 crashed, 6 failed, 1 recovered")
    assert "Over by now (1): job0" in alert["body"]


def test_a_recovery_is_always_told_in_a_storm_too(store: Backend, clock: Any, receiver: Any) -> None:
    settings = config(receiver)
    storm(store, clock, 50)
    watch(store, clock, settings)
    for number in range(50):
        store.append(
            f"good{number}",
            0,
            encode({"event": "process", "at": clock.now, "host": "web-1", "pid": 1, "project": "default"})
            + encode(
                {
                    "event": "start",
                    "at": clock.now,
                    "run": f"g{number}",
                    "name": f"job{number}",
                    "kind": "flow",
                }
            )
            + encode({"event": "end", "at": clock.now, "run": f"g{number}", "state": "COMPLETED"}),
        )
    watch(store, clock, settings)
    assert len(receiver.requests) == 2
    heard = told_of(store, receiver)
    assert {f"g{number}:recovered" for number in range(50)} <= set(heard)


def test_nothing_overtakes_a_digest_that_its_channel_did_not_take(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    settings = config(receiver)
    receiver.answers = [500, 500, 500]
    storm(store, clock, 8)
    watch(store, clock, settings)
    scribe.ran("late", "COMPLETED", name="job3")
    for _ in range(6):
        clock.now += 60
        watch(store, clock, settings)
    assert named(receiver) == ["digest:ops:storm0:failed", "late:recovered"]


def test_a_digest_overtakes_no_alert_that_is_still_on_its_way(
    store: Backend, clock: Any, scribe: Any, receiver: Any
) -> None:
    settings = config(receiver)
    receiver.answers = [500] * 3
    scribe.ran("first", name="job3")
    watch(store, clock, settings)
    storm(store, clock, 8)
    for _ in range(10):
        clock.now += 60
        watch(store, clock, settings)
    assert receiver.keys.index("first:failed") < receiver.keys.index("storm3:failed")
    assert set(told_of(store, receiver).values()) == {1}


def test_two_watchdogs_that_make_the_same_digest_lose_and_repeat_nothing(
    open_store: Callable[[], Backend], clock: Any, receiver: Any
) -> None:
    """One is slow: when it marks the members, the other has told one of them alone, and the rest in a digest."""
    store, settings = open_store(), config(receiver)
    storm(store, clock, 8)
    slow = Interrupted(open_store(), lambda: watch(store, clock, settings))
    watch(slow, clock, settings)
    clock.now += 400
    watch(store, clock, settings)
    assert set(told_of(store, receiver)) == {f"storm{number}:failed" for number in range(8)}
    assert set(told_of(store, receiver).values()) == {1}
    assert max(Counter(receiver.keys).values()) == 1


class Interrupted:
    """A handle whose owner is overtaken just before it begins to put a digest together."""

    def __init__(self, backend: Backend, meanwhile: Callable[[], None]) -> None:
        self._backend, self._meanwhile = backend, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def put(self, kind: str, key: str, value: Any, version: int) -> Any:
        if value.get("state") == "gathering":
            self._meanwhile()
        return self._backend.put(kind, key, value, version)


# --- deaths ---


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
def test_a_watchdog_killed_at_any_call_while_it_makes_a_digest_tells_everything_once(
    after: bool, tmp_path: Path, clock: Any, receiver: Any
) -> None:
    began, settings = clock.now, config(receiver, Rule(on=("failed", "late")))
    late = Incident("late", "default:etl:late:100", "expected at 02:00", 100.0, job="etl")
    for at in count(1):
        clock.now, receiver.requests = began, []
        backend = open_backend(f"memory:{tmp_path}/{at}", str(tmp_path), clock=clock)
        storm(backend, clock, 8)
        Board(backend).settle("job:default/etl", [late], clock.now)
        dying = Dying(backend, at, after)
        with suppress(Killed):
            watch(dying, clock, settings)
        for _ in range(3):
            clock.now += 400
            watch(backend, clock, settings)
        assert set(told_of(backend, receiver)) == {
            late.key,
            *(f"storm{number}:failed" for number in range(8)),
        }, at
        assert set(told_of(backend, receiver).values()) == {1}, at
        assert max(Counter(receiver.keys).values()) <= 2, at
        if not dying.died:
            break
    assert at > 60


# --- the plan, for any history ---


def waiting(number: int, job: str, event: str, state: str = "waiting") -> Item:
    alert = {"project": "default", "job": job, "event": event, "host": "web-1", "reason": None}
    alert["dedupe_key"] = f"{job}:{number}"
    return Item(f"k{number}", {"alert": alert, "state": state, "seq": number})


arrivals = st.lists(
    st.tuples(
        st.floats(0, 400),
        st.lists(
            st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["failed", "lost", "recovered"])),
            max_size=12,
        ),
    ),
    max_size=25,
)


@given(arrivals=arrivals)
def test_whatever_comes_is_let_out_once_in_order_per_job_and_within_the_ration(arrivals: Any) -> None:
    now, number, left, spoken, said = 1e9, 0, [], [], []
    order: dict[str, list[int]] = {}
    for wait, came in [*arrivals, *[(700.0, [])] * 25]:
        now += wait
        for job, event in came:
            number += 1
            left.append(waiting(number, job, event))
        for group in plan(left, spoken, now, 5):
            jobs = {item.job for item in group}
            spoken.append(Spoken(group[0].key, now, digest.name_of(jobs.pop()) if len(jobs) == 1 else None))
            said.append(now)
            for item in group:
                left.remove(item)  # fails where one is let out twice
                order.setdefault(str(item.job), []).append(int(item.key[1:]))
    assert left == []
    assert all(numbers == sorted(numbers) for numbers in order.values())
    assert all(sum(1 for each in said if at <= each < at + HOUR) <= 20 for at in said)


def test_without_digests_every_alert_is_let_out_alone() -> None:
    items = [waiting(number, "a", "lost") for number in range(50)]
    assert plan(items, [], 0.0, 0) == [(item,) for item in items]
