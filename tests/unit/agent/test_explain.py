"""`explain`: who said it, what was expected, and why somebody or nobody was told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holter.agent.explain import Explanation, explain, gather
from holter.agent.setting_types import Channel, Check, Rule, Settings
from holter.agent.watchdog import outbox, pulse
from holter.agent.watchdog.incidents import Board, Incident
from holter.agent.watchdog.notify import collect
from holter.backends.urls import open_backend
from tests.unit.watchdog.conftest import HandSetClock, Scribe

CHANNELS = {"ops": Channel("command", "true")}


class World:
    def __init__(self, home: Path) -> None:
        self.clock = HandSetClock()
        self.store = open_backend(f"memory:{home}", str(home), clock=self.clock)
        self.scribe = Scribe(self.store, self.clock)
        self.settings = Settings(home=str(home), channels=CHANNELS)

    def explain(self, run_id: str = "a1", **settings: Any) -> Explanation:
        import attrs

        self.settings = attrs.evolve(self.settings, **settings)
        pulse.beat(self.store, self.clock.wall(), started_at=0.0, once=False, interval=1.0)
        collect(self.store, self.clock, self.settings)
        run = self.store.run(run_id)
        assert run is not None
        return explain(gather(self.store, self.settings, run, self.clock.wall()))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_own_testimony_is_told_from_a_mark_and_from_proof(world: World) -> None:
    world.scribe.ran("a1", error={"type": "KeyError", "message": "'x'"})
    world.scribe.start("a2")
    world.scribe.crash("a2")
    world.scribe.start("a3")
    world.scribe.say("judge", run="a3", state="FAILED", by="mark", reason="marked by ada: gave up")
    world.scribe.start("a4")
    told = {run: world.explain(run) for run in ("a1", "a2", "a3", "a4")}
    assert {run: each.witness for run, each in told.items()} == {
        "a1": "process",
        "a2": "proof",
        "a3": "operator",
        "a4": None,
    }
    assert "Its own process said that it is FAILED" in told["a1"].what[-1]
    assert "KeyError: 'x'" in told["a1"].what[-1]
    assert "by word of the kernel" in told["a2"].what[-1]
    assert "killed by signal 9" in told["a2"].what[-1]
    assert "marked by ada: gave up" in told["a3"].what[-1]
    assert told["a4"].what[-1] == "It is RUNNING; nobody has said that it ended."


def test_what_a_process_says_after_it_was_ended_from_outside_is_no_testimony(world: World) -> None:
    world.scribe.start("a1")
    world.scribe.say("judge", run="a1", state="TIMED_OUT", by="proof", reason="ran longer than 5 s")
    world.scribe.end("a1", "CANCELLED", reason="SIGTERM")
    told = world.explain()
    assert (told.state, told.witness) == ("TIMED_OUT", "proof")
    assert "ended its process from outside" in told.what[-1]


def test_conditions_say_when_and_that_silence_is_no_proof(world: World) -> None:
    world.scribe.start("a1")
    world.scribe.condition("a1", "lost", reason="silent for 60 s")
    world.scribe.condition("a1", "lost", on=False)
    told = world.explain().what
    assert any(
        "judged lost by silence, which is no proof" in each and "silent for 60 s" in each for each in told
    )
    assert told[-1].startswith("It was lost no more at 2027-")


def test_expectations_are_held_against_what_it_took(world: World) -> None:
    world.scribe.start("a1", check={"max_duration": 5.0})
    world.clock.now += 10
    world.scribe.end("a1")
    late = Incident("late", "k", "expected 02:00", world.clock.now, job="etl")
    Board(world.store).settle("job:default/etl", [late], world.clock.now)
    expected = world.explain(checks={"etl": Check(min_duration=60.0)}).expected  # type: ignore[arg-type]
    assert "max_duration: 5s, and it took 10s: too long." in expected
    assert "min_duration: 1m, and it took 10s: too short." in expected
    assert any(each.startswith("Its job is late since 2027-") for each in expected)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"channels": {}}, "No channel is set"),
        ({"alerts": (Rule(on=("crashed",)),)}, "Rule 1 (crashed) does not name failed."),
        ({"alerts": (Rule(on=("failed",), jobs=("x-*",)),)}, "is not about this run: jobs x-*."),
        ({"alerts": (Rule(on=("failed",), after=3),)}, "waits for 3 bad endings among the last 3."),
    ],
)
def test_why_nobody_was_told_is_said_rule_by_rule(world: World, settings: dict[str, Any], why: str) -> None:
    world.scribe.ran("a1")
    told = world.explain(**settings)
    assert any(why in each for each in told.why_none)
    assert told.alerts == []


def test_a_snoozed_alert_and_one_that_went_out_are_told_apart(world: World) -> None:
    outbox.snooze(world.store, "etl", world.clock.now + 60)
    world.scribe.ran("a1")
    assert "was not sent: the job or its host was snoozed" in world.explain().alerts[0]
    outbox.snooze(world.store, "etl", world.clock.now)
    world.scribe.ran("a2")
    (alert,) = world.explain("a2").alerts
    assert "failed to ops" in alert
    assert "waits for its channel" in alert


def test_a_run_that_is_well_needs_no_alert_and_no_rerun(world: World) -> None:
    world.scribe.ran("a1", "COMPLETED")
    told = world.explain()
    assert told.why_none == ["COMPLETED is nothing that a rule asks for."]
    assert not any("rerun" in each for each in told.next)
    assert told.to_json()["witness"] == "process"
