"""Timeouts: interrupted inside the process where that can be, ended from outside where not, TIMED_OUT either way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import permutations, product
from textwrap import dedent
from typing import Any, NamedTuple

import pytest
from attrs import evolve

from holter import flow, task
from holter.agent import identity
from holter.agent.watchdog.adopt import Live
from holter.agent.watchdog.bounds import GRACE, Expected
from holter.agent.watchdog.enforce import TERM_GRACE, Enforcer
from holter.agent.watchdog.judgements import Judge
from holter.backends.base import Backend
from holter.backends.clock import Clock
from holter.backends.fold import apply, settle
from holter.backends.lines import encode
from holter.backends.records import Run
from holter.backends.urls import open_backend

# --- inside the process --------------------------------------------------------------------------------------

WORKS = {
    "a blocking call": "time.sleep(20)",
    "a Python loop": "while True: pass",
    "short blocking calls": "for _ in range(4000): time.sleep(0.005)",
    "C code that holds the GIL and comes back": "ctypes.PyDLL(None).usleep(600_000)",
    "C code that lets the GIL go and comes back": "ctypes.CDLL(None).usleep(600_000)",
}
PLACES = {
    "the main thread": "slow()",
    "a worker thread": "ThreadPoolExecutor(1).submit(slow).result()",
    "a task of a flow": "flow(task(timeout_seconds=0.2, name='slow')(slow.fn))()",
}
FROM_OUTSIDE = {
    ("a blocking call", "a worker thread")
}  # Python has no means: see `test_what_cannot_be_interrupted...`


@pytest.mark.parametrize(
    ("work", "place"), [pair for pair in product(WORKS, PLACES) if pair not in FROM_OUTSIDE]
)
def test_what_runs_too_long_is_interrupted_inside_its_process(home: Any, work: str, place: str) -> None:
    done = home.run(f"""
        import ctypes
        from concurrent.futures import ThreadPoolExecutor

        @flow(timeout_seconds=0.2)
        def slow():
            {WORKS[work]}

        began = time.monotonic()
        try:
            {PLACES[place]}
        except TimeoutError as error:
            print(type(error).__name__, error, time.monotonic() - began < 3)
    """)
    assert (done.code, done.out) == (0, "RunTimeout ran longer than timeout_seconds=0.2 True\n"), done.err
    run = home.runs["slow"]
    assert (run.state, run.reason) == ("TIMED_OUT", "ran longer than timeout_seconds=0.2")
    assert run.error["type"].endswith("RunTimeout")
    assert 0.2 <= run.duration_seconds < 3


COROUTINES = {
    "an await": "await asyncio.sleep(20)",
    "a task that it waits for": "await asyncio.create_task(asyncio.sleep(20))",
    "a group": "async with asyncio.TaskGroup() as group: group.create_task(asyncio.sleep(20))",
    "a loop of awaits": "while True: await asyncio.sleep(0)",
    "a thread that it waits for": "await asyncio.to_thread(time.sleep, 0.5)",
    "a call that blocks the loop and comes back": "time.sleep(0.5)",
    "C code that holds the GIL and comes back": "ctypes.PyDLL(None).usleep(500_000)",
}


@pytest.mark.parametrize("work", COROUTINES)
def test_a_coroutine_is_interrupted_at_its_next_await(home: Any, work: str) -> None:
    done = home.run(f"""
        import asyncio, ctypes

        @flow(timeout_seconds=0.2)
        async def slow():
            {COROUTINES[work]}

        async def main():
            try:
                await slow()
            except TimeoutError as error:
                print(type(error).__name__, error)
            print(asyncio.current_task().cancelling())

        asyncio.run(main())
    """)
    assert (done.code, done.out) == (0, "RunTimeout ran longer than timeout_seconds=0.2\n0\n"), done.err
    assert home.runs["slow"].state == "TIMED_OUT"


@pytest.mark.parametrize("decorator", [flow, task])
def test_a_limit_that_cannot_work_is_refused_at_decoration(decorator: Any) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def numbers_later() -> Any:
        yield 1

    for generator in (numbers, numbers_later):
        with pytest.raises(ValueError, match="generator"):
            decorator(timeout_seconds=1)(generator)
    for seconds in (0, -1, float("nan"), float("inf"), 1e12, "5", [5]):  # no timer takes the large ones
        with pytest.raises(ValueError, match="positive number of seconds"):
            decorator(timeout_seconds=seconds)(lambda: None)


# --- from outside --------------------------------------------------------------------------------------------


class Stuck(NamedTuple):
    """A script that cannot interrupt itself, and what it leaves: its wait status, and the states of its runs."""

    text: str
    code: int
    states: dict[str, str]


STUCK = {
    "C code that holds the GIL": Stuck(
        """
        @flow(timeout_seconds=0.5)
        def holds(): hold_the_gil()
        holds()
        """,
        -signal.SIGKILL,
        {"holds": "TIMED_OUT"},
    ),
    "C code that holds the GIL, in a worker thread": Stuck(
        """
        @flow(timeout_seconds=0.5)
        def holds(): hold_the_gil()
        ThreadPoolExecutor(1).submit(holds).result()
        """,
        -signal.SIGTERM,  # no handler is installed outside the main thread
        {"holds": "TIMED_OUT"},
    ),
    "a blocking call in a worker thread": Stuck(
        """
        @flow(timeout_seconds=0.5)
        def blocks(): time.sleep(600)
        ThreadPoolExecutor(1).submit(blocks).result()
        """,
        -signal.SIGTERM,
        {"blocks": "TIMED_OUT"},
    ),
    "a coroutine that blocks its loop": Stuck(
        """
        import asyncio
        @flow(timeout_seconds=0.5)
        async def blocks(): time.sleep(600)
        asyncio.run(blocks())
        """,
        -signal.SIGTERM,
        {"blocks": "TIMED_OUT"},
    ),
    "a task inside a flow without limit": Stuck(
        """
        @task(timeout_seconds=0.5)
        def step(): hold_the_gil()
        @flow
        def outer(): step()
        outer()
        """,
        -signal.SIGKILL,
        {"step": "TIMED_OUT", "outer": "CRASHED"},
    ),
    "the second attempt": Stuck(
        """
        attempts = []
        @flow(timeout_seconds=0.5, retries=1)
        def again():
            attempts.append(1)
            if len(attempts) == 1: raise OSError("first")
            hold_the_gil()
        again()
        """,
        -signal.SIGKILL,
        {"again": "TIMED_OUT"},
    ),
    "a SIGTERM handler of the user's that exits": Stuck(
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        @flow(timeout_seconds=0.5)
        def blocks(): time.sleep(600)
        @flow
        def exits():
            ThreadPoolExecutor(1).submit(blocks)
            while True: time.sleep(0.05)
        try:
            exits()
        finally:
            os._exit(7)
        """,
        7,
        {"blocks": "TIMED_OUT", "exits": "FAILED"},
    ),
    "a process that ignores SIGTERM": Stuck(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        @flow(timeout_seconds=0.5)
        def deaf(): time.sleep(600)
        ThreadPoolExecutor(1).submit(deaf).result()
        """,
        -signal.SIGKILL,
        {"deaf": "TIMED_OUT"},
    ),
    "a leader of a group": Stuck(
        """
        os.setpgid(0, 0)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        open("child", "w").write(str(child))
        @flow(timeout_seconds=0.5)
        def leads(): time.sleep(600)
        ThreadPoolExecutor(1).submit(leads).result()
        """,
        -signal.SIGTERM,
        {"leads": "TIMED_OUT"},
    ),
}
SPARED = {
    "one without a limit": """
        @flow
        def unlimited(): hold_the_gil()
        unlimited()
    """,
    "one that is still in time": """
        @flow(timeout_seconds=600)
        def patient(): hold_the_gil()
        patient()
    """,
}
TOOLS = """
import ctypes, signal
from concurrent.futures import ThreadPoolExecutor

def hold_the_gil():
    mutex = ctypes.create_string_buffer(64)
    while True:  # the second turn waits for ever: no signal interrupts it, no other thread gets a turn
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)
"""


class Left(NamedTuple):
    """What a script left: its wait status (None: it lives) and its runs by name."""

    code: int | None
    runs: dict[str, Run]


@pytest.fixture(scope="module")
def left(shared: Any, until: Any) -> dict[str, Left]:
    """Every script side by side under one watchdog: the whole table in the time of its slowest row."""
    texts = {name: stuck.text for name, stuck in STUCK.items()} | SPARED
    jobs = {}
    for number, (name, text) in enumerate(texts.items()):
        jobs[name] = shared.start([sys.executable, shared.script(TOOLS + dedent(text), f"job{number}.py")])
    with shared.watching():
        until(lambda: all(jobs[name].poll() is not None for name in STUCK), "the ends of what is stuck")
    codes = {job.pid: job.poll() for job in jobs.values()}
    runs = shared.every_run
    return {
        name: Left(codes[job.pid], {run.name: run for run in runs if run.pid == job.pid})
        for name, job in jobs.items()
    }


@pytest.mark.long
@pytest.mark.parametrize("name", STUCK)
def test_what_cannot_be_interrupted_from_inside_is_ended_from_outside(
    left: dict[str, Left], name: str
) -> None:
    code, runs = left[name]
    assert code == STUCK[name].code
    assert {run.name: run.state for run in runs.values()} == STUCK[name].states
    (late,) = [run for run in runs.values() if run.state == "TIMED_OUT"]
    assert late.reason == "ran longer than timeout_seconds=0.5 and could only be ended from outside"
    assert late.ended_at - late.attempts[-1]["started_at"] == pytest.approx(0.5 + GRACE, abs=3)


@pytest.mark.parametrize("name", SPARED)
def test_what_has_no_limit_or_is_in_time_is_not_touched(left: dict[str, Left], name: str) -> None:
    code, runs = left[name]
    assert code is None
    assert [run.state for run in runs.values()] == ["RUNNING"]


def test_the_children_in_the_group_of_a_late_leader_are_ended_with_it(
    left: dict[str, Left], shared: Any
) -> None:
    child = int((shared.folder / "child").read_text())
    assert left["a leader of a group"].code == -signal.SIGTERM
    assert identity.start_ticks(child) == 0


# --- from outside, by itself: real processes, and a clock that the test turns ------------------------------------


class Turned(Clock):
    """A clock that stands still until it is turned; a host that sleeps turns only the hand on the wall."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.awake = 0.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.awake

    def run(self, seconds: float) -> None:
        self.now += seconds
        self.awake += seconds

    def sleep(self, seconds: float) -> None:
        self.run(seconds)


