"""`kill -9`, and who notices: the watchdog and the webhook within a second, else the next command.

Never a healthy run."""

from __future__ import annotations

import os
import signal
import statistics
import time
from typing import Any

import pytest

VICTIM = """
    import os, time
    from holter import flow, task

    @task
    def crunch(n):
        print(os.getpid(), flush=True)
        time.sleep(60)

    @flow(name="nightly")
    def main():
        crunch(1)

    main()
"""


def killed_inside(host: Any, script: Any, age: float = 0.0) -> tuple[int, float]:
    """Start it, kill it inside its task at the age of so many seconds; its pid and when that was."""
    process = host.start(script)
    pid = int(process.stdout.readline())
    time.sleep(age)
    os.kill(pid, signal.SIGKILL)
    at = time.time()
    assert process.wait(20) == -signal.SIGKILL
    return pid, at


def test_without_a_watchdog_the_next_command_shows_the_crash(host: Any) -> None:
    pid, at = killed_inside(host, host.script(VICTIM))
    (top,) = host.json("runs")
    assert (top["state"], top["signal"]) == ("CRASHED", None)
    assert str(pid) in top["reason"]
    assert {run.name: run.state for run in host.seen()} == {"nightly": "CRASHED", "crunch": "CRASHED"}
    assert abs(host.one("nightly").ended_at - at) < 5
    assert host.journals() == []


@pytest.mark.parametrize("age", [0.0, 1.2], ids=["as soon as it runs", "older than a pass of the watchdog"])
@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.long)])
def test_with_a_watchdog_the_alert_is_out_within_a_second(
    host: Any, hook: Any, until: Any, figures: Any, times: int, age: float
) -> None:
    host.settings(f"""
        channels: {{hook: {{webhook: "{hook.url}"}}}}
        alerts: [{{on: [crashed], to: [hook]}}]
        watchdog: {{digest: 0}}
    """)
    script = host.script(VICTIM)
    waits = []
    with host.watching():
        for number in range(times):
            _, at = killed_inside(host, script, age)
            until(lambda expected=number + 1: len(hook.taken) >= expected, "the alert")
            waits.append((hook.taken[-1]["at"] - at) * 1000)
        states = [run.state for run in host.seen()]
    assert states == ["CRASHED"] * 2 * times
    alerts = [taken["alert"] for taken in hook.taken]
    assert len({alert["run_id"] for alert in alerts}) == times == len(alerts)
    assert {(alert["event"], alert["job"], alert["state"]) for alert in alerts} == {
        ("crashed", "nightly", "CRASHED")
    }
    figures(kills=times, median_ms=round(statistics.median(waits)), max_ms=round(max(waits)))
    assert statistics.median(waits) < 1000
    assert max(waits) < 2000


@pytest.mark.long
def test_a_watchdog_killed_while_it_says_an_alert_says_it_twice_and_no_more(
    host: Any, hook: Any, until: Any
) -> None:
    host.settings(f"""
        channels: {{hook: {{webhook: "{hook.url}"}}}}
        alerts: [{{on: [crashed], to: [hook]}}]
    """)

    def kill(dog: Any) -> None:
        dog.kill()
        dog.wait()

    with host.watching() as first:
        hook.before_answer = lambda: kill(first)
        killed_inside(host, host.script(VICTIM))
        until(lambda: first.poll() is not None and hook.taken, "the alert, and the death of who said it")
        hook.before_answer = lambda: None
    with host.watching():
        until(lambda: len(hook.taken) == 2, "the alert, once more", 90.0)
        until(lambda: host.json("alerts")[0]["state"] == "sent", "its being on record")
    assert len({each["alert"]["dedupe_key"] for each in hook.taken}) == 1 and len(hook.taken) == 2


@pytest.mark.parametrize("healthy", [60, pytest.param(500, marks=pytest.mark.long)])
def test_no_healthy_run_is_ever_marked_while_three_sweep_as_fast_as_they_can(
    host: Any, until: Any, figures: Any, healthy: int
) -> None:
    sweeper = host.script(
        """
        import os, sys
        from holter.agent.watchdog.adopt import catch_up
        from holter.backends.urls import open_backend
        home = os.environ["HOLTER_HOME"]
        store = open_backend("sqlite:///holter.db", home)
        sweeps = crashed = 0
        while not os.path.exists("stop"):
            crashed += catch_up(home, store).crashed
            sweeps += 1
        print(sweeps, crashed)
        """,
        "sweep.py",
    )
    job = host.script("""
        from holter import flow, task
        @task
        def step(n): return n
        @flow
        def main(): return sum(step(n) for n in range(5))
        main()
    """)
    sweepers = [host.start(sweeper) for _ in range(3)]
    left, open_now = healthy, []
    while left or open_now:
        while left and len(open_now) < 8:
            open_now.append(host.start(job))
            left -= 1
        process = open_now.pop(0)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    (host.folder / "stop").touch()
    sweeps, crashed = (
        sum(numbers)
        for numbers in zip(*(map(int, s.communicate()[0].split()) for s in sweepers), strict=True)
    )
    assert crashed == 0
    runs = host.runs()
    assert len(runs) == 6 * healthy
    assert {run.state for run in runs} == {"COMPLETED"}
    after, seen = 0, set()
    while rows := host.store.transitions(after):
        seen |= {row.to_state for row in rows}
        after = rows[-1].seq
    assert seen <= {"RUNNING", "COMPLETED"}
    assert host.journals() == []
    figures(healthy_scripts=healthy, sweeps=sweeps, marked=0)


def test_killed_at_any_moment_of_its_life_a_script_is_completed_or_crashed(host: Any, figures: Any) -> None:
    script = host.script("""
        import sys, time
        from holter import flow, task
        @task
        def step(n): time.sleep(0.0005)
        @flow
        def main():
            for n in range(40): step(n)
        sys.stdout.write("x"), sys.stdout.flush()
        main()
    """)
    for number in range(30):
        process = host.start(script)
        process.stdout.read(1)
        time.sleep(number * 0.0015)
        process.kill()
        process.wait(20)
    runs = host.runs()
    states = [run.state for run in runs if run.name == "main"]
    assert {run.state for run in runs} <= {"COMPLETED", "CRASHED"}
    assert host.journals() == []
    figures(
        kills=30,
        crashed=states.count("CRASHED"),
        completed=states.count("COMPLETED"),
        never_started=30 - len(states),
    )
