"""A script that records through a relay into a store, and what the store has of it in the end.

The script's records go out one step at a time: it waits for each to arrive before it takes the next, but not for long.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from holter.agent.watchdog.adopt import catch_up
from holter.backends.base import Backend
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.urls import open_backend

from .relay import NOTHING, Fault, Faulty, Relay

BOUND = 60.0  # seconds: how long a script may take before a test gives up on it
DELAYED = 2.0  # seconds that recording may cost a process in all (promise 1)
TRIES = 3
AT_ONCE = 3  # scripts at a time: most of their time they wait
NUMBERS = count(1)  # of the scripts of this process: each has a name of its own in the stores that they share
JOB = """
import sys, time
import holter.agent.shipper as shipper
from holter import flow, task, current_run
from holter.agent.tape import process
shipper.INTERVAL = 0.05  # so that there is more than one batch
spent, patience = 0.0, float(sys.argv[2])

def arrived():
    global patience
    end = time.monotonic() + patience
    while process.shipper._offset < process.journal.size():
        if time.monotonic() > end:
            patience = 0.1
            return
        time.sleep(0.01)

@task
def step(n):
    current_run().log(f"line {n}")
    if n == 3:
        raise ValueError("no 3")
    return n

@flow(log_prints=True)
def main():
    global spent
    print("begun")
    for n in (1, 2, 3):
        arrived()
        began = time.monotonic()
        try:
            step(n)
        finally:
            spent += time.monotonic() - began

try:
    main()
finally:
    with open(sys.argv[1], "w") as said:
        print(spent, time.monotonic(), file=said)
"""


class Story(NamedTuple):
    """What a store says of a script: its runs by name with state and events, its lines, and every ending that it told.
    That a run began is told only where it had not ended by then."""

    runs: list[tuple[str, str, list[str]]]
    lines: list[tuple[str, str]]
    endings: list[tuple[str, str]]


class Done(NamedTuple):
    """What a script left. `cost`: the seconds that recording took, in its calls and after the script's own end."""

    code: int
    out: str
    err: str
    cost: float
    home: Path
    url: str
    project: str

    @property
    def arrived(self) -> bool:
        """Whether it got to its end with nothing left to send; asked before somebody looks."""
        return not list((self.home / "journals").glob("*.jsonl"))


class Ground:
    """Runs the script again and again, each time in a home of its own through a relay of its own. `url` makes the URL
    of the store from the port of the relay and a name."""

    def __init__(
        self, folder: Path, relayed: Callable[[Fault], Faulty], url: Callable[[int, str], str]
    ) -> None:
        self.folder, self.relayed, self._url = folder, relayed, url
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("HOLTER_")}
        self.job = folder / "job.py"
        self.job.write_text(JOB)
        self._unhurt: tuple[Done, Story] | None = None
        self.stride = 3  # of the pieces each way, a short proof hits one in so many
        self.patience = 1.0  # seconds that the script waits for a step to arrive, until it was in vain once

    def run(self, relay: Relay) -> Done:
        name = f"p{os.getpid()}_{next(NUMBERS)}"
        home, said = self.folder / name, self.folder / f"{name}.said"
        url = self._url(relay.port, name)
        env = {**self.env, "HOLTER_HOME": str(home), "HOLTER_BACKEND": url, "HOLTER_PROJECT": name}
        argv = [sys.executable, str(self.job), str(said), str(self.patience)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=BOUND, env=env, cwd=self.folder)
        ended = time.monotonic()
        spent, last = map(float, said.read_text().split())
        return Done(done.returncode, done.stdout, done.stderr, spent + ended - last, home, url, name)

    def look(self, done: Done) -> Story:
        """Send what waits in the journal, as whoever looks next does; what the store has then."""
        with closing(open_backend(done.url, str(done.home))) as store:
            swept = catch_up(str(done.home), store)
            assert swept.faults == []
            assert done.arrived
            return story(store, done.project)

    def unhurt(self) -> tuple[Done, Story]:
        """What a script is, and what is stored of it, where nothing goes wrong."""
        if self._unhurt is None:
            _, done, seen = self.through(NOTHING)
            assert (done.code, done.out, done.err.count("ValueError: no 3")) == (1, "begun\n", 1)
            assert [state for _, state, _ in seen.runs] == ["FAILED", "COMPLETED", "COMPLETED", "FAILED"]
            assert len(seen.lines) == len(seen.endings) == 4
            self._unhurt = done, seen
        return self._unhurt

    def through(self, fault: Fault) -> tuple[bool, Done, Story]:
        """One run through this fault, and a look when the network is well again. Whether the fault was reached.

        A script that a busy machine kept from it, or from its end, is run again: what a fault does, it does again."""
        for _ in range(TRIES):
            with closing(self.relayed(fault)) as relay:
                done = self.run(relay)
                hit, arrived = relay.hit, done.arrived
                relay.fault = NOTHING
                relay.break_all()
                seen = self.look(done)
                relay.at_the_end()
                seen = self.look(done) if relay.late else seen
            if (hit or arrived) and done.cost < DELAYED:
                break
        return hit, done, seen

    def each_piece(self, kind: Fault, step: int) -> Iterator[tuple[Fault, Done, Story]]:
        """A run for every `step`-th piece that this fault may hit, until a run has fewer of them."""
        at, size = 1, 1
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while True:
                faults = [kind._replace(at=at + step * number) for number in range(size)]
                for fault, (hit, done, seen) in zip(faults, pool.map(self.through, faults)):
                    if not hit:
                        return
                    yield fault, done, seen
                at, size = at + step * size, AT_ONCE


def story(store: Backend, project: str) -> Story:
    runs = store.runs(RunQuery(project=project, limit=None))[::-1]
    names = {run.id: f"{run.name}{run.parameters.get('n', '')}" for run in runs}
    told = [(names[run.id], run.state, [kind(each) for each in store.events(run.id)]) for run in runs]
    lines = [
        (names[log.run_id], log.text)
        for run in runs
        if run.parent_id is None
        for log in store.logs(LogQuery(run.id))
    ]
    changes: Counter[tuple[str, str]] = Counter()
    after = 0
    while page := store.transitions(after):
        changes.update((names[each.run_id], each.to_state) for each in page if each.run_id in names)
        after = page[-1].seq
    assert set(changes.values()) <= {1}
    processes = [each for each in store.processes(open_only=False) if each.header.get("project") == project]
    assert [each.damaged for each in processes] == [0]
    return Story(sorted(told), lines, sorted(each for each in changes if each[1] != "RUNNING"))


def kind(event: dict[str, Any]) -> str:
    return " ".join(str(event[key]) for key in ("event", "attempt", "state") if key in event)


def check(done: Done, seen: Story, expected: Done, whole: Story) -> None:
    """The job is as it is without a fault, and the store has all of it once."""
    assert (done.code, done.out) == (expected.code, expected.out)
    # Another thread said it, maybe in the middle of a line.
    theirs, ours = re.subn("holter: .*\n", "", done.err)
    assert theirs == expected.err
    assert ours <= 1
    assert done.cost < DELAYED, f"it cost {done.cost:.2f} s"
    assert seen == whole
