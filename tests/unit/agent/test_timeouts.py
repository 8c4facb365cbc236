"""`timeout_seconds`: what runs too long is interrupted, the right run is blamed, and nobody else's alarm is touched."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holter import RunTimeout, flow, task
from holter.agent.timeouts import Deadline

pytestmark = pytest.mark.timeout(120, method="thread")  # the other method takes SIGALRM for itself
SHORT = 0.05


def spin(seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass


def in_thread(function: Callable[[], Any]) -> Any:
    """Call it in a thread; give back its result or raise its exception."""
    out: dict[str, Any] = {}

    def work() -> None:
        try:
            out["result"] = function()
        except BaseException as error:
            out["error"] = error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if "error" in out:
        raise out["error"]
    return out["result"]


@pytest.fixture(autouse=True)
def _the_alarm_is_given_back() -> Iterator[None]:
    yield
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("work", [lambda: time.sleep(20), spin], ids=["a blocking call", "a Python loop"])
@pytest.mark.parametrize("where", [lambda call: call(), in_thread], ids=["main thread", "another thread"])
def test_what_runs_too_long_is_interrupted(made: Any, work: Any, where: Any) -> None:
    if work is not spin and where is in_thread:
        work = lambda: [time.sleep(0.005) for _ in range(4000)]  # noqa: E731 - a thread is interrupted between two calls
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        where(flow(name="slow", timeout_seconds=SHORT)(work))
    assert isinstance(caught.value, RunTimeout)
    assert time.monotonic() - began < 5
    run = made.run
    assert (run.state, run.reason) == ("TIMED_OUT", f"ran longer than timeout_seconds={SHORT:g}")
    assert run.error["type"].endswith("RunTimeout")


def test_a_coroutine_is_interrupted_at_its_next_await(made: Any) -> None:
    @flow(timeout_seconds=SHORT)
    async def slow() -> None:
        await asyncio.sleep(20)

    with pytest.raises(RunTimeout):
        asyncio.run(slow())
    assert made.run.state == "TIMED_OUT"


def test_what_is_in_time_is_not_interrupted(made: Any) -> None:
    assert flow(name="quick", timeout_seconds=20)(lambda: 7)() == 7
    assert in_thread(task(name="quick task", timeout_seconds=20)(lambda: 8)) == 8
    assert made.states == {"quick": "COMPLETED", "quick task": "COMPLETED"}


@pytest.mark.parametrize("where", [lambda call: call(), in_thread], ids=["main thread", "another thread"])
def test_only_the_run_whose_time_was_up_is_timed_out(made: Any, record: Any, where: Any) -> None:
    @task(timeout_seconds=SHORT)
    def inner() -> None:
        spin()

    @flow(timeout_seconds=30)
    def outer() -> None:
        inner()

    with pytest.raises(RunTimeout):
        where(outer)
    assert made.states == {"outer": "FAILED", "inner": "TIMED_OUT"}

    later = record()

    @task(timeout_seconds=30)
    def patient() -> None:
        spin()

    @flow(timeout_seconds=SHORT)
    def strict() -> None:
        patient()

    with pytest.raises(RunTimeout):
        where(strict)
    assert later.states == {"strict": "TIMED_OUT", "patient": "FAILED"}


def test_nested_coroutines_blame_the_right_one(made: Any) -> None:
    @task(timeout_seconds=SHORT)
    async def inner() -> None:
        await asyncio.sleep(20)

    @flow(timeout_seconds=30)
    async def outer() -> None:
        await inner()

    with pytest.raises(RunTimeout):
        asyncio.run(outer())
    assert made.states == {"outer": "FAILED", "inner": "TIMED_OUT"}


@pytest.mark.parametrize("where", [lambda call: call(), in_thread], ids=["main thread", "another thread"])
def test_the_time_of_a_flow_ends_also_the_retries_of_its_tasks(made: Any, where: Any) -> None:
    calls = []

    @task(retries=50)
    def stubborn() -> None:
        calls.append(1)
        spin()

    @flow(timeout_seconds=SHORT)
    def strict() -> None:
        stubborn()

    with pytest.raises(RunTimeout):
        where(strict)
    assert (calls, made.named("strict").state) == ([1], "TIMED_OUT")


def test_a_timeout_is_one_more_reason_to_try_again(made: Any) -> None:
    calls = []

    @task(retries=2, timeout_seconds=SHORT)
    def slow_at_first() -> int:
        calls.append(1)
        if len(calls) < 3:
            spin()
        return len(calls)

    assert slow_at_first() == 3
    assert (made.run.state, made.run.attempt) == ("COMPLETED", 3)


@pytest.mark.parametrize("where", [lambda call: call(), in_thread], ids=["main thread", "another thread"])
def test_a_flow_that_calls_tasks_all_the_time_is_interrupted_wherever_the_alarm_meets_it(
    made: Any, where: Any
) -> None:
    """Most of this flow's time is spent in recording, and so that is where the alarm goes off."""

    @task
    def step(n: int) -> int:
        return n

    @flow(timeout_seconds=SHORT)
    def busy() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            step(1)

    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(RunTimeout):
            where(busy)
        assert time.monotonic() - began < 5
    states = [(run.name, run.state) for run in made.runs]
    assert states.count(("busy", "TIMED_OUT")) == 3
    assert {state for name, state in states if name == "step"} <= {"COMPLETED", "FAILED"}


def test_a_handler_of_the_users_keeps_its_alarm(made: Any) -> None:
    rung: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.03)
    try:
        with pytest.raises(RunTimeout):
            flow(name="slow", timeout_seconds=0.3)(spin)()
        assert rung == [signal.SIGALRM]
        assert made.run.state == "TIMED_OUT"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_an_alarm_that_the_user_sets_inside_a_flow_is_not_taken_away(made: Any) -> None:
    rung: list[int] = []

    @flow(timeout_seconds=30)
    def own_alarm() -> None:
        signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    own_alarm()
    deadline = time.monotonic() + 5
    while not rung and time.monotonic() < deadline:
        time.sleep(0.005)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert rung == [signal.SIGALRM]


def test_work_that_ends_just_in_time_in_a_thread_leaves_no_timeout_behind() -> None:
    """The timer fires while the block is being left: either the block raises, or nothing ever does."""
    strays = []

    def work() -> None:
        for n in range(300):
            try:
                try:
                    with Deadline(0.002):
                        spin(0.0015 + (n % 20) * 0.00005)
                except RunTimeout:
                    continue
                spin(0.001)
            except RunTimeout as error:
                strays.append(error)

    in_thread(work)
    assert strays == []


def test_work_that_ends_just_in_time_in_the_main_thread_leaves_no_timeout_behind() -> None:
    for n in range(300):
        try:
            with Deadline(0.002):
                spin(0.0015 + (n % 20) * 0.00005)
        except RunTimeout:
            continue
        spin(0.001)


def test_a_forked_child_is_not_ended_by_its_parents_deadline(python: Any) -> None:
    done = python("""
        import os, time
        from holter import flow, task, RunTimeout

        @task(timeout_seconds=20)
        def step():
            deadline = time.monotonic() + 0.6
            while time.monotonic() < deadline:
                pass

        @flow(timeout_seconds=0.3)
        def main():
            if os.fork() == 0:
                try:
                    step()
                    os._exit(0)
                except RunTimeout:
                    os._exit(9)
            time.sleep(20)

        try:
            main()
        except RunTimeout:
            print(os.waitstatus_to_exitcode(os.wait()[1]))
    """)
    assert done.stdout == "0\n", done.stderr
