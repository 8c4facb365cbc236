"""Endings: however a script ends, its run has the right state and reason, and the script ends as it would without us.

Only a normal return or `exit(0)` is success. Each row is a script whose job is called `job`; it runs twice, with and
without Holter, and both must leave the same wait status, the same output and the same last word on stderr.
"""

from __future__ import annotations

import signal
import sys
from typing import Any, NamedTuple

import pytest

from holter.testing.processes import await_sleep


class Ends(NamedTuple):
    """A script, and how its run ends: `reason` is what the record's begins with."""

    text: str
    state: str
    reason: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    also: dict[str, str] = {}  # states of the script's other runs  # noqa: RUF012
    warns: bool = False  # one line of ours on stderr is in order


def leaving(statement: str) -> str:
    """A flow that ends with this statement."""
    return f"import signal, ctypes\n@flow\ndef job():\n    {statement}\njob()\n"


GONE = "its process (pid "
TERM = 'os.kill(os.getpid(), signal.SIGTERM); time.sleep(20); print("survived")'
TABLE = {
    # --- by itself ---
    "return": Ends(leaving("return 7"), "COMPLETED"),
    "an exception": Ends(leaving('raise ValueError("no such day")'), "FAILED", "ValueError: no such day"),
    "an exception without words": Ends(leaving("raise ValueError"), "FAILED", "ValueError"),
    "an exception group": Ends(
        leaving('raise ExceptionGroup("two", [OSError("disk"), KeyError("x")])'),
        "FAILED",
        "ExceptionGroup: two (2 sub-exceptions)",
    ),
    "a group with an interrupt in it": Ends(
        leaving('raise BaseExceptionGroup("mixed", [KeyboardInterrupt(), OSError("disk")])'),
        "FAILED",
        "BaseExceptionGroup: mixed (2 sub-exceptions)",
    ),
    "endless recursion": Ends(
        leaving("(f := lambda: f())()"), "FAILED", "RecursionError: maximum recursion depth exceeded"
    ),
    "StopIteration": Ends(leaving("next(iter([]))"), "FAILED", "StopIteration"),
    "MemoryError": Ends(leaving("bytearray(2**62)"), "FAILED", "MemoryError"),
    "MemoryError under RLIMIT_AS": Ends(
        """
        import resource
        @flow
        def job():
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, resource.RLIM_INFINITY))
            held = []
            while True:
                held.append(bytearray(2**20))
        job()
        """,
        "FAILED",
        "MemoryError",
        warns=True,  # what holds the memory lives on in the traceback, so there may be none left to open the store
    ),
    # --- exits ---
    "exit()": Ends(leaving("sys.exit()"), "COMPLETED", "exit(0)", 0),
    "exit(0)": Ends(leaving("sys.exit(0)"), "COMPLETED", "exit(0)", 0),
    "exit(None)": Ends(leaving("sys.exit(None)"), "COMPLETED", "exit(0)", 0),
    "exit(False)": Ends(leaving("sys.exit(False)"), "COMPLETED", "exit(0)", 0),
    "exit(3)": Ends(leaving("sys.exit(3)"), "FAILED", "exit(3)", 3),
    "exit(True)": Ends(leaving("sys.exit(True)"), "FAILED", "exit(True)", 1),
    "exit(-1)": Ends(leaving("sys.exit(-1)"), "FAILED", "exit(-1)", 255),
    'exit("text")': Ends(leaving('sys.exit("no such day")'), "FAILED", "exit('no such day')", 1),
    "exit(0.0), which is no number to Python": Ends(leaving("sys.exit(0.0)"), "FAILED", "exit(0.0)", 1),
    "exit() of something that equals everything": Ends(
        leaving("sys.exit(type('Any', (), {'__eq__': lambda *_: True, '__repr__': lambda _: 'any'})())"),
        "FAILED",
        "exit(any)",
        1,
    ),
    "exit() of something that cannot be shown": Ends(
        leaving("sys.exit(type('Mute', (), {'__repr__': lambda _: 1 / 0, '__str__': lambda _: ''})())"),
        "FAILED",
        "exit(",
        1,
    ),
    "exit(3) that the script catches": Ends(
        """
        @flow
        def job(): sys.exit(3)
        try:
            job()
        except SystemExit as end:
            print("caught", end.code)
        """,
        "FAILED",
        "exit(3)",
        3,
    ),
    "exit(3) in a task of it": Ends(
        """
        @task
        def step(): sys.exit(3)
        @flow
        def job(): step()
        job()
        """,
        "FAILED",
        "exit(3)",
        3,
        also={"step": "FAILED"},
    ),
    "exit(3) in a thread": Ends(
        """
        import threading
        @flow
        def job(): sys.exit(3)
        thread = threading.Thread(target=job)
        thread.start()
        thread.join()
        """,
        "FAILED",
        "exit(3)",
        3,
    ),
    "os._exit(0)": Ends(leaving("os._exit(0)"), "CRASHED", GONE),
    "os._exit(3)": Ends(leaving("os._exit(3)"), "CRASHED", GONE),
    # --- interrupts and cancellation ---
    "KeyboardInterrupt": Ends(
        leaving("raise KeyboardInterrupt"), "CANCELLED", "interrupted (Ctrl-C)", None, "SIGINT"
    ),
    "SIGINT": Ends(
        leaving("os.kill(os.getpid(), signal.SIGINT); time.sleep(20)"),
        "CANCELLED",
        "interrupted (Ctrl-C)",
        None,
        "SIGINT",
    ),
    "SIGINT while it waits for its next attempt": Ends(
        """
        import signal, threading
        @flow(retries=1, retry_delay_seconds=20)
        def job():
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            raise OSError("again")
        @flow()
        def plain_job():
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(20)
        (plain_job if os.environ.get("PLAIN") else job)()
        """,
        "CANCELLED",
        "interrupted (Ctrl-C)",
        None,
        "SIGINT",
    ),
    "SIGINT with the user's own handler": Ends(
        """
        import signal
        signal.signal(signal.SIGINT, mine := lambda *_: print("mine"))
        @flow
        def job(): os.kill(os.getpid(), signal.SIGINT)
        job()
        print(signal.getsignal(signal.SIGINT) is mine)
        """,
        "COMPLETED",
    ),
    "the cancellation of its asyncio task": Ends(
        """
        import asyncio
        @flow
        async def job(): await asyncio.sleep(20)
        async def main():
            running = asyncio.create_task(job())
            await asyncio.sleep(0.01)
            running.cancel()
            print(await asyncio.gather(running, return_exceptions=True))
        asyncio.run(main())
        """,
        "CANCELLED",
        "cancelled",
    ),
    "a sibling in its task group that fails": Ends(
        """
        import asyncio
        @flow
        async def job(): await asyncio.sleep(20)
        @flow
        async def sibling(): raise OSError("disk")
        async def main():
            async with asyncio.TaskGroup() as group:
                group.create_task(job())
                group.create_task(sibling())
        asyncio.run(main())
        """,
        "CANCELLED",
        "cancelled",
        also={"sibling": "FAILED"},
    ),
    "the user's own asyncio.timeout": Ends(
        """
        import asyncio
        @flow
        async def job(): await asyncio.sleep(20)
        asyncio.run(asyncio.wait_for(job(), 0.05))
        """,
        "CANCELLED",
        "cancelled",
    ),
    "Ctrl-C in an event loop": Ends(
        """
        import asyncio, signal
        @flow
        async def job():
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(20)
        asyncio.run(job())
        """,
        "CANCELLED",
        "cancelled",
    ),
    # --- SIGTERM and SIGHUP ---
    "SIGTERM": Ends(leaving(TERM), "CRASHED", "terminated by SIGTERM", None, "SIGTERM"),
    "SIGHUP": Ends(
        leaving(TERM.replace("SIGTERM", "SIGHUP")), "CRASHED", "terminated by SIGHUP", None, "SIGHUP"
    ),
    "SIGTERM in a task of it": Ends(
        f"""
        import signal
        @task
        def step(): {TERM}
        @flow
        def job(): step()
        job()
        """,
        "CRASHED",
        "terminated by SIGTERM",
        None,
        "SIGTERM",
        also={"step": "CRASHED"},
    ),
    "SIGTERM while a thread works": Ends(
        """
        import signal, threading
        @flow
        def job():
            threading.Thread(target=time.sleep, args=(20,)).start()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
        job()
        """,
        "CRASHED",
        "terminated by SIGTERM",
        None,
        "SIGTERM",
    ),
    "SIGTERM in an event loop": Ends(
        f"""
        import asyncio, signal
        @flow
        async def job(): {TERM}
        asyncio.run(job())
        """,
        "CRASHED",
        "terminated by SIGTERM",
        None,
        "SIGTERM",
    ),
    "SIGTERM with the user's own handler, that exits": Ends(
        f"""
        import signal
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        @flow
        def job(): {TERM}
        job()
        """,
        "FAILED",
        "exit(5)",
        5,
    ),
    "SIGTERM with the user's own handler, that goes on": Ends(
        """
        import signal
        signal.signal(signal.SIGTERM, mine := lambda *_: print("mine"))
        @flow
        def job():
            os.kill(os.getpid(), signal.SIGTERM)
            print(signal.getsignal(signal.SIGTERM) is mine)
        job()
        print(signal.getsignal(signal.SIGTERM) is mine)
        """,
        "COMPLETED",
    ),
    "SIGHUP with the user's own handler, that goes on": Ends(
        """
        import signal
        signal.signal(signal.SIGHUP, mine := lambda *_: print("mine"))
        @flow
        def job():
            os.kill(os.getpid(), signal.SIGHUP)
            print(signal.getsignal(signal.SIGHUP) is mine)
        job()
        print(signal.getsignal(signal.SIGHUP) is mine)
        """,
        "COMPLETED",
    ),
    "SIGINT with the user's own handler, that exits": Ends(
        """
        import signal
        signal.signal(signal.SIGINT, lambda *_: sys.exit(5))
        @flow
        def job(): os.kill(os.getpid(), signal.SIGINT); time.sleep(20)
        job()
        """,
        "FAILED",
        "exit(5)",
        5,
    ),
    "SIGTERM with a handler that the user installs inside": Ends(
        f"""
        import signal
        @flow
        def job():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
            {TERM}
        job()
        """,
        "FAILED",
        "exit(5)",
        5,
    ),
    "SIGTERM with a handler that hands on to the one before": Ends(
        f"""
        import signal
        @flow
        def job():
            before = signal.getsignal(signal.SIGTERM)
            def mine(number, frame):
                print("mine", flush=True)
                if callable(before): before(number, frame)
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            signal.signal(signal.SIGTERM, mine)
            {TERM}
        job()
        """,
        "CRASHED",
        "terminated by SIGTERM",
        None,
        "SIGTERM",
    ),
    "SIGTERM with asyncio's handler": Ends(
        """
        import asyncio, signal
        @flow
        async def job():
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            os.kill(os.getpid(), signal.SIGTERM)
            await stop.wait()
            print("in order")
        asyncio.run(job())
        """,
        "COMPLETED",
    ),
    "SIGTERM and SIGHUP that the user ignores": Ends(
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        @flow
        def job():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
        job()
        print(signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP))
        """,
        "COMPLETED",
    ),
    "SIGTERM when all flows are in other threads, where no handler is installed": Ends(
        """
        import signal, threading
        inside = threading.Event()
        @flow
        def job():
            inside.set()
            time.sleep(20)
        threading.Thread(target=job, daemon=True).start()
        inside.wait()
        print(signal.getsignal(signal.SIGTERM), flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        "CRASHED",
        GONE,
    ),
    "SIGTERM in the main thread after a flow in another one": Ends(
        f"""
        import signal, threading
        first = threading.Thread(target=flow(lambda: None))
        first.start()
        first.join()
        @flow
        def job(): {TERM}
        job()
        """,
        "CRASHED",
        "terminated by SIGTERM",
        None,
        "SIGTERM",
        also={"<lambda>": "COMPLETED"},
    ),
    "SIGTERM after it": Ends(
        f"""
        import signal
        @flow
        def job(): pass
        job()
        {TERM}
        """,
        "COMPLETED",
    ),
    # --- sudden death ---
    "SIGKILL": Ends(leaving("os.kill(os.getpid(), signal.SIGKILL)"), "CRASHED", GONE),
    "SIGKILL in a task of it": Ends(
        """
        import signal
        @task
        def step(): os.kill(os.getpid(), signal.SIGKILL)
        @flow
        def job(): step()
        job()
        """,
        "CRASHED",
        GONE,
        also={"step": "CRASHED"},
    ),
    "a segmentation fault": Ends(leaving("ctypes.string_at(0)"), "CRASHED", GONE),
    "abort": Ends(leaving("os.abort()"), "CRASHED", GONE),
    "SIGXCPU under RLIMIT_CPU": Ends(
        """
        import resource
        @flow
        def job():
            resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
            while True: pass
        job()
        """,
        "CRASHED",
        GONE,
    ),
    "a program that takes its place": Ends(
        leaving("os.execv(sys.executable, [sys.executable, '-c', 'print(7)'])"), "CRASHED", GONE
    ),
    # --- the end of the interpreter ---
    "a daemon thread that is still inside it": Ends(
        """
        import threading
        inside = threading.Event()
        @flow
        def job():
            inside.set()
            time.sleep(20)
        threading.Thread(target=job, daemon=True).start()
        inside.wait()
        """,
        "CRASHED",
        "the interpreter exited while it was still running",
    ),
    "a thread that Python waits for": Ends(
        """
        import threading
        @flow
        def job(): time.sleep(0.2)
        threading.Thread(target=job).start()
        """,
        "COMPLETED",
    ),
    "tasks that asyncio.run leaves pending": Ends(
        """
        import asyncio
        @flow
        async def job(): await asyncio.sleep(20)
        async def main():
            global held
            held = asyncio.create_task(job())
            await asyncio.sleep(0.01)
        asyncio.run(main())
        """,
        "CANCELLED",
        "cancelled",
    ),
    "tasks that nobody cancels": Ends(
        """
        import asyncio
        @flow
        async def job(): await asyncio.sleep(20)
        loop = asyncio.new_event_loop()
        held = loop.create_task(job())
        loop.run_until_complete(asyncio.sleep(0.01))
        """,
        "CRASHED",
        "the interpreter exited while it was still running",
    ),
    "a coroutine that is thrown away half-way": Ends(
        """
        import asyncio, contextvars
        @flow
        async def job(): await asyncio.sleep(20)
        async def main():
            running = contextvars.copy_context().run(job().__await__)
            contextvars.copy_context().run(next, running)
            running.close()
        asyncio.run(main())
        """,
        "CANCELLED",
        "closed by its consumer",
    ),
    "a generator that its consumer leaves": Ends(
        """
        @flow
        def job():
            yield 1
            yield 2
        for item in job():
            break
        """,
        "CANCELLED",
        "closed by its consumer",
    ),
    "a run that is over when the script fails": Ends(
        """
        @flow
        def job(): pass
        job()
        raise ValueError("later")
        """,
        "COMPLETED",
    ),
}


