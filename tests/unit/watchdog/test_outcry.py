"""A watchdog whose store is away says so without it: once, on every channel, and when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holter.agent.setting_types import Channel, QuietHours, Rule, Settings
from holter.agent.watchdog import outcry
from holter.agent.watchdog.outcry import Outcry
from holter.agent.watchdog.steps import Half, Step
from holter.backends.errors import StorageError

from .conftest import HandSetClock

MINUTE, HOUR = 60.0, 3600.0
FULL = "database or disk is full"


class Watched:
    """A half of a watchdog of which the steps in `failing` fail, and what is told of it."""

    def __init__(self, clock: HandSetClock, *rules: Rule, **receivers: Any) -> None:
        channels = {name: Channel("webhook", each.url) for name, each in receivers.items()}
        settings = Settings(home="/nowhere", channels=channels, alerts=rules)
        self.clock, self.failing = clock, {"writing the pulse"}
        self.half = Half(settings, clock=clock)
        self.half.steps = [self._step("writing the pulse"), self._step("adopting dead journals")]
        self.outcry = Outcry(settings, self.half, clock=clock)

    def _step(self, name: str) -> Step:
        def act() -> None:
            if name in self.failing:
                raise StorageError(FULL)

        return Step(name, act)

    def goes_on(self, seconds: float, *failing: str) -> None:
        self.failing = set(failing)
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.half.step()
            self.outcry.step()
            self.clock.now += 5.0


@pytest.fixture
def ops(receiver: Any) -> Any:
    return receiver


def said(receiver: Any) -> list[str]:
    return [each["event"] for each in receiver.taken]


def test_it_is_told_once_after_five_minutes_and_so_is_its_end(clock: HandSetClock, ops: Any) -> None:
    dog = Watched(clock, ops=ops)
    dog.goes_on(outcry.PATIENCE, "writing the pulse")
    assert ops.requests == []
    dog.goes_on(HOUR, "writing the pulse")
    (alert,) = ops.taken
    assert alert["title"].endswith("has a watchdog that cannot do its work")
    assert alert["reason"] == f"{FULL}; what fails: writing the pulse"
    assert alert["body"].endswith("See more: holter doctor")
    dog.goes_on(HOUR)
    assert said(ops) == ["watch_broken", "recovered"]
    assert FULL in ops.taken[1]["reason"]
    dog.goes_on(HOUR, "writing the pulse")
    assert said(ops) == ["watch_broken", "recovered", "watch_broken"]
    assert len(set(ops.keys)) == 3


def test_what_is_over_within_five_minutes_is_nobodys_business(clock: HandSetClock, ops: Any) -> None:
    dog = Watched(clock, ops=ops)
    for _ in range(5):
        dog.goes_on(200.0, "writing the pulse")
        dog.goes_on(100.0)
    assert ops.requests == []


def test_what_fails_for_ever_does_not_hide_what_begins_to_fail_later(clock: HandSetClock, ops: Any) -> None:
    dog = Watched(clock, ops=ops)
    dog.goes_on(10 * HOUR, "adopting dead journals")
    dog.goes_on(HOUR, "adopting dead journals", "writing the pulse")
    assert [each["reason"].split(": ")[1] for each in ops.taken] == [
        "adopting dead journals",
        "writing the pulse",
    ]
    dog.goes_on(HOUR, "adopting dead journals")
    assert said(ops) == ["watch_broken", "watch_broken", "recovered"]


def test_what_goes_on_failing_of_a_great_trouble_does_not_hide_the_next_one(
    clock: HandSetClock, ops: Any
) -> None:
    dog = Watched(clock, ops=ops)
    dog.goes_on(HOUR, "adopting dead journals", "writing the pulse")
    dog.goes_on(HOUR, "adopting dead journals")
    dog.goes_on(HOUR, "adopting dead journals", "writing the pulse")
    assert said(ops) == ["watch_broken"] * 2
    dog.goes_on(HOUR)
    assert sorted(said(ops)) == ["recovered"] * 2 + ["watch_broken"] * 2


def test_a_watchdog_that_was_stopped_itself_does_not_count_that_time(clock: HandSetClock, ops: Any) -> None:
    dog = Watched(clock, ops=ops)
    dog.goes_on(MINUTE)
    dog.goes_on(10.0, "writing the pulse")
    clock.now += HOUR
    dog.outcry.step()
    dog.goes_on(HOUR)
    assert ops.requests == []


def test_nothing_is_kept_of_what_is_over_and_told(clock: HandSetClock, ops: Any) -> None:
    dog = Watched(clock, ops=ops)
    for _ in range(3):
        dog.goes_on(HOUR, "writing the pulse")
        dog.goes_on(HOUR)
    assert len(ops.taken) == 6
    held = dog.outcry._store()
    assert [held.list(kind) for kind in ("incident", "alert", "told", "channel", "pace")] == [[]] * 5


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ((), "ops pager"),
        ((Rule(on=("failed",), to=("ops",)),), "ops pager"),
        ((Rule(on=("watch_broken",), to=("ops",)),), "ops"),
        ((Rule(on=("watch_broken",), jobs=("etl",), to=("ops",)),), "ops pager"),
        ((Rule(on=("watch_broken",)), Rule(on=("watch_broken",), to=("ops",))), "ops pager"),
        ((Rule(on=("watch_broken",), to=("ops",), quiet_hours=QuietHours("07:00", "10:00")),), ""),
    ],
)
def test_it_is_told_where_the_rules_say_or_everywhere(
    rules: tuple[Rule, ...],
    told: str,
    clock: HandSetClock,
    ops: Any,
    new_receiver: Callable[[], Any],
) -> None:
    receivers = {"ops": ops, "pager": new_receiver()}
    dog = Watched(clock, *rules, **receivers)  # at eight o'clock
    dog.goes_on(HOUR, "writing the pulse")
    assert [name for name, each in receivers.items() if said(each)] == told.split()


def test_a_channel_that_does_not_take_it_keeps_nobody_else_from_it(
    clock: HandSetClock, ops: Any, new_receiver: Callable[[], Any]
) -> None:
    pager = new_receiver()
    ops.answers = [500] * 3
    dog = Watched(clock, ops=ops, pager=pager)
    dog.goes_on(HOUR, "writing the pulse")
    assert (said(ops), said(pager)) == (["watch_broken"], ["watch_broken"])
