"""What `holter doctor` says of watching, and that each fault names what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from holter.agent.settings import HostSettings, Room, Settings, load
from holter.agent.watchdog import gaps, host_watch, incidents, pulse
from holter.agent.watchdog.doctor_watch import host, watchdog
from holter.agent.watchdog.finding import Finding
from holter.agent.watchdog.incidents import Board, Incident
from holter.agent.watchdog.tidy import forget_documents
from holter.agent.watchdog.watchdog import Watchdog
from holter.backends.base import Backend
from holter.backends.clock import Clock
from holter.backends.urls import open_backend

Look = Callable[[], list[Finding]]
CALM = HostSettings(disk_free=Room(0), memory_free=Room(0), load=1e9)  # whatever this machine is doing


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("HOLTER_CONFIG", raising=False)
    return evolve(load(str(tmp_path), environ={}), host=CALM)


@pytest.fixture
def look(settings: Settings, store: Backend, clock: Any) -> Look:
    return lambda: list(watchdog(settings, store, clock))


def beat(store: Backend, clock: Any, **about: Any) -> None:
    gaps.note(store, clock.now)
    pulse.beat(store, clock.now, started_at=clock.now, about=about)


def texts(findings: list[Finding], level: str) -> list[str]:
    assert all(each.todo for each in findings if each.level != "ok")
    return [each.detail for each in findings if each.level == level]


def test_a_watchdog_that_is_well_says_how_its_passes_go(
    settings: Settings, clock: Any, tmp_path: Path
) -> None:
    dog = Watchdog(settings, clock=clock)
    dog.step()
    clock.now += 10
    dog.step()
    with_it = open_backend("sqlite:///holter.db", str(tmp_path), clock=clock)
    found = list(watchdog(settings, with_it, clock))
    assert texts(found, "fail") == texts(found, "warn") == []
    assert found[0].detail.endswith("0 s ago; 1 passes, the last took 0 ms, 0 live journals, 0 alerts wait")
    dog.close()
    assert texts(list(watchdog(settings, with_it, clock)), "warn")[0].startswith("nobody watches since")
    with_it.close()


def test_a_host_whose_watchdog_is_gone_is_named_also_while_another_host_s_watches(
    look: Look, store: Backend, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(store, clock)
    clock.now += 3600
    monkeypatch.setenv("HOLTER_TEST_HOST", "elsewhere")
    beat(store, clock)
    monkeypatch.delenv("HOLTER_TEST_HOST")
    assert texts(look(), "warn") == ["none on this host since 2027-01-15T08:00:00Z"]


def test_gaps_of_the_last_day_and_what_lasts_are_listed(look: Look, store: Backend, clock: Any) -> None:
    beat(store, clock)
    clock.now += 3600
    beat(store, clock)
    full = Incident("disk", "k", "1 MB free", clock.now, host="web-1")
    Board(store).settle("host:web-1", [full], clock.now)
    found = look()
    assert "nobody watched here for 1h until 2027-01-15T09:00:00Z" in texts(found, "ok")
    assert texts(found, "warn") == ["1 MB free (since 2027-01-15T09:00:00Z)"]
    for _ in range(90_000 // 25):
        clock.now += 25
        beat(store, clock)
    assert not [each for each in look() if each.about == "gap"]


def test_steps_that_fail_and_alerts_that_nobody_took_are_faults(
    look: Look, store: Backend, clock: Any
) -> None:
    passes = {"count": 7, "seconds": 9.0, "journals": 1, "alerts_pending": 2, "alerts_undelivered": 3}
    beat(store, clock, passes={**passes, "errors": {"delivering alerts": "disk full"}})
    found = look()
    assert texts(found, "fail") == [
        "delivering alerts fails: disk full",
        "3 alerts found no channel that took them",
    ]
    assert texts(found, "warn") == ["its last pass took 9.0 s"]


def test_settings_that_are_newer_than_what_the_watchdog_goes_by_are_named(
    look: Look, store: Backend, clock: Any, tmp_path: Path
) -> None:
    path = str(tmp_path / "holter.yaml")
    beat(store, clock, settings={"path": path, "version": [], "refused": ""})
    assert texts(look(), "warn") == []
    Path(path).write_text("project: new")
    os.utime(path, (clock.now - 60, clock.now - 60))
    assert texts(look(), "warn") == [f"{path} is newer than what it goes by"]
    beat(store, clock, settings={"path": path, "version": [], "refused": "unknown setting x"})
    assert texts(look(), "fail") == ["it goes by its old settings: unknown setting x"]


def test_the_host_is_judged_by_its_thresholds(
    settings: Settings, store: Backend, clock: Any, tmp_path: Path
) -> None:
    strict = evolve(settings, host=evolve(CALM, disk_free=Room(percent=100.0), paths=(str(tmp_path / "no"),)))
    found = list(host(strict, store, clock))
    assert texts(found, "fail") == [f"{tmp_path / 'no'} does not exist"]
    assert [each.about for each in found if each.level == "warn"] == ["disk"]
    assert {each.level for each in host(settings, store, clock)} == {"ok"}


def test_the_watchdogs_own_documents_are_forgotten_with_the_runs_of_their_time(
    settings: Settings, store: Backend, clock: Any, tmp_path: Path
) -> None:
    kinds = (pulse.KIND, gaps.KIND, host_watch.KIND, incidents.KIND)
    beat(store, clock)
    clock.now += 100
    beat(store, clock)
    host_watch.HostWatch(str(tmp_path), clock).look(store, evolve(CALM, disk_free=Room(percent=100.0)))
    clock.now += 89 * 86400
    assert forget_documents(store, settings, clock) == 0
    assert [len(store.list(kind)) for kind in kinds] == [1, 1, 1, 1]
    clock.now += 2 * 86400
    assert forget_documents(store, settings, clock) == 3
    assert incidents.open_incidents(store) == []  # nobody else could say that it is over
    clock.now += 91 * 86400
    assert forget_documents(store, settings, clock) == 1
    assert [len(store.list(kind)) for kind in kinds] == [0, 0, 0, 0]


class Sleepy(Clock):
    """Wall time goes on while the machine sleeps; monotonic time does not."""

    def __init__(self) -> None:
        self.awake, self.asleep = 1_800_000_000.0, 0.0

    def wall(self) -> float:
        return self.awake + self.asleep

    def monotonic(self) -> float:
        return self.awake


def test_a_host_that_slept_has_a_gap_and_nobody_in_trouble(
    settings: Settings, tmp_path: Path, new_scribe: Any
) -> None:
    """HB-3: after 518 s of sleep whoever was heard before gets a whole grace."""
    clock = Sleepy()
    store = open_backend("sqlite:///holter.db", str(tmp_path), clock=clock)
    scribe = new_scribe(store)
    scribe._clock = clock
    scribe.start("r1")
    dog = Watchdog(evolve(settings, watchdog=evolve(settings.watchdog, lost_after=60.0)), clock=clock)
    for _ in range(20):
        clock.awake += 1
        dog.step()
    clock.asleep += 518
    for _ in range(40):
        clock.awake += 1
        dog.step()
        (run,) = [each for each in [store.run("r1")] if each]
        assert (run.state, run.conditions) == ("RUNNING", ())
    (gap,) = gaps.unwatched(store, clock.wall())
    assert 518 <= gap[1] - gap[0] <= 530
    for _ in range(30):
        clock.awake += 1
        dog.step()
    (run,) = [each for each in [store.run("r1")] if each]
    assert run.conditions == ("lost",)  # but silence since then counts
    dog.close()
    store.close()