def _last_word(err: str) -> str:
    """The last line on stderr, as far as it does not depend on files and lines."""
    return "".join([line for line in err.splitlines() if not line.startswith("holter: ")][-1:])[:30]


@pytest.mark.parametrize("name", TABLE)
def test_an_ending_is_recorded_for_what_it_was(home: Any, name: str) -> None:
    row = TABLE[name]
    done = home.run(row.text)
    without = home.run(row.text, plain=True)
    assert (done.code, done.out) == (without.code, without.out), done.err
    ours = [line for line in done.err.splitlines() if line.startswith("holter: ")]
    assert len(ours) <= row.warns, ours
    assert _last_word(done.err) == _last_word(without.err)
    runs = home.runs
    job = runs.pop("job")
    assert (job.state, job.exit_code, job.signal) == (row.state, row.exit_code, row.signal)
    assert (job.reason or "").startswith(row.reason or "")
    assert (row.reason is None) == (job.reason is None)
    assert {run.name: run.state for run in runs.values()} == dict(row.also)


def test_a_thread_that_talks_on_while_the_interpreter_ends_hurts_nobody(home: Any) -> None:
    before = """
        import atexit, threading
        inside, over = threading.Event(), threading.Event()

        @atexit.register
        def last():  # runs after Holter's own
            files = [open(f"file{n}", "w") for n in range(20)]
            over.wait(0.2)
            for file in files: file.close()
    """
    job = """
        from holter import current_run
        @task
        def step(): pass
        @flow
        def job():
            while True:
                current_run().log("talk")
                step()
                inside.set()
                time.sleep(0.005)
        threading.Thread(target=job, daemon=True).start()
        inside.wait()
    """
    done = home.run(job, before=before)
    assert (done.code, done.err) == (0, "")
    assert {path.read_text() for path in home.folder.glob("file*")} == {""}
    assert home.runs["job"].state == "CRASHED"


