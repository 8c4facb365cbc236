"""The watchdog's ears wake it the moment a process dies; when a journal appears, they follow its process too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holter.agent import identity
from holter.agent.watchdog.adopt import Live
from holter.agent.watchdog.births import Births
from holter.agent.watchdog.deaths import Deaths
from holter.agent.watchdog.headers import header_at
from holter.backends.lines import encode

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def header_of(pid: int) -> dict[str, Any]:
    return {**identity.me(), "pid": pid, "start_ticks": identity.start_ticks(pid)}


def live(pid: int) -> Live:
    return Live(f"j{pid}", "/nowhere", header_of(pid), 0, 0)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEPER)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def deaths(tmp_path: Path) -> Iterator[Deaths]:
    made = Deaths(Births(str(tmp_path)))
    yield made
    made.close()


def seconds_of(call: Any) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_a_death_ends_the_wait_at_once_and_only_once(deaths: Deaths, sleeper: Any) -> None:
    deaths.follow([live(sleeper.pid)])
    threading.Timer(0.05, sleeper.kill).start()
    assert seconds_of(lambda: deaths.wait(20)) < 5
    assert seconds_of(lambda: deaths.wait(0.05)) >= 0.05  # though nobody has buried the dead


def test_a_death_before_the_wait_is_noticed_too(deaths: Deaths, sleeper: Any) -> None:
    deaths.follow([live(sleeper.pid)])
    sleeper.kill()
    assert seconds_of(lambda: deaths.wait(20)) < 5


def test_without_news_it_waits_its_time(deaths: Deaths, sleeper: Any) -> None:
    deaths.follow([live(sleeper.pid)])
    assert 0.1 <= seconds_of(lambda: deaths.wait(0.1)) < 5


def test_it_can_be_woken_any_number_of_times(deaths: Deaths) -> None:
    for _ in range(100_000):
        deaths.wake()
    assert seconds_of(lambda: deaths.wait(20)) < 5
    while seconds_of(lambda: deaths.wait(0.01)) < 0.01:
        continue


def test_who_is_not_in_the_list_is_followed_no_more(deaths: Deaths, sleeper: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    deaths.follow([live(sleeper.pid)])
    assert len(os.listdir("/proc/self/fd")) == before + 1
    deaths.follow([live(sleeper.pid)])
    deaths.follow([])
    assert len(os.listdir("/proc/self/fd")) == before
    sleeper.kill()
    assert seconds_of(lambda: deaths.wait(0.05)) >= 0.05


@pytest.mark.parametrize(
    "other", [{"namespace": 1}, {"boot": "another"}, {"start_ticks": 1}, {"pid": 2**22 + 1}], ids=str
)
def test_pids_that_mean_nothing_here_are_not_followed(deaths: Deaths, other: dict[str, Any]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    deaths.follow([Live("j", "/nowhere", {**header_of(os.getpid()), **other}, 0, 0)])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_process_whose_journal_appears_during_the_wait_is_followed(
    deaths: Deaths, sleeper: Any, tmp_path: Path
) -> None:
    (tmp_path / ".draft").write_bytes(encode({"event": "process", **header_of(sleeper.pid)}))

    def born_and_killed() -> None:
        time.sleep(0.05)
        (tmp_path / ".draft").rename(tmp_path / "j1.jsonl")
        time.sleep(0.2)
        sleeper.kill()

    threading.Thread(target=born_and_killed).start()
    assert 0.2 < seconds_of(lambda: deaths.wait(20)) < 5


def test_odd_things_that_appear_there_are_nobodys_birth(deaths: Deaths, tmp_path: Path) -> None:
    for name, data in (
        ("a.jsonl", b""),
        ("b.jsonl", b"words\n"),
        ("c.txt", b""),
        ("d.jsonl", encode({"event": "x"})),
    ):
        (tmp_path / "new").write_bytes(data)
        (tmp_path / "new").rename(tmp_path / name)
    (tmp_path / "new").mkdir()
    (tmp_path / "new").rename(tmp_path / "e.jsonl")  # a folder
    assert seconds_of(lambda: deaths.wait(0.05)) >= 0.05


def test_nothing_is_left_open(tmp_path: Path, sleeper: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        deaths = Deaths(Births(str(tmp_path)))
        deaths.follow([live(sleeper.pid)])
        deaths.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_is_not_there_is_only_not_listened_to() -> None:
    births = Births("/no/such/folder")
    assert births.fd == -1
    deaths = Deaths(births)
    assert seconds_of(lambda: deaths.wait(0.02)) >= 0.02
    deaths.close()


@pytest.mark.parametrize(
    "line",
    [
        b"x" * 2**26,
        *(
            encode({"event": "process", **identity.me(), **odd})
            for odd in ({"boot": ["x"]}, {"namespace": {}}, {"pid": "1"}, {"start_ticks": [1]})
        ),
    ],
    ids=["a line without end", "boot", "namespace", "pid", "ticks"],
)
def test_a_journal_that_no_process_of_ours_wrote_does_not_end_the_watchdog(
    tmp_path: Path, deaths: Deaths, line: bytes
) -> None:
    """In a home that several users share, anybody may put one there."""
    (tmp_path / "journals").mkdir(exist_ok=True)
    deaths.follow([])
    deaths.wait(0.0)
    draft = tmp_path / "draft"
    draft.write_bytes(line)
    draft.rename(tmp_path / "journals" / "x.jsonl")
    deaths.wait(0.2)
    assert not deaths.living
    assert header_at(str(tmp_path / "journals" / "x.jsonl")) is None
