"""Waiting for a limit, or holding it, for too long is told of while it lasts, with who it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holter.agent.setting_types import Limit
from holter.agent.watchdog.incidents import open_incidents
from holter.agent.watchdog.slot_watch import SlotWatch
from holter.backends.base import Backend
from holter.backends.clock import Clock
from holter.backends.memory import MemoryBackend

JOB = """
import sys, time
from holter import concurrency, flow

@flow(name=sys.argv[1])
def job():
    print("begun", flush=True)
    with concurrency("database"):
        print("in", flush=True)
        time.sleep(60)

job()
"""


class Later(Clock):
    """The real clocks, so many seconds ahead."""

    ahead = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    made: list[Any] = []

    def start_one(name: str) -> Any:
        environ = {**os.environ, "HOLTER_HOME": str(tmp_path), "HOLTER_BACKEND": "off:"}
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, name], env=environ, stdout=subprocess.PIPE, text=True
        )
        made.append(process)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        return process

    yield start_one
    for process in made:
        process.kill()
        process.communicate(timeout=20)


def told(store: Backend) -> list[tuple[str, str]]:
    return [(each.event, each.reason) for each in open_incidents(store)]


def test_who_holds_and_who_waits_too_long_is_named_until_it_is_over(
    tmp_path: Path, start: Callable[[str], Any]
) -> None:
    store, clock = MemoryBackend(f"memory:{tmp_path}"), Later()
    watch = SlotWatch(str(tmp_path), clock)
    limits = {"database": Limit(wait_alert=600.0, hold_alert=3600.0)}  # type: ignore[arg-type]
    holder = start("etl")
    assert holder.stdout.readline() == "in\n"
    waiter = start("report")
    deadline = time.monotonic() + 20
    while not list(Path(tmp_path, "slots").glob("*/queue/[!.]*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watch.look(store, limits) == 0
    clock.ahead = 700.0
    assert watch.look(store, limits) == 1
    [(event, reason)] = told(store)
    assert event == "slot_wait"
    assert f"(pid {waiter.pid} on " in reason
    assert "waits for a slot of database since more than 11m" in reason
    clock.ahead = 4000.0
    assert watch.look(store, limits) == 1
    [(_, held)] = [each for each in told(store) if each[0] == "slot_hold"]
    assert f"(pid {holder.pid} on " in held
    assert watch.look(store, limits) == 0
    holder.kill()
    assert waiter.stdout.readline() == "in\n"
    assert SlotWatch(str(tmp_path), Later()).look(store, limits) == 2
    assert told(store) == []


def test_a_limit_that_is_not_watched_any_more_has_no_incident(
    tmp_path: Path, start: Callable[[str], Any]
) -> None:
    store, clock = MemoryBackend(f"memory:{tmp_path}"), Later()
    watch = SlotWatch(str(tmp_path), clock)
    holder = start("etl")
    assert holder.stdout.readline() == "in\n"
    clock.ahead = 100.0
    watch.look(store, {"database": Limit(hold_alert=60.0)})  # type: ignore[arg-type]
    assert [event for event, _ in told(store)] == ["slot_hold"]
    assert SlotWatch(str(tmp_path), clock).look(store, {"database": Limit()}) == 1
    assert told(store) == []
