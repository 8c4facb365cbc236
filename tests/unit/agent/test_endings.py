"""How calls and processes end: the state that is recorded, and an exit that is the same as without us."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holter.agent.endings import ending_of
from holter.agent.watchdog.adopt import catch_up
from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend
from holter.testing.processes import await_sleep


@pytest.mark.parametrize(
    ("error", "state", "reason", "exit_code"),
    [
        (ValueError("x"), "FAILED", "ValueError: x", None),
        (ValueError(), "FAILED", "ValueError", None),
        (ValueError("one\ntwo"), "FAILED", "ValueError: one", None),
        (MemoryError(), "FAILED", "MemoryError", None),
        (SystemExit(), "COMPLETED", "exit(0)", 0),
        (SystemExit(0), "COMPLETED", "exit(0)", 0),
        (SystemExit(3), "FAILED", "exit(3)", 3),
        (SystemExit(-1), "FAILED", "exit(-1)", 255),
        (SystemExit("sorry"), "FAILED", "exit('sorry')", 1),
        (KeyboardInterrupt(), "CANCELLED", "interrupted (Ctrl-C)", None),
        (asyncio.CancelledError(), "CANCELLED", "cancelled", None),
        (GeneratorExit(), "CANCELLED", "closed by its consumer", None),
    ],
    ids=repr,
)
def test_every_exception_means_an_ending(
    error: BaseException, state: str, reason: str, exit_code: int | None
) -> None:
    ending = ending_of(error)
    assert (ending.state, ending.reason, ending.exit_code) == (state, reason, exit_code)


# --- whole processes: (what the flow does, what is done to it) -> (state, words of the reason) ------------------

WAIT = "print('go', flush=True); time.sleep(30)"
ENDS = {
    "returns": ("pass", None, "COMPLETED", None),
    "raises": ("raise ValueError('x')", None, "FAILED", "ValueError: x"),
    "exit()": ("sys.exit()", None, "COMPLETED", "exit(0)"),
    "exit(3)": ("sys.exit(3)", None, "FAILED", "exit(3)"),
    "exit(text)": ("sys.exit('sorry')", None, "FAILED", "exit('sorry')"),
    "os._exit(0)": ("os._exit(0)", None, "CRASHED", "gone without a word"),
    "os._exit(7)": ("os._exit(7)", None, "CRASHED", "gone without a word"),
    "os.abort": ("os.abort()", None, "CRASHED", "gone without a word"),
    "a segmentation fault": ("import ctypes; ctypes.string_at(0)", None, "CRASHED", "gone without a word"),
    "kills itself": ("os.kill(os.getpid(), signal.SIGKILL)", None, "CRASHED", "gone without a word"),
    "SIGINT": (WAIT, signal.SIGINT, "CANCELLED", "Ctrl-C"),
    "SIGTERM": (WAIT, signal.SIGTERM, "CRASHED", "SIGTERM"),
    "SIGHUP": (WAIT, signal.SIGHUP, "CRASHED", "SIGHUP"),
    "SIGKILL": (WAIT, signal.SIGKILL, "CRASHED", "gone without a word"),
    "SIGQUIT": (WAIT, signal.SIGQUIT, "CRASHED", "gone without a word"),
    "SIGTERM, and the user has a handler": (
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); {WAIT}",
        signal.SIGTERM,
        "FAILED",
        "exit(9)",
    ),
    "SIGTERM, and the user ignores it": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('go', flush=True); time.sleep(0.5)",
        signal.SIGTERM,
        "COMPLETED",
        None,
    ),
    "SIGHUP, and the user has a handler": (
        f"signal.signal(signal.SIGHUP, lambda *_: sys.exit(8)); {WAIT}",
        signal.SIGHUP,
        "FAILED",
        "exit(8)",
    ),
    "SIGINT, and the user catches it": (
        "\n    try: print('go', flush=True); time.sleep(30)\n    except KeyboardInterrupt: sys.exit(4)",
        signal.SIGINT,
        "FAILED",
        "exit(4)",
    ),
}
SCRIPT = """
import os, signal, sys, time
{decorator}
def main():
    {body}
main()
"""


def outcome(tmp_path: Path, decorator: str, body: str, number: int | None) -> int:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT.format(decorator=decorator, body=body))
    env = {**os.environ, "HOLTER_HOME": str(tmp_path / "home")}
    command = ["sh", "-c", 'ulimit -c 0; exec "$0" "$1"', sys.executable, str(script)]  # without core files
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env) as process:
        assert process.stdout is not None
        if number is not None:
            assert process.stdout.readline() == b"go\n"
            await_sleep(process.pid)
            process.send_signal(number)
        process.stdout.read()
        return process.wait(30)


@pytest.mark.parametrize("how", ENDS)
def test_the_end_of_a_process_is_what_it_is_without_us_and_is_recorded(tmp_path: Path, how: str) -> None:
    body, number, state, reason = ENDS[how]
    without = outcome(tmp_path, "", body, number)
    recorded = outcome(tmp_path, "import holter\n@holter.flow", body, number)
    assert recorded == without
    store = open_backend("sqlite:///holter.db", str(tmp_path / "home"))
    catch_up(str(tmp_path / "home"), store)
    (run,) = store.runs(RunQuery(limit=None))
    store.close()
    assert run.state == state
    assert (run.reason or "").find(reason or "") >= 0
    if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) and "user" not in how:
        assert run.signal == signal.Signals(number).name
    if state == "FAILED" and "exit" in how:
        assert run.exit_code == without


def test_a_run_that_is_open_when_the_interpreter_ends_is_crashed(python: Any, left: Any) -> None:
    done = python("""
        import threading, time
        from holter import flow
        threading.Thread(target=flow(name="background")(lambda: time.sleep(60)), daemon=True).start()
        time.sleep(0.1)
    """)
    assert done.returncode == 0
    assert left().run.state == "CRASHED"
    assert "exited while" in left().run.reason


def test_ctrl_c_in_a_loop_of_small_steps_leaves_no_step_open(python: Any, left: Any) -> None:
    """Most of the time is spent in recording, and so that is where the signal arrives."""
    for _ in range(12):
        done = python("""
            import os, signal, threading
            from holter import flow, task
            @task
            def step(n): return n
            @flow
            def main():
                threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
                while True: step(1)
            main()
        """)
        assert done.returncode == -signal.SIGINT
    states = {(run.name, run.state) for run in left().runs}
    assert ("main", "CANCELLED") in states
    assert {state for name, state in states if name == "main"} == {"CANCELLED"}
    assert {state for name, state in states if name == "step"} <= {"COMPLETED", "CANCELLED"}
