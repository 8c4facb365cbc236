"""Automations: what a fact calls for happens at most once, on its own host, and never more often than the bound."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.setting_types import Bound, Rule, Settings
from holter.agent.watchdog.automate import KIND, PACE, Automations
from holter.agent.watchdog.bound import next_at, recent
from holter.agent.watchdog.incidents import Board, Incident, open_incidents
from holter.backends.base import Backend
from holter.backends.urls import open_backend
from tests.unit.watchdog.conftest import HandSetClock, Scribe


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Any]:
    """A store, a host's journal in it, and its watchdog's automations: `world.act()` is a pass."""
    made = World(tmp_path)
    yield made
    made.close()


class World:
    def __init__(self, home: Path) -> None:
        self.home, self.clock = home, HandSetClock()
        self.store: Backend = open_backend(f"memory:{home}", str(home), clock=self.clock)
        self.scribe = Scribe(self.store, self.clock)
        self._dogs: list[Automations] = []
        self.dog = self.watchdog()
        self.rule = Rule(on=("failed",), run=f"sh -c 'cat >> {home}/said; echo >> {home}/said'", back_off=0.0)

    def watchdog(self, host: str = "web-1") -> Automations:
        self._dogs.append(Automations(self.clock, host))
        return self._dogs[-1]

    def act(self, dog: Automations | None = None, **changes: Any) -> int:
        import attrs

        settings = Settings(home=str(self.home), alerts=(attrs.evolve(self.rule, **changes),))
        return (dog or self.dog).act(self.store, settings)

    def said(self) -> list[Any]:
        self.close()
        path = self.home / "said"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def states(self) -> list[str]:
        return sorted(held.value["state"] for _, held in self.store.list(KIND))

    def close(self) -> None:
        for dog in self._dogs:
            for process in dog.started:
                process.wait(30)


def test_a_failure_runs_the_command_once_with_the_alert_on_its_stdin_and_is_recorded_with_its_cause(
    world: World,
) -> None:
    world.scribe.ran("a1")
    assert [world.act(), world.act(), world.act(world.watchdog())] == [1, 0, 0]
    (alert,) = world.said()
    assert (alert["event"], alert["run_id"], alert["job"]) == ("failed", "a1", "etl")
    with open_store(world.home) as store:
        (run,) = store()
    assert run.kind == "command"
    assert run.state == "COMPLETED"
    assert run.cause == {"by": "watchdog", "alert": "a1:failed", "run_id": "a1"}


class open_store:
    """The store of the home that the command itself recorded into."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __enter__(self) -> Callable[[], list[Any]]:
        from holter.agent.watchdog.adopt import catch_up
        from holter.backends.queries import RunQuery

        self.store = open_backend("sqlite:///holter.db", str(self.home))
        catch_up(str(self.home), self.store)
        return lambda: self.store.runs(RunQuery(limit=None))

    def __exit__(self, *_: object) -> None:
        self.store.close()


def test_the_bound_holds_over_restarts_and_reaching_it_is_one_incident_that_ends(world: World) -> None:
    for number in range(6):
        world.scribe.ran(f"a{number}")
        world.act(world.watchdog(), max=Bound(2, 600.0))
        world.clock.now += 1
    assert world.states() == ["refused"] * 4 + ["started"] * 2
    (incident,) = open_incidents(world.store)
    assert (incident.event, incident.job) == ("automation", "etl")
    assert "2 times in 600 s" in incident.reason
    world.clock.now += 601
    world.act()
    assert open_incidents(world.store) == []


def test_the_pause_grows_and_what_waits_is_not_forgotten(world: World) -> None:
    began = world.clock.now
    started = []
    for number in range(3):
        world.scribe.ran(f"a{number}")
    for _ in range(60):
        started += [world.clock.now - began] * world.act(back_off=10.0)
        world.clock.now += 1
    assert started == [0, 10, 30]


def test_only_the_watchdog_of_the_runs_own_host_acts(world: World) -> None:
    world.scribe.ran("a1")
    assert world.act(world.watchdog("web-2")) == 0
    assert world.act() == 1


def test_what_an_automation_started_calls_for_none_when_it_fails(world: World) -> None:
    world.scribe.start("a1", "fixer", "command", cause={"by": "watchdog", "alert": "x"})
    world.scribe.end("a1")
    assert world.act() == 0
    world.scribe.start("a2", "etl", cause={"by": "watchdog", "alert": "x", "rerun_of": "a0"})
    world.scribe.end("a2")
    assert world.act() == 1  # a rerun that fails does, within the bound


def test_what_happened_long_ago_calls_for_nothing(world: World) -> None:
    world.scribe.ran("a1")
    world.clock.now += 3601
    assert world.act() == 0


def test_a_rerun_is_not_needed_once_the_job_ran_again(world: World) -> None:
    world.scribe.ran("a1")
    world.clock.now += 1
    world.scribe.ran("a2", "COMPLETED")
    world.act(run=None, rerun=True)
    assert world.states() == ["overtaken"]


def test_a_rerun_that_cannot_be_says_why(world: World) -> None:
    world.scribe.ran("a1")
    world.act(run=None, rerun=True)
    (held,) = [held for _, held in world.store.list(KIND)]
    assert held.value["state"] == "failed"
    assert "ran on web-1, this is" in held.value["reason"]


