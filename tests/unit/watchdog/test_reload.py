"""Settings that change while the watchdog runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from holter.agent.settings import Settings, load
from holter.agent.watchdog import outbox, pulse
from holter.agent.watchdog.incidents import open_incidents
from holter.agent.watchdog.reload import EVERY, Reloader
from holter.agent.watchdog.watchdog import Watchdog
from holter.backends.urls import open_backend


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CONFIG", "BACKEND", "PROJECT", "HEARTBEAT"):
        monkeypatch.delenv(f"HOLTER_{name}", raising=False)
    return tmp_path


def settings_of(home: Path) -> Settings:
    return load(str(home))


def write(home: Path, text: str) -> None:
    (home / "holter.yaml").write_text(text)


def test_a_file_that_is_the_same_is_not_read_again(home: Path) -> None:
    write(home, "project: one")
    reads = []
    reloader = Reloader(settings_of(home), lambda place: reads.append(place) or load(place))  # type: ignore[func-returns-value]
    assert [reloader.look(now * EVERY) for now in range(5)] == [None] * 5
    assert reads == []
    reloader.asked = True  # SIGHUP
    assert reloader.look(0.0) is not None
    assert len(reads) == 1 and not reloader.asked


@pytest.mark.parametrize("how", ["grows", "replaced", "gone", "appears"])
def test_another_file_is_read(home: Path, how: str) -> None:
    if how != "appears":
        write(home, "project: one")
    reloader = Reloader(settings_of(home))
    assert reloader.look(0.0) is None
    if how == "gone":
        (home / "holter.yaml").unlink()
    elif how == "replaced":
        before = os.stat(home / "holter.yaml")
        (home / "new").write_text("project: two")
        os.utime(home / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(home / "new", home / "holter.yaml")
    else:
        write(home, "project: three")
    assert reloader.look(EVERY / 2) is None  # not yet time to look
    new = reloader.look(EVERY)
    assert new is not None
    assert new.project == {"grows": "three", "appears": "three", "replaced": "two", "gone": "default"}[how]


def test_a_bad_file_is_refused_once_and_the_old_settings_hold(home: Path) -> None:
    write(home, "project: one")
    reloader = Reloader(settings_of(home))
    write(home, "projekt: two")
    assert reloader.look(0.0) is None
    assert "unknown setting projekt" in reloader.refused and reloader.settings.project == "one"
    assert reloader.look(EVERY) is None
    write(home, "project: two!")
    assert reloader.look(2 * EVERY) is not None
    assert reloader.refused == "" and reloader.settings.project == "two!"


def test_the_backend_changes_only_with_a_restart_and_everything_else_at_once(home: Path) -> None:
    write(home, "project: one")
    reloader = Reloader(settings_of(home))
    write(home, "project: two\nbackend: sqlite:///other.db")
    new = reloader.look(0.0)
    assert new is not None and (new.project, new.backend) == ("two", "sqlite:///holter.db")
    assert "restart" in reloader.refused


def test_a_watchdog_goes_by_the_new_settings_and_says_when_it_cannot(home: Path, clock: Any) -> None:
    calm = "host: {every: 20s, load: 10000}"  # whatever this machine is doing
    write(home, f"watchdog: {{interval: 1s}}\n{calm}")
    dog = Watchdog(settings_of(home), clock=clock)
    store = open_backend("sqlite:///holter.db", str(home), clock=clock)
    dog.step()
    outbox.snooze(store, "etl", clock.now + 7200, by="me")
    write(home, f"watchdog: {{interval: 3s, lost_after: 5m}}\n{calm}")
    clock.now += EVERY
    dog.step()
    assert dog.settings.watchdog.interval == 3.0 and dog._ears.lost_after == 300.0
    write(home, "watchdog: {interval: soon}")
    clock.now += pulse.EVERY
    dog.step()
    clock.now += pulse.EVERY
    dog.step()
    assert dog.settings.watchdog.interval == 3.0
    assert [each.event for each in open_incidents(store)] == ["settings_refused"]
    held = pulse.mine(store)
    assert held is not None and "watchdog.interval" in held["settings"]["refused"]
    write(home, calm)
    clock.now += pulse.EVERY
    dog.step()
    assert open_incidents(store) == []
    assert [each["job"] for each in outbox.snoozes(store, clock.now)] == ["etl"]
    dog.close()
    store.close()


def test_one_pass_from_cron_reads_its_settings_once(home: Path, clock: Any) -> None:
    dog = Watchdog(evolve(settings_of(home), project="given"), clock=clock, once=True)
    write(home, "project: other")
    dog.step()
    assert dog.settings.project == "given"
    dog.close()
