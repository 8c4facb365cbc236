"""A watchdog whose store is away says so without it: once, on every channel, and when it is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holter.agent.setting_types import Channel, QuietHours, Rule, Settings
from holter.agent.watchdog import outcry
from holter.agent.watchdog.outcry import Outcry, places
from holter.agent.watchdog.steps import Half, Step
from holter.backends.errors import StorageError

from .conftest import HandSetClock


class Watched:
    """A half of a watchdog with one step, which fails while `away`; and what is told of it."""

    def __init__(self, clock: HandSetClock, settings: Settings) -> None:
        self.clock, self.away = clock, True
        self.half = Half(settings, clock=clock)
        self.half.steps = [Step("writing the pulse", self._act), Step("sleeping", lambda: None)]
        self.outcry = Outcry(settings, [self.half], clock=clock)

    def _act(self) -> None:
        if self.away:
            raise StorageError("database or disk is full")

    def goes_on(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.half.step()
            self.outcry.step()
            self.clock.now += 1.0


def settings(*rules: Rule, **receivers: Any) -> Settings:
    channels = {name: Channel("webhook", receiver.url) for name, receiver in receivers.items()}
    return Settings(home="/nowhere", channels=channels, alerts=rules)


@pytest.fixture
def ops(receiver: Any) -> Any:
    return receiver


def said(receiver: Any) -> list[str]:
    return [each["event"] for each in receiver.taken]


def test_it_is_told_once_after_five_minutes_and_so_is_its_end(clock: HandSetClock, ops: Any) -> None:
    dog = Watched(clock, settings(ops=ops))
    dog.goes_on(outcry.PATIENCE)
    assert ops.requests == []
    dog.goes_on(3600)
    (alert,) = ops.taken
    assert alert["title"].startswith("the watchdog cannot do its work on ")
    assert alert["reason"] == "database or disk is full; what fails: writing the pulse"
    assert alert["body"].endswith("See more: holter doctor")
    dog.away = False
    dog.goes_on(3600)
    assert said(ops) == ["watch_broken", "recovered"]
    assert ops.taken[1]["reason"].startswith("before: database or disk is full")
    dog.away = True
    dog.goes_on(3600)
    assert said(ops) == ["watch_broken", "recovered", "watch_broken"]
    assert len(set(ops.keys)) == 3


def test_what_is_over_within_five_minutes_is_nobodys_business(clock: HandSetClock, ops: Any) -> None:
    dog = Watched(clock, settings(ops=ops))
    for _ in range(5):
        dog.away = True
        dog.goes_on(200)
        dog.away = False
        dog.goes_on(100)
    assert ops.requests == []


def test_a_channel_that_does_not_take_it_keeps_nobody_else_from_it_and_gets_it_later(
    clock: HandSetClock, ops: Any, new_receiver: Callable[[], Any]
) -> None:
    pager = new_receiver()
    dog = Watched(clock, settings(ops=ops, pager=pager))
    ops.answers = [500] * 3
    dog.goes_on(outcry.PATIENCE + 600)
    assert (said(ops), len(ops.requests), said(pager)) == (["watch_broken"], 4, ["watch_broken"])


def test_what_may_have_arrived_is_said_twice_at_most(clock: HandSetClock, ops: Any) -> None:
    dog = Watched(clock, settings(ops=ops))
    ops.answers = ["lost"] * 9
    dog.goes_on(3600)
    assert said(ops) == ["watch_broken"] * 2


def test_a_fallback_stands_in_at_once(clock: HandSetClock, ops: Any, new_receiver: Callable[[], Any]) -> None:
    pager = new_receiver()
    rule = Rule(on=("watch_broken",), to=("ops",), fallback="pager", recovered=False)
    dog = Watched(clock, settings(rule, ops=ops, pager=pager))
    ops.answers = [404] * 9
    dog.goes_on(3600)
    dog.away = False
    dog.goes_on(3600)
    assert (said(ops), said(pager)) == ([], ["watch_broken"])


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([], "ops pager"),
        ([Rule(on=("failed",), to=("ops",))], "ops pager"),
        ([Rule(on=("watch_broken",), to=("ops",))], "ops"),
        ([Rule(on=("watch_broken",), jobs=("etl",), to=("ops",))], "ops pager"),
        ([Rule(on=("watch_broken",)), Rule(on=("watch_broken",), to=("ops",))], "ops pager"),
        ([Rule(on=("watch_broken",), to=("ops",), quiet_hours=QuietHours("07:00", "09:00"))], ""),
        ([Rule(on=("watch_broken",), to=("ops",), quiet_hours=QuietHours("09:00", "07:00"))], "ops"),
    ],
)
def test_it_is_told_where_the_rules_say_or_everywhere(rules: list[Rule], told: str, tmp_path: Path) -> None:
    config = Settings(
        home=str(tmp_path),
        channels={name: Channel("command", "true") for name in ("ops", "pager")},
        alerts=tuple(rules),
    )
    at_eight = 1_800_000_000.0  # 2027-01-15 08:00 UTC
    assert [place.channel for place in places(config, at_eight)] == told.split()