def test_incidents_call_for_automations_too(world: World) -> None:
    Board(world.store).settle(
        "host:web-1", [Incident("disk", "d:1", "full", world.clock.now, host="web-1")], world.clock.now
    )
    Board(world.store).settle(
        "host:web-2", [Incident("disk", "d:2", "full", world.clock.now, host="web-2")], world.clock.now
    )
    assert [world.act(on=("disk",)), world.act(on=("disk",))] == [1, 0]
    assert world.said()[0]["reason"] == "full"


def test_a_rule_that_waits_for_misses_in_a_row_acts_at_the_last_of_them(world: World) -> None:
    """Misses in a row are one incident that counts them, and since the first of them days may have gone by."""
    began, day = world.clock.now, 86400.0
    for number in range(1, 5):
        world.clock.now = began + number * day
        counted = {"misses": number, "last_missed": world.clock.now}
        missed = Incident("missed", "m:1", f"{number} missed", began + day, job="etl", details=counted)
        Board(world.store).settle("job:default/etl", [missed], world.clock.now)
        assert world.act(on=("missed",), after_missed=3) == (number == 3)
    assert [each["reason"] for each in world.said()] == ["3 missed"]


def test_two_watchdogs_at_once_on_one_store_do_each_once_and_keep_the_bound_together(tmp_path: Path) -> None:
    clock, url = HandSetClock(), "sqlite:///shared.db"
    store = open_backend(url, str(tmp_path), clock=clock)
    scribe = Scribe(store, clock)
    for number in range(12):
        scribe.ran(f"a{number}")
    settings = Settings(
        home=str(tmp_path), alerts=(Rule(on=("failed",), run="true", back_off=0.0, max=Bound(4, 600.0)),)
    )
    dogs = [Automations(clock, "web-1") for _ in range(2)]
    begin = threading.Barrier(2)

    def watch(dog: Automations) -> int:
        own = open_backend(url, str(tmp_path), clock=clock)
        begin.wait()
        done = sum(dog.act(own, settings) for _ in range(3))
        own.close()
        return done

    with ThreadPoolExecutor(2) as pool:
        assert 1 <= sum(pool.map(watch, dogs)) <= 4
    started = [process for dog in dogs for process in dog.started]
    for process in started:
        process.wait(30)
    claims = [held.value for _, held in store.list(KIND) if held.value["state"] == "started"]
    assert len(started) <= len(claims) <= 4
    assert len(open_incidents(store)) == 1
    store.close()


class Contended:
    """A store where another watchdog charges the job's bound just before we do."""

    def __init__(self, store: Backend) -> None:
        self._store, self.contended = store, False

    def put(self, kind: str, key: str, value: Any, version: int) -> int | None:
        if kind == PACE and not self.contended:
            self.contended = True
            assert self._store.put(kind, key, value, version) is not None
        return self._store.put(kind, key, value, version)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_bound_that_another_watchdog_charged_in_between_is_looked_at_again(world: World) -> None:
    world.rule = Rule(on=("failed",), run="true", back_off=0.0, max=Bound(1, 600.0))
    world.scribe.ran("a1")
    settings = Settings(home=str(world.home), alerts=(world.rule,))
    assert world.dog.act(Contended(world.store), settings) == 0  # type: ignore[arg-type]
    assert [world.act(), world.states()] == [0, ["refused"]]


class Killed(BaseException):
    """The watchdog died here."""


class Mortal:
    """A store whose user dies before its n-th write."""

    def __init__(self, store: Backend, lives: int) -> None:
        self._store, self._lives = store, lives

    def put(self, *args: Any) -> Any:
        self._lives -= 1
        if self._lives < 0:
            raise Killed
        return self._store.put(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_killed_between_any_two_steps_an_automation_happens_at_most_once_and_within_its_bound(
    tmp_path: Path,
) -> None:
    happened = 0
    for lives in range(9):
        home = tmp_path / str(lives)
        home.mkdir()
        world = World(home)
        world.rule = Rule(on=("failed",), run="true", back_off=0.0, max=Bound(1, 600.0))
        settings = Settings(home=str(home), alerts=(world.rule,))
        world.scribe.ran("a1")
        count = 0
        try:
            count += world.dog.act(Mortal(world.store, lives), settings)  # type: ignore[arg-type]
        except Killed:
            pass
        count = max(count, len(world.dog.started))
        other = world.watchdog()
        for _ in range(3):
            count += other.act(world.store, settings)
        world.close()
        assert count <= 1
        happened += count
    assert happened >= 6


times = st.lists(st.floats(0, 1e5), max_size=20)


@given(times, st.integers(1, 5), st.floats(1, 1e4), st.floats(0, 100))
def test_however_the_facts_fall_no_window_holds_more_than_the_bound(
    facts: list[float], count: int, seconds: float, back_off: float
) -> None:
    acted: list[float] = []
    for now in sorted(facts):
        allowed = next_at(acted, Bound(count, seconds), back_off, now)
        if allowed is not None and allowed <= now:
            if len(counted := recent(acted, Bound(count, seconds), now)) > 0:
                assert now >= counted[-1] + back_off * 2 ** (len(counted) - 1)
            acted.append(now)
    for at in acted:
        assert sum(at <= other < at + seconds for other in acted) <= count