class Scene:
    """A watchdog's enforcer, and one run with a limit of 60 s that started just now in a real process."""

    def __init__(
        self,
        home: Any,
        victim: subprocess.Popen[str],
        once: bool = False,
        check: dict[str, Any] | None = None,
        **lies: Any,
    ) -> None:
        self.clock = Turned()
        self.store: Backend = open_backend(f"memory:{home.path}", "", clock=self.clock)
        self.judge = Judge(str(home.path), "default", self.store, self.clock)
        self.enforcer = Enforcer(self.clock, once)
        header = {**identity.me(), "pid": victim.pid, "start_ticks": identity.start_ticks(victim.pid), **lies}
        start = {
            "event": "start",
            "run": "r",
            "kind": "flow",
            "name": "f",
            "at": self.clock.wall(),
            "check": check or {"timeout_seconds": 60},
        }
        self.tell({"event": "process", **header}, start)
        self.live = [Live("journal", "", header, 0, 0)]
        self.here: dict[str, str] = {}

    def tell(self, *events: dict[str, Any]) -> None:
        """The process says something."""
        (offset,) = [
            process.offset for process in self.store.processes() if process.journal == "journal"
        ] or [0]
        self.store.append("journal", offset, b"".join(map(encode, events)))

    def look(self) -> str:
        """One pass; the run's state after it."""
        self.enforcer.enforce(self.judge, self.live, Expected(self.store, {}), self.here)
        return self.state

    @property
    def state(self) -> str:
        run = self.store.run("r")
        assert run is not None
        return run.state

    def close(self) -> None:
        self.enforcer.close(self.store)
        self.judge.close()


