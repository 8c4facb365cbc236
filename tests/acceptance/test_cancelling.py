"""`holter cancel`: the run is over, and so is all that it started; nobody is cancelling for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holter.agent import identity
from holter.agent.watchdog.cancelling import DEADLINE, KEPT, Canceller, ask, asked, begin
from holter.agent.watchdog.judgements import Judge
from holter.agent.watchdog.takedown import take_down
from holter.backends.base import Backend
from holter.backends.clock import Clock
from holter.backends.errors import StorageError
from holter.backends.lines import encode
from tests.acceptance.conftest import Host

Hosts = Callable[..., Host]
FAMILY = """
    import os, subprocess, sys, time
    from holter import flow, task
    @task
    def inside():
        child = subprocess.Popen(["sleep", "99"], start_new_session=True, stdout=-3, stderr=-3)
        print(os.getpid(), child.pid, flush=True)
        while not os.path.exists("stop"): time.sleep(0.02)
        child.kill()
    @flow(name="parent")
    def parent(): inside()
    parent()
"""


def gone(*pids: int) -> bool:
    return not any(identity.start_ticks(pid) for pid in pids)


def states_ever(host: Host) -> set[str | None]:
    return {row.to_state for row in host.store.transitions(0)}


def test_a_cancelled_run_ends_with_its_children_and_is_cancelled_not_crashed(host: Host, until: Any) -> None:
    process = host.start(host.script(FAMILY))
    pids = list(map(int, process.stdout.readline().split()))
    until(lambda: len(host.runs()) == 2, "the runs")
    done = host.holter("cancel", "last", "--reason", "wrong day")
    assert (done.code, done.err) == (0, "")
    assert process.wait(20) == -signal.SIGTERM
    until(lambda: gone(*pids), "the end of the child that had left its session")
    assert host.states() == {"parent": "CANCELLED", "inside": "CANCELLED"}
    assert host.one("parent").reason == f"cancelled by {identity.me()['user']}: wrong day"
    assert "CRASHED" not in states_ever(host)
    again = host.holter("cancel", "last:parent")
    assert (again.code, "ended already: CANCELLED" in again.out) == (0, True)


def test_a_cancelled_command_ends_with_its_grandchildren(host: Host, until: Any) -> None:
    script = "(sleep 99 & echo $!; wait) & wait"
    process = host.spawn(
        [*host_command(), "run", "--name", "sync", "--retries", "3", "--", "sh", "-c", script]
    )
    child = int(process.stdout.readline())
    until(lambda: host.runs(), "the run")
    assert host.holter("cancel", "last:sync").code == 0
    assert process.wait(20) == 143
    assert gone(child)
    assert (host.one("sync").state, host.one("sync").attempt) == ("CANCELLED", 1)


def host_command() -> list[str]:
    return [sys.executable, "-m", "holter"]


def test_what_is_part_of_another_run_is_not_ended_alone(host: Host, until: Any) -> None:
    process = host.start(host.script(FAMILY))
    process.stdout.readline()
    until(lambda: len(host.runs()) == 2, "the runs")
    done = host.holter("cancel", host.one("inside").id)
    assert done.code == 1 and f"holter cancel {host.one('parent').id}" in done.err
    (host.folder / "stop").touch()
    assert process.wait(20) == 0
    assert host.states() == {"parent": "COMPLETED", "inside": "COMPLETED"}


def test_a_run_that_completes_after_all_keeps_its_word(host: Host, until: Any) -> None:
    process = host.start(
        host.script("""
        import signal, time
        from holter import flow
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
        @flow(name="tidy")
        def tidy():
            print("ready", flush=True)
            while not asked: time.sleep(0.02)
        tidy()
    """)
    )
    assert process.stdout.readline() == "ready\n"
    until(lambda: host.runs(), "the run")
    done = host.holter("cancel", "last")
    assert (done.code, process.wait(20)) == (0, 0)
    assert "is COMPLETED by itself" in done.out
    assert host.one("tidy").state == "COMPLETED"


def test_the_run_of_another_host_is_ended_by_its_own_watchdog(
    new_host: Hosts, tmp_path: Path, until: Any
) -> None:
    store = f"sqlite:///{tmp_path}/shared.db"
    far, near = new_host(store), new_host(store)
    far.env["HOLTER_TEST_HOST"] = "far-1"
    process = far.start(far.script(FAMILY))
    pids = list(map(int, process.stdout.readline().split()))
    until(lambda: len(far.runs()) == 2, "the runs")
    before = near.holter("cancel", "last:parent", "--wait", "100ms")
    assert before.code == 1 and "the watchdog of far-1 has not answered yet" in before.err
    with far.watching():
        done = near.holter("cancel", "last:parent")
        assert (done.code, done.err) == (0, "")
        assert process.wait(20) == -signal.SIGTERM
        until(lambda: gone(*pids), "the end of its child")
    run = next(each for each in near.seen() if each.name == "parent")
    assert run.state == "CANCELLED" and run.reason.endswith(f"@{identity.host()}")


# --- who is hit, and when: a clock that the test turns ----------------------------------------------------------


class Turned(Clock):
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def deaf() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that heeds no SIGTERM, with a child of a group of its own that does not either."""
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    text = f"""if True:
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        each = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=-1, start_new_session=True)
        each.stdout.readline()
        print(each.pid, flush=True)
        time.sleep(600)
    """
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    yield process, pid
    for each in (process.pid, pid):
        if not gone(each):
            os.kill(each, signal.SIGKILL)
    process.communicate()