def test_a_flow_of_a_late_exit_function_is_recorded(home: Any) -> None:
    done = home.run(
        "@flow\ndef job(): pass\njob()\n",
        before="import atexit\n@atexit.register\ndef last(): flow(name='late')(lambda: print('late'))()\n",
    )
    assert (done.code, done.out, done.err) == (0, "late\n", "")
    assert {name: run.state for name, run in home.runs.items()} == {"job": "COMPLETED", "late": "COMPLETED"}


def test_a_program_that_took_the_place_of_another_is_not_crashed_while_it_lives(
    home: Any, until: Any
) -> None:
    script = home.script("""
        @flow
        def job(): os.execv(sys.executable, [sys.executable, "-c", "print('new', flush=True); input()"])
        job()
    """)
    process = home.start([sys.executable, script], stdin=True)
    assert process.stdout.readline() == "new\n"
    assert home.runs["job"].state == "RUNNING"
    process.communicate("\n", timeout=20)
    assert process.returncode == 0
    assert home.runs["job"].state == "CRASHED"


def test_a_script_that_takes_its_own_place_is_two_runs(home: Any) -> None:
    done = home.run("""
        @flow
        def job():
            if len(sys.argv) == 1:
                os.execv(sys.executable, [sys.executable, *sys.argv, "again"])
        job()
    """)
    assert done.code == 0
    assert [run.state for run in home.every_run] == ["CRASHED", "COMPLETED"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_signal_from_another_process_is_recorded(home: Any, number: signal.Signals) -> None:
    script = home.script("""
        @flow
        def job():
            print("inside", flush=True)
            time.sleep(20)
        job()
    """)
    process = home.start([sys.executable, script])
    assert process.stdout.readline() == "inside\n"
    if number == signal.SIGINT:  # Python's own handler: what comes just before the sleep waits for its end
        await_sleep(process.pid)
    process.send_signal(number)
    assert process.wait(20) == -number
    run = home.runs["job"]
    assert run.state == ("CANCELLED" if number == signal.SIGINT else "CRASHED")
    assert run.signal == (None if number == signal.SIGKILL else number.name)


def test_a_signal_that_interrupts_nothing_ends_the_script_all_the_same(home: Any) -> None:
    """As where it comes just before the main thread blocks: Python would handle it once the sleep is over."""
    script = home.script("""
        import signal, threading
        @flow
        def job():
            def other():
                while open(f"/proc/self/task/{threading.main_thread().native_id}/syscall").read().startswith("running"):
                    time.sleep(0.01)
                time.sleep(0.2)
                signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            threading.Thread(target=other, daemon=True).start()
            time.sleep(60)
        job()
    """)
    process = home.start([sys.executable, script])
    assert process.wait(30) == -signal.SIGTERM
    assert (home.runs["job"].state, home.runs["job"].signal) == ("CRASHED", "SIGTERM")


def test_a_signal_that_met_a_child_which_still_has_the_descriptor_does_not_end_its_parent(home: Any) -> None:
    done = home.run("""
        import subprocess
        from holter.agent import wakeups
        @flow
        def job():
            tell = f'printf "{chr(92)}017" >&{wakeups._mouth}'  # what the handler of SIGTERM writes
            subprocess.run(["bash", "-c", tell], pass_fds=[wakeups._mouth], check=True)
            time.sleep(1)  # longer than the first reminders take
        job()
    """)
    assert (done.code, home.runs["job"].state) == (0, "COMPLETED")


def test_a_wake_up_descriptor_of_the_program_stays_its_own(home: Any) -> None:
    done = home.run("""
        import signal
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        @flow
        def job(): pass
        job()
        print("its own:", signal.set_wakeup_fd(-1) == writer)
    """)
    assert "its own: True" in done.out