@pytest.fixture
def victim(home: Any) -> Any:
    """A process that heeds SIGTERM only by writing it down."""
    script = home.script("""
        import signal
        signal.signal(signal.SIGTERM, lambda *_: print("TERM", flush=True))
        print("ready", flush=True)
        while True: time.sleep(600)
    """)
    process = home.start([sys.executable, script])
    assert process.stdout.readline() == "ready\n"
    return process


def test_sigterm_comes_after_the_grace_and_sigkill_after_five_more_seconds(home: Any, victim: Any) -> None:
    scene = Scene(home, victim)
    assert scene.look() == "RUNNING"
    scene.clock.run(60 + GRACE)
    assert scene.look() == "RUNNING"
    scene.clock.run(0.1)
    assert scene.look() == "TIMED_OUT"
    assert victim.stdout.readline() == "TERM\n"
    scene.clock.run(TERM_GRACE - 0.1)
    scene.look()
    assert victim.poll() is None
    scene.clock.run(0.1)
    scene.look()
    assert victim.wait(20) == -signal.SIGKILL
    scene.close()


def test_a_run_that_ends_after_sigterm_spares_its_process_the_sigkill(home: Any, victim: Any) -> None:
    scene = Scene(home, victim)
    scene.look()
    scene.clock.run(60 + GRACE + 1)
    scene.look()
    scene.clock.run(1)
    scene.tell({"event": "end", "run": "r", "at": scene.clock.wall(), "state": "CANCELLED"})
    scene.clock.run(TERM_GRACE)
    assert scene.look() == "TIMED_OUT"
    assert victim.poll() is None
    scene.close()


