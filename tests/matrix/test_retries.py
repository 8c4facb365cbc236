"""What was tried, how often, and why again: all of it is in `holter show`, as text and as JSON.

A slot of `limit=` is kept while a flow or task waits for its next attempt; one of `with concurrency(...)` inside it is
released with the block that it belongs to, before the wait.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

PLAIN, COROUTINE = "def", "async def"
SHAPES = {"function": (PLAIN, "main()"), "coroutine": (COROUTINE, "asyncio.run(main())")}
TRIED = """
import asyncio
class Flaky(Exception): pass
tries = []
{decorator}
{define} main():
    tries.append(1)
    if len(tries) <= {failures}: raise Flaky(f"no {{len(tries)}}")
    return "fine"
try: print({call})
except Flaky as error: print("raised", error)
"""
# options, failures; then the state, the delays that were waited and what the last attempt's error says
ROWS = {
    "none needed": ("retries=2", 0, "COMPLETED", [], None),
    "the second works": ("retries=2", 1, "COMPLETED", [0.0], None),
    "the last works": ("retries=2", 2, "COMPLETED", [0.0, 0.0], None),
    "none works": ("retries=2", 9, "FAILED", [0.0, 0.0], "no 3"),
    "a delay": ("retries=2, retry_delay_seconds=0.05", 9, "FAILED", [0.05, 0.05], "no 3"),
    "a list": ("retries=3, retry_delay_seconds=[0.01, 0.05]", 3, "COMPLETED", [0.01, 0.05, 0.05], None),
    "a function": (
        "retries=2, retry_delay_seconds=lambda n: [0.01 * 2**k for k in range(n)]", 2, "COMPLETED", [0.01, 0.02], None,
    ),
    "a condition that says no": (
        "retries=2, retry_condition_fn=lambda e: 'no 2' not in str(e)", 9, "FAILED", [0.0], "no 2",
    ),
}  # fmt: skip


def holter(home: Any, *args: str) -> str:
    process = home.start([sys.executable, "-m", "holter", *args])
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return str(out)


def shown(home: Any, run_id: str = "last") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(holter(home, "show", run_id, "--json"))
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["flow", "task"])
@pytest.mark.parametrize("row", ROWS)
def test_attempts_delays_and_errors_are_recorded(home: Any, row: str, kind: str, shape: str) -> None:
    options, failures, state, delays, last = ROWS[row]
    define, call = SHAPES[shape]
    script = TRIED.format(decorator=f"@{kind}({options})", define=define, call=call, failures=failures)
    done = home.run(script)
    assert done == (0, "fine\n" if last is None else f"raised {last}\n", "")
    [run] = home.every_run
    number = len(delays) + 1
    assert (run.state, run.attempt) == (state, number)
    assert [attempt["attempt"] for attempt in run.attempts] == list(range(1, number + 1))
    assert [attempt["delay_seconds"] for attempt in run.attempts] == [*delays, None]
    messages = [attempt["error"] and attempt["error"]["message"] for attempt in run.attempts]
    assert messages == [f"no {n}" for n in range(1, number)] + [last]
    assert (run.error and run.error["message"]) == last
    for earlier, later, delay in zip(run.attempts, run.attempts[1:], delays, strict=False):
        assert earlier["started_at"] <= earlier["ended_at"]
        assert later["started_at"] - earlier["ended_at"] >= delay - 0.001


def test_show_tells_each_attempt_its_delay_and_its_error(home: Any) -> None:
    home.run("""
        tries = []
        @flow(retries=2, retry_delay_seconds=[0.05, 0.1])
        def main():
            tries.append(1)
            if len(tries) == 1: raise ValueError("first trouble")
            if len(tries) == 2: raise KeyError("second trouble")
        main()
    """)
    run = shown(home)
    assert (run["state"], run["attempt"]) == ("COMPLETED", 3)
    attempts = [
        (each["attempt"], each["delay_seconds"], each["error"] and each["error"]["type"])
        for each in run["attempts"]
    ]
    assert attempts == [(1, 0.05, "ValueError"), (2, 0.1, "KeyError"), (3, None, None)]
    assert "first trouble" in run["attempts"][0]["error"]["traceback"]
    assert all(each["started_at"] and each["ended_at"] for each in run["attempts"])
    text = holter(home, "show", "last")
    assert "again in 50ms" in text
    assert "again in 100ms" in text
    assert "ValueError: first trouble" in text
    assert "second trouble" in text


def test_jitter_is_added_and_the_delay_that_was_drawn_is_the_one_that_is_shown(home: Any) -> None:
    home.run("""
        @task(retries=20, retry_delay_seconds=0.01, retry_jitter_factor=1.0)
        def main(): raise ValueError
        try: main()
        except ValueError: pass
    """)
    delays = [each["delay_seconds"] for each in shown(home)["attempts"]][:-1]
    assert len(delays) == 20
    assert all(0.01 <= delay <= 0.02 for delay in delays)
    assert len(set(delays)) > 10


NEVER = {
    "sys.exit": ("sys.exit(3)", 3),
    "Ctrl-C": ("import signal; signal.raise_signal(signal.SIGINT)", -2),
    "SIGTERM": ("import signal; signal.raise_signal(signal.SIGTERM)", -15),
}


@pytest.mark.parametrize("how", NEVER)
def test_who_says_stop_is_not_tried_again(home: Any, how: str) -> None:
    line, code = NEVER[how]
    done = home.run(f"""
        @flow(retries=5)
        def main():
            print("once", flush=True)
            {line}
            time.sleep(30)
        main()
    """)
    assert (done.code, done.out) == (code, "once\n")
    assert home.runs["main"].attempt == 1


CRASHES = {
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "SIGSEGV": "os.kill(os.getpid(), 11)",
    "abort": "os.abort()",
}


@pytest.mark.parametrize("how", CRASHES)
def test_crashes_of_a_command_are_tried_again_within_one_run(home: Any, how: str) -> None:
    script = home.script(f"""
        with open("tries", "a") as file: file.write("x")
        number = os.path.getsize("tries")
        print("try", number, flush=True)
        @flow
        def inside():
            if number < 3: {CRASHES[how]}
        inside()
    """)
    out = holter(
        home, "run", "--name", "nightly", "--retries", "4", "--retry-on", "crash", "--retry-delay", "50ms", "--",
        sys.executable, str(script),
    )  # fmt: skip
    assert out == "try 1\ntry 2\ntry 3\n"
    runs = home.every_run
    [command] = [run for run in runs if run.kind == "command"]
    run = shown(home, command.id)
    assert (run["state"], run["exit_code"], run["attempt"]) == ("COMPLETED", 0, 3)
    assert [each["delay_seconds"] for each in run["attempts"]] == [0.05, 0.05, None]
    assert all("killed" in each["reason"] or "SIG" in each["reason"] for each in run["attempts"][:2])
    assert "again in 50ms" in holter(home, "show", command.id)
    inside = [(each.state, each.parent_id) for each in runs if each.name == "inside"]
    assert inside == [("CRASHED", command.id)] * 2 + [("COMPLETED", command.id)]


def test_a_command_that_fails_is_no_crash_and_one_that_always_crashes_ends_crashed(home: Any) -> None:
    for body, code, state, attempts in (
        ("sys.exit(4)", 4, "FAILED", 1),
        ("os.kill(os.getpid(), 9)", 137, "CRASHED", 3),
    ):
        process = home.start(
            [sys.executable, "-m", "holter", "run", "--name", state, "--retries", "2", "--retry-on", "crash", "--",
             sys.executable, "-c", f"import os, sys; {body}"]
        )  # fmt: skip
        process.communicate(timeout=30)
        assert process.returncode == code
        run = home.runs[state]
        assert (run.state, run.attempt) == (state, attempts)


ASK = """
from holter import concurrency, SlotTimeout
try:
    with concurrency("db", timeout_seconds=0): print("free")