def header_of(pid: int) -> dict[str, Any]:
    return {**identity.me(), "pid": pid, "start_ticks": identity.start_ticks(pid)}


def test_who_heeds_no_sigterm_is_killed_with_its_family_after_the_grace(deaf: Any, until: Any) -> None:
    process, child = deaf
    clock = Turned()
    taken = take_down(header_of(process.pid), clock)
    taken.begin()
    clock.sleep(4.9)
    assert not taken.look() and not gone(process.pid)
    clock.sleep(0.2)
    assert taken.look() and taken.killed
    assert process.wait(20) == -signal.SIGKILL
    until(lambda: gone(child), "the child's end")


class Unwritable:
    """A store that can be read; what is appended meets a server that is gone."""

    def __init__(self, store: Backend) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def append(self, journal: str, offset: int, data: bytes) -> int:
        raise StorageError("the store is away")


def test_who_was_asked_to_end_is_seen_to_its_end_while_the_store_takes_nothing(
    deaf: Any, host: Host, until: Any
) -> None:
    process, child = deaf
    header = encode({"event": "process", **header_of(process.pid), "store": host.store.url})
    start = encode({"event": "start", "run": "r", "kind": "flow", "name": "deaf", "at": 1.0})
    host.store.append("j", 0, header + start)
    run = host.store.run("r")
    away, clock = Unwritable(host.store), Turned()
    judge = Judge(str(host.home), "default", away)
    taken = begin(away, lambda: judge, run, "cancelled", clock=clock)
    assert taken is not None
    clock.sleep(5.1)
    assert taken.look() and process.wait(20) == -signal.SIGKILL
    until(lambda: gone(child), "the child's end")


@pytest.mark.parametrize(
    "lie",
    [{"start_ticks": 1}, {"boot": "another"}, {"namespace": 1}, {"pid": os.getpid()}],
    ids=lambda lie: next(iter(lie)),
)
def test_a_number_that_passed_to_a_stranger_is_never_hit(deaf: Any, lie: dict[str, Any]) -> None:
    process, _ = deaf
    assert take_down({**header_of(process.pid), **lie}) is None
    assert process.poll() is None


def test_a_request_that_nobody_can_carry_out_is_answered_at_its_deadline(host: Host, until: Any) -> None:
    host.env["HOLTER_TEST_HOST"] = "far-1"
    process = host.start(host.script(FAMILY))
    pids = process.stdout.readline().split()
    until(lambda: len(host.seen()) == 2, "the runs")
    clock = Turned()
    (run,) = [each for each in host.seen() if each.name == "parent"]
    ask(host.store, run, "ann@near", "", clock.wall())
    canceller = Canceller(clock)

    def judge() -> Judge:
        raise AssertionError("nothing is to be judged")

    assert canceller.look(host.store, judge) == []
    clock.sleep(DEADLINE + 1)
    (line,) = canceller.look(host.store, judge)
    assert "nobody could end it within 300 s: no watchdog of far-1 took it up" in line
    assert asked(host.store, run.id).answer in line
    assert canceller.look(host.store, judge) == []
    clock.sleep(KEPT)
    canceller.look(host.store, judge)
    assert asked(host.store, run.id) is None
    process.kill()
    os.kill(int(pids[1]), signal.SIGKILL)