OVERDUE = {"max_duration": 60.0, "on_overdue": "kill"}


def test_a_run_that_is_to_be_killed_when_it_is_overdue_is_ended_whatever_its_attempt(
    home: Any, victim: Any
) -> None:
    scene = Scene(home, victim, check=OVERDUE)
    scene.look()
    scene.clock.run(40)
    scene.tell({"event": "retry", "run": "r", "at": scene.clock.wall(), "attempt": 1, "delay": 9000})
    scene.clock.run(20 + GRACE)
    assert scene.look() == "RETRYING"
    scene.clock.run(0.1)
    assert scene.look() == "TIMED_OUT"
    run = scene.store.run("r")
    assert run is not None and run.reason == "ran longer than max_duration 1m: ended by the watchdog"
    scene.clock.run(TERM_GRACE)
    scene.look()
    assert victim.wait(20) == -signal.SIGKILL
    scene.close()


def test_a_process_that_went_on_in_a_new_journal_is_held_to_its_limit(home: Any, victim: Any) -> None:
    scene = Scene(home, victim, check=OVERDUE)
    scene.live = [evolve(scene.live[0], journal="newer")]
    scene.look()
    scene.clock.run(60 + GRACE + 1)
    assert scene.look() == "RUNNING"  # whose journal is that?
    scene.here = {"journal": "newer"}
    scene.look()
    scene.clock.run(GRACE + 1)
    assert scene.look() == "TIMED_OUT"
    scene.close()


def test_one_pass_from_cron_goes_by_the_wall_clock_and_stays_until_it_is_done(home: Any, victim: Any) -> None:
    scene = Scene(home, victim, once=True)
    slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    scene.clock.run(60 + GRACE + 1 + slept)
    assert scene.look() == "TIMED_OUT"
    scene.close()
    assert victim.wait(20) == -signal.SIGKILL


def _asleep(scene: Scene) -> None:
    scene.look()
    scene.clock.now += 3600


def _new_watchdog(scene: Scene) -> None:
    scene.clock.run(3600)


def _new_attempt(scene: Scene) -> None:
    scene.look()
    scene.clock.run(59)
    scene.look()
    scene.clock.run(1)
    scene.tell({"event": "retry", "run": "r", "at": scene.clock.wall(), "attempt": 1, "delay": 0})
    scene.tell({"event": "attempt", "run": "r", "at": scene.clock.wall(), "attempt": 2})
    scene.look()
    scene.clock.run(59)


