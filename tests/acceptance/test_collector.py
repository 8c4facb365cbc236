"""A collector that is killed, cut off and full: every event that was recorded is stored once, and once only."""

from __future__ import annotations

import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holter.backends.errors import StorageError
from holter.backends.http import HttpBackend
from holter.backends.lines import encode
from holter.backends.queries import LogQuery

from .collecting import Collector, Proxy

WRITERS = 20
WRITER = """
    import os, sys, time
    from holter import current_run, flow, task

    @task
    def step(number):
        current_run().log(f"{sys.argv[1]}-{number} " + "x" * int(sys.argv[3]))

    @flow(name=f"writer-{sys.argv[1]}")
    def main():
        number = 0
        while not os.path.exists(sys.argv[2]) or number < 5:
            step(number)
            number += 1
            time.sleep(0.02)
        return number

    print(main())
"""


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made.start()
    made.close()


class Load:
    """So many writers, who go on until they are told to stop. `done` checks that all they wrote was stored once."""

    def __init__(self, host: Any, folder: Path, padding: int = 0, writers: int = WRITERS) -> None:
        self.host, self.stop = host, folder / "stop"
        script = host.script(WRITER)
        self.writers = [
            host.start(script, str(number), str(self.stop), str(padding)) for number in range(writers)
        ]

    def done(self, until: Callable[..., Any]) -> int:
        self.stop.touch()
        counts = []
        for writer in self.writers:
            out, err = writer.communicate(timeout=60)
            assert writer.returncode == 0, err
            assert err.count("\n") <= 1, err  # it complains once, in one line
            counts.append(int(out))
        until(
            lambda: self.host.holter("runs").err.find("not up to date") < 0 and not self.host.journals(),
            "all to arrive",
        )
        self.check(counts)
        return sum(counts)

    def check(self, counts: list[int]) -> None:
        store = self.host.store
        runs = self.host.seen()
        assert Counter(run.state for run in runs) == {"COMPLETED": sum(counts) + len(counts)}
        roots = {run.name: run for run in runs if run.parent_id is None}
        for number, count in enumerate(counts):
            texts = [log.text.split()[0] for log in store.logs(LogQuery(roots[f"writer-{number}"].id))]
            assert texts == [f"{number}-{each}" for each in range(count)]
        told, after = Counter(), 0
        while page := store.transitions(after):
            told.update((each.run_id, each.to_state) for each in page)
            after = page[-1].seq
        assert set(told.values()) == {1}
        assert sum(to == "COMPLETED" for _, to in told) == len(runs)
        assert all(process.damaged == 0 for process in store.processes(open_only=False))


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_a_collector_that_is_killed_under_load_loses_and_doubles_nothing(
    collector: Collector, new_host: Any, until: Any, figures: Any, tmp_path: Path, kills: int
) -> None:
    chance = random.Random(kills)
    load = Load(new_host(collector.url), tmp_path)
    for _ in range(kills):
        time.sleep(chance.uniform(0.2, 1.0))
        collector.kill()
        time.sleep(chance.uniform(0.0, 0.3))
        collector.start()
    figures(kills=kills, tasks=load.done(until))


@pytest.mark.long
def test_a_collector_of_two_processes_that_is_stopped_in_order_under_load_answers_with_what_is_stored(
    new_host: Any, until: Any, figures: Any, tmp_path: Path
) -> None:
    collector = Collector(tmp_path, "--workers", "2").start()
    try:
        load = Load(new_host(collector.url), tmp_path, writers=8)
        for _ in range(3):
            time.sleep(0.7)
            assert collector.stop() == 0
            collector.start()
        figures(tasks=load.done(until))
        assert collector.stop() == 0
    finally:
        collector.close()
    log = collector.log.read_text()
    assert "Traceback" not in log, log
    assert log.count("what was answered is stored") == 4


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_a_network_that_drops_delays_truncates_and_duplicates_costs_nothing(
    collector: Collector, new_host: Any, until: Any, figures: Any, tmp_path: Path, seconds: int
) -> None:
    proxy = Proxy(collector.port, seed=seconds)
    try:
        load = Load(new_host(proxy.url), tmp_path)
        proxy.bad = True
        time.sleep(seconds)
        proxy.bad = False
        tasks = load.done(until)
    finally:
        proxy.close()
    assert min(proxy.did[fate] for fate in ("drop", "delay", "truncate", "duplicate")) > 0
    figures(seconds=seconds, tasks=tasks, **proxy.did)
    log = collector.log.read_text()
    assert "Traceback" not in log, log


def test_a_collector_whose_disk_is_full_says_so_and_takes_everything_when_it_is_not(
    collector: Collector, new_host: Any, until: Any, figures: Any, tmp_path: Path
) -> None:
    assert collector.process is not None
    pid, database = collector.process.pid, collector.home / "collector.db"
    host = new_host(collector.url)
    load = Load(host, tmp_path, padding=2_000)
    until(host.seen, "the first runs")
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (database.stat().st_size + 300_000, unlimited[1]))
    refused = until(lambda: refusal(collector.url), "the disk to be full")
    assert "store" in str(refused)
    assert refused.retry_after is not None
    assert collector.answers("/healthz")
    time.sleep(1.0)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    figures(tasks=load.done(until))
    assert collector.stop() == 0
    assert "Traceback" not in collector.log.read_text()


def refusal(url: str) -> StorageError | None:
    """What a client is told who sends half a megabyte."""
    store = HttpBackend(url, home="/nowhere")
    name = f"probe{time.monotonic_ns()}"
    lines = [encode({"event": "process", "journal": name, "at": time.time()})]
    lines += [encode({"event": "beat", "at": 1.0, "seq": n, "more": "x" * 10_000}) for n in range(5)]
    try:
        store.append(name, 0, b"".join(lines))
    except StorageError as error:
        return error
    finally:
        store.close()
    return None
