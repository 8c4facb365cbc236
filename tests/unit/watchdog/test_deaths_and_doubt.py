"""What looks like life or death and is neither: a number of another process elsewhere, descriptors that run short."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import pytest

from holter.agent import identity
from holter.agent.watchdog.adopt import Live
from holter.agent.watchdog.deaths import Deaths
from holter.agent.watchdog.headers import who

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def live(pid: int, **other: Any) -> Live:
    header = {**identity.me(), "pid": pid, "start_ticks": identity.start_ticks(pid), **other}
    return Live(f"j{pid}-{len(other)}", "/nowhere", header, 0, 0)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEPER)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("other", [{"namespace": 1}, {"start_ticks": 1}, {"boot": "before"}], ids=str)
def test_who_shares_no_more_than_a_number_with_a_process_that_lives_does_not_live_by_that(
    sleeper: Any, other: dict[str, Any]
) -> None:
    mine, theirs = live(sleeper.pid), live(sleeper.pid, **other)
    deaths = Deaths()
    deaths.follow([mine, theirs])
    assert who(mine.header) in deaths.living
    assert who(theirs.header) not in deaths.living
    deaths.close()


@contextmanager
def descriptors(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def number_of_free(wanted: int) -> int:
    """A limit that leaves so many descriptors: what ran in this process before may have some open."""
    used = set(map(int, os.listdir("/proc/self/fd")))
    return next(most for most in count() if most - sum(each < most for each in used) == wanted)


def test_a_process_that_cannot_be_looked_at_is_not_dead(sleeper: Any) -> None:
    header = live(sleeper.pid).header
    held: list[int] = []
    with descriptors(len(os.listdir("/proc/self/fd")) + 64):
        with suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        try:
            said = {identity._start_ticks(sleeper.pid), identity.alive(header)}
        finally:
            for fd in held:
                os.close(fd)
    assert said == {None}
    assert identity.alive(header) is True


def test_descriptors_are_left_for_the_store_and_for_those_that_are_watched_by_their_locks() -> None:
    crew = [subprocess.Popen(["sleep", "60"]) for _ in range(60)]
    deaths = Deaths()
    try:
        with descriptors(number_of_free(48)):
            deaths.follow([live(each.pid) for each in crew])
            followed = len(list(deaths.living))
            left = [os.open("/dev/null", os.O_RDONLY) for _ in range(12)]
        for fd in left:
            os.close(fd)
        assert 0 < followed < len(crew)
    finally:
        deaths.close()
        for each in crew:
            each.kill()
            each.wait()