def _waiting(scene: Scene) -> None:
    scene.tell({"event": "retry", "run": "r", "at": scene.clock.wall(), "attempt": 1, "delay": 9000})
    scene.look()
    scene.clock.run(3600)


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(_asleep, id="on a host that slept for an hour"),
        pytest.param(_new_watchdog, id="that a new watchdog sees for the first time"),
        pytest.param(_new_attempt, id="in its second attempt"),
        pytest.param(_waiting, id="that waits for its next attempt"),
    ],
)
def test_a_healthy_run_is_not_touched(home: Any, victim: Any, what: Any) -> None:
    scene = Scene(home, victim)
    what(scene)
    assert scene.look() in ("RUNNING", "RETRYING")
    assert victim.poll() is None
    scene.close()


@pytest.mark.parametrize("on_overdue", [None, "alert"])
def test_an_overdue_run_that_need_not_be_killed_is_not_touched(
    home: Any, victim: Any, on_overdue: str | None
) -> None:
    scene = Scene(home, victim, check={"max_duration": 60.0, "on_overdue": on_overdue})
    scene.look()
    scene.clock.run(3600)
    assert scene.look() == "RUNNING"
    assert victim.poll() is None
    scene.close()


def test_a_host_that_slept_kills_no_run_for_being_overdue(home: Any, victim: Any) -> None:
    scene = Scene(home, victim, check=OVERDUE)
    _asleep(scene)
    assert scene.look() == "RUNNING"
    assert victim.poll() is None
    scene.close()


STRANGERS = {
    "another process that has the number now": {"start_ticks": 1},
    "a process of another boot": {"boot": "00000000-0000-0000-0000-000000000000"},
    "a process of another container": {"namespace": 1},
    "a process that is gone": {"pid": 2**22 + 1},
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_is_neither_judged_nor_signalled(home: Any, victim: Any, stranger: str) -> None:
    scene = Scene(home, victim, **STRANGERS[stranger])
    scene.look()
    scene.clock.run(3600)
    assert scene.look() == "RUNNING"
    assert victim.poll() is None
    scene.close()


# --- what it is called in the end --------------------------------------------------------------------------------

LATE = {"event": "judge", "run": "r", "at": 70.0, "state": "TIMED_OUT", "by": "proof", "reason": "too long"}
GONE = {"event": "judge", "run": "r", "at": 65.0, "state": "CRASHED", "by": "proof", "reason": "gone"}
MARK = {"event": "judge", "run": "r", "at": 99.0, "state": "FAILED", "by": "mark", "reason": "by hand"}
START = {"event": "start", "run": "r", "kind": "flow", "name": "f", "at": 1.0}
ECHOES = {
    "nothing more": ([], "TIMED_OUT"),
    "the adoption of its journal": ([GONE], "TIMED_OUT"),
    "its death by SIGTERM": ([("CRASHED", 71.0)], "TIMED_OUT"),
    "an exit by its own handler": ([("FAILED", 71.0), GONE], "TIMED_OUT"),
    "a cancellation": ([("CANCELLED", 71.0)], "TIMED_OUT"),
    "its own time-out": ([("TIMED_OUT", 71.0)], "TIMED_OUT"),
    "that it completed after all": ([("COMPLETED", 71.0)], "COMPLETED"),
    "that it had failed before": ([("FAILED", 69.0)], "FAILED"),
    "a mark by a person": ([MARK], "FAILED"),
}


@pytest.mark.parametrize("told", ECHOES)
def test_an_end_from_outside_is_a_time_out_whatever_order_the_witnesses_come_in(told: str) -> None:
    said, state = ECHOES[told]
    events = [LATE, START]
    for each in said:
        events.append(
            each if isinstance(each, dict) else {"event": "end", "run": "r", "state": each[0], "at": each[1]}
        )
    for order in permutations(events):
        doc: dict[str, Any] = {"id": "r", "root_id": "r"}
        for event in order:
            apply(doc, event, "journal")
        settle(doc)
        assert doc["state"] == state, order
