"""Slots against SIGKILL: many real processes, killed while they hold, wait or are about to. No watchdog runs."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holter.agent.slot_files import folder_of, tickets
from holter.agent.slots import Slots, holders, waiters

LIMIT = "database"
SLOTS = 3
PROCESSES = 16
KILLS = 200


def wait(slots: Slots) -> Slots:
    for pause in slots.collect():
        time.sleep(pause)
    return slots


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)


class Audit:
    """What the contenders wrote, and the killer: `<ns> x <pid>` before each signal.

    `inside` are the slots of each process that is in, `most` how many slots were in use at most, `twice` which slot two
    held at once, `entries` how often somebody came in. `killed` has for each process that died inside the seconds until
    one of its slots was taken again (None: not yet).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self.rest = b""
        self.inside: dict[int, set[int]] = {}
        self.killed: dict[int, float | None] = {}
        self.freed: dict[int, tuple[int, set[int]]] = {}
        self.doomed: set[int] = set()
        self.most = self.entries = 0
        self.twice: list[str] = []
        self.offset = 0

    def kill(self, pid: int) -> None:
        os.write(self.fd, f"{time.monotonic_ns()} x {pid}\n".encode())
        os.kill(pid, signal.SIGKILL)

    def read(self) -> Audit:
        data = os.pread(self.fd, 1 << 24, self.offset)
        end = data.rfind(b"\n") + 1
        self.offset += end
        for line in data[:end].decode().splitlines():
            at, what, pid, *numbers = line.split()
            self.note(
                int(at), what, int(pid), {int(number) for each in numbers for number in each.split(",")}
            )
        return self

    def note(self, at: int, what: str, pid: int, numbers: set[int]) -> None:
        if pid in self.doomed:  # between the note and the signal it went on; so it may not have died inside
            self.killed.pop(pid, None)
            self.freed.pop(pid, None)
        elif what == "+":
            self.enter(at, pid, numbers)
        else:
            left = self.inside.pop(pid, None)
            if what == "x":
                self.doomed.add(pid)
                if left:
                    self.killed[pid], self.freed[pid] = None, (at, left)

    def enter(self, at: int, pid: int, numbers: set[int]) -> None:
        self.entries += 1
        self.twice += [f"slot {n} at {at}" for held in self.inside.values() for n in held & numbers]
        self.inside[pid] = numbers
        self.most = max(self.most, sum(map(len, self.inside.values())))
        for dead, (since, slots) in list(self.freed.items()):
            if slots & numbers:
                self.killed[dead] = (at - since) / 1e9
                del self.freed[dead]


class Nursery:
    """Starts contenders; `alive` are those that were not killed."""

    def __init__(self, home: Path, audit: Audit) -> None:
        self.audit = audit
        script = Path(__file__).with_name("contender.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(home), str(audit.path), str(SLOTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.alive: list[int] = []

    def start(self, occupy: int = 0, rounds: int = 0) -> int:
        assert self.process.stdin
        assert self.process.stdout
        print(occupy, rounds, file=self.process.stdin, flush=True)
        pid = int(self.process.stdout.readline())
        self.alive.append(pid)
        return pid

    def kill(self, pid: int) -> None:
        self.alive.remove(pid)
        self.audit.kill(pid)

    def close(self) -> None:
        for pid in list(self.alive):
            self.kill(pid)
        self.process.communicate(timeout=10)


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    found = Nursery(tmp_path / "home", Audit(tmp_path / "audit"))
    yield found
    found.close()


def test_a_limit_of_three_holds_while_sixteen_processes_contend_and_random_holders_are_killed(
    nursery: Nursery, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    audit, chance = nursery.audit, random.Random(7)
    for _ in range(PROCESSES):
        nursery.start()
    until(lambda: audit.read().entries > PROCESSES)
    end = time.monotonic() + 50
    while len(audit.killed) < KILLS and time.monotonic() < end:
        time.sleep(chance.uniform(0, 0.02))
        audit.read()
        inside = list(audit.inside)
        nursery.kill(chance.choice(inside if inside and chance.random() < 0.8 else nursery.alive))
        nursery.start()
    until(lambda: None not in audit.read().killed.values(), 5)  # nobody left a slot that nobody gets
    nursery.close()

    latencies = sorted(seconds for seconds in audit.killed.values() if seconds is not None)
    figures = f"{len(audit.doomed)} kills, {len(latencies)} of holders, {audit.entries} entries, "
    figures += f"next in after {statistics.median(latencies) * 1e3:.1f} ms (median), {latencies[-1] * 1e3:.1f} ms (max)"
    record_property("figures", figures)
    print(figures)
    assert len(audit.killed) >= KILLS
    assert audit.most == SLOTS
    assert audit.twice == []
    assert latencies[-1] < 1
    home = str(tmp_path / "home")
    until(lambda: waiters(home, LIMIT) == [], 5)  # a signal that was sent has still to arrive
    until(lambda: [place.held for place in holders(home, LIMIT)] == [False] * SLOTS, 5)
    whole = wait(Slots(home, LIMIT, SLOTS, occupy=SLOTS, timeout=1))
    assert tickets(folder_of(home, LIMIT)) == []
    whole.release()


def test_two_of_three_slots_from_both_sides_do_not_deadlock(nursery: Nursery) -> None:
    for _ in range(2):
        nursery.start(occupy=2, rounds=50)
    until(lambda: nursery.audit.read().entries == 100, 20)
    nursery.alive.clear()  # they have ended by themselves
    assert nursery.audit.most == 2
    assert nursery.audit.twice == []


HOLDER = """
import multiprocessing, os, subprocess, sys, time
from holter import concurrency, configure
configure(home=sys.argv[1])
def rest(*_):
    time.sleep(60)
with concurrency("database"):
    match sys.argv[2]:
        case "fork":
            child = os.fork()
            if child == 0:
                rest()
        case "multiprocessing":
            process = multiprocessing.get_context("fork").Process(target=rest)
            process.start()
            child = process.pid
        case "pool":
            pool = multiprocessing.get_context("fork").Pool(1)
            child = pool._pool[0].pid
        case "subprocess":
            child = subprocess.Popen(["sleep", "60"], close_fds=False).pid
    print(child, flush=True)
    rest()
"""


@pytest.mark.parametrize("kind", ["fork", "multiprocessing", "pool", "subprocess"])
def test_a_slot_is_free_after_its_holder_was_killed_though_a_child_of_it_lives(
    kind: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), kind]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    child = int(holder.stdout.readline())
    try:
        assert holders(str(tmp_path), LIMIT)[0].pid == holder.pid
        holder.kill()
        holder.wait()
        mine = wait(Slots(str(tmp_path), LIMIT, timeout=1))
        os.kill(child, 0)  # raises if it did not live
        assert mine.waited < 1
        mine.release()
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_a_forked_child_that_leaves_the_block_takes_nothing_from_its_parent(tmp_path: Path) -> None:
    script = """
import os, sys
from holter import concurrency, configure
configure(home=sys.argv[1])
with concurrency("database"):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        print("child gone", flush=True)
        sys.stdin.readline()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    assert holder.stdout.readline() == "child gone\n"
    assert [place.held for place in holders(str(tmp_path), LIMIT)] == [True]
    holder.communicate("\n", timeout=10)
    assert holder.returncode == 0
    assert [place.held for place in holders(str(tmp_path), LIMIT)] == [False]
