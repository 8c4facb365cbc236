"""`holter copy`, as a user types it: killed at any moment, started again, and then both stores say the same."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from holter.backends.urls import open_backend
from holter.testing.tapes import Tape

COPY = ("copy", "--from", "sqlite:///a.db", "--to")


def fill(home: Path, runs: int) -> None:
    store = open_backend("sqlite:///a.db", str(home))
    for number in range(runs):
        tape = Tape(f"j{number:04}", time.time() - 5000 + number)
        run = f"r{number:04}"
        tape.start(run).start(f"{run}.a", "fetch", "task").log(run, "one").log(f"{run}.a", "two" * 300)
        tape.end(f"{run}.a").end(run, "FAILED" if number % 9 == 0 else "COMPLETED").say("close").send(store)
    store.close()


def told(host: Any, url: str, *verb: str) -> Any:
    done = host.holter(*verb, "--json", HOLTER_BACKEND=url)
    assert done.code == 0, done.err
    return (
        {k: v for k, v in said.items() if k not in ("since", "until")}
        if isinstance(said := json.loads(done.out), dict)
        else said
    )


@pytest.mark.parametrize("target", ["sqlite:///b.db", pytest.param("file:///b", marks=pytest.mark.long)])
def test_a_copy_that_is_killed_again_and_again_arrives_whole_and_once(new_host: Any, target: str) -> None:
    host = new_host("sqlite:///a.db")
    fill(host.home, 400)
    chance = random.Random(1)
    for _ in range(8):
        copying = host.spawn([sys.executable, "-m", "holter", *COPY, target])
        time.sleep(chance.uniform(0.2, 0.9))  # the moment of the kill, nothing that is waited for
        copying.send_signal(signal.SIGKILL)
        copying.wait()
    said = host.json(*COPY, target)
    assert said["ok"]
    assert said["source"] == said["target"]
    assert (said["source"]["runs"], said["source"]["lines"]) == (800, 800)
    shown = [("runs", "--limit", "900"), ("report", "--since", "9d"), ("logs", "r0007"), ("show", "r0009")]
    here, there = ([told(host, url, *each) for each in shown] for url in ("sqlite:///a.db", target))
    for one, other in zip(here, there):
        assert one == other


def test_a_copy_says_what_it_did_and_draws_no_bar_into_a_pipe(new_host: Any) -> None:
    host = new_host("sqlite:///a.db")
    fill(host.home, 5)
    done = host.holter(*COPY, "file:///b")
    assert done.code == 0
    assert done.err == ""
    assert done.out.startswith("10 runs went over")
    assert "10 = 10" in done.out
    assert host.holter(*COPY, "sqlite:///a.db").code == 2