except SlotTimeout: print("taken")
"""
WAITS = """
import asyncio
from holter import concurrency
tries = []
def body():
    tries.append(1)
    if len(tries) == 1: raise ValueError("once")
{script}
"""
KEPT = {
    "flow": ("@flow(retries=1, retry_delay_seconds=60, limit='db')\ndef main(): body()\nmain()", "taken"),
    "task": ("@task(retries=1, retry_delay_seconds=60, limit='db')\ndef main(): body()\nmain()", "taken"),
    "coroutine": (
        "@flow(retries=1, retry_delay_seconds=60, limit='db')\nasync def main(): body()\nasyncio.run(main())", "taken",
    ),
    "a block inside": (
        "@flow(retries=1, retry_delay_seconds=60)\ndef main():\n    with concurrency('db'): body()\nmain()", "free",
    ),
    "a task inside, of a flow that waits": (
        "@task(limit='db')\ndef step(): body()\n@flow(retries=1, retry_delay_seconds=60)\ndef main(): step()\nmain()",
        "free",
    ),
}  # fmt: skip


@pytest.mark.parametrize("where", KEPT)
def test_a_slot_is_kept_or_released_while_its_owner_waits_to_try_again(
    home: Any, until: Any, where: str
) -> None:
    script, answer = KEPT[where]
    waiting = home.start([sys.executable, home.script(WAITS.format(script=script))])
    until(lambda: "main" in (runs := home.runs) and runs["main"].state == "RETRYING", "the retry wait")
    asking = home.start([sys.executable, "-c", ASK])
    assert asking.communicate(timeout=30) == (f"{answer}\n", "")
    assert home.runs["main"].state == "RETRYING"  # still: the answer was given during the wait
    waiting.kill()
    assert waiting.wait() == -9
    again = home.start([sys.executable, "-c", ASK])
    assert again.communicate(timeout=30) == ("free\n", "")


def test_a_slot_that_was_kept_is_free_after_the_last_attempt(home: Any) -> None:
    home.run(
        """
        tries = []
        @flow(retries=2, retry_delay_seconds=0.05, limit='db')
        def main():
            tries.append(1)
            raise ValueError
        try: main()
        except ValueError: print(len(tries))
        """
    )
    asking = home.start([sys.executable, "-c", ASK])
    assert asking.communicate(timeout=30) == ("free\n", "")
    run = home.runs["main"]
    [slot] = run.slots
    assert slot["held"] >= 0.1
    assert run.attempt == 3
