"""One journal per process: opened by the first run, shared by its threads, let go by its forks, closed at its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holter import current_run, flow, task


def test_importing_holter_starts_nothing_and_loads_only_what_decorators_need(tmp_path: Path) -> None:
    code = """
import os, sys
before, files = set(sys.modules), set(os.listdir("/proc/self/fd"))
import holter
from holter import flow, task, current_run, progress, artifact, tags, get_run_logger, configure
@flow(name="x", retries=1, retry_delay_seconds=[1, 2], timeout_seconds=3, log_prints=True, tags=["a"])
def main(): ...
import _thread
print(*sorted(set(sys.modules) - before))
print(_thread._count(), sorted(set(os.listdir("/proc/self/fd")) - files), os.path.exists(os.environ["HOLTER_HOME"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOLTER_HOME": str(tmp_path / "home")},
    )
    loaded, started = done.stdout.splitlines()
    heavy = "attr attrs cattrs typing logging threading sqlite3 json inspect dataclasses re asyncio yaml"
    assert not {name.partition(".")[0] for name in loaded.split()} & set(heavy.split())
    assert started == "0 [] False"
    assert done.stderr == ""


def test_a_finished_script_leaves_its_runs_in_the_store_and_no_journal(
    python: Any, left: Any, tmp_path: Path
) -> None:
    python("""
        from holter import flow
        @flow
        def main(): return 1
        main()
    """)
    assert list((tmp_path / "home" / "journals").iterdir()) == []
    assert left().run.state == "COMPLETED"
    for path in [tmp_path / "home", *(tmp_path / "home").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("patience", [0.02, 10.0], ids=["they give up waiting", "they wait"])
def test_threads_that_wait_for_a_slow_disk_lose_no_event(python: Any, left: Any, patience: float) -> None:
    """Who gives up waiting leaves its event to whoever has the disk, and that one must not take it for written."""
    done = python(f"""
        import os, threading, time
        os.environ["HOLTER_DURABILITY"] = "host"
        from holter import flow
        from holter.agent import tape
        tape.SYNCED_LOCK_SECONDS = {patience}
        sync = os.fdatasync
        os.fdatasync = lambda fd: (time.sleep(0.05), sync(fd))[1]
        @flow
        def main(): return 1
        threads = [threading.Thread(target=lambda: (main(), main())) for _ in range(6)]
        for each in threads: each.start()
        for each in threads: each.join()
    """)
    assert [run.state for run in left().runs] == ["COMPLETED"] * 12
    assert ("another thread is still writing" in done.stderr) == (patience < 1)


def test_a_line_that_was_written_is_not_written_again_for_what_another_thread_left(
    python: Any, left: Any
) -> None:
    """The other one's event meets a disk that is full just then."""
    python("""
        from holter import flow
        from holter.agent import tape
        from holter.agent.journal import Journal
        write, refused = Journal.write, []
        def full_once(journal, line, keep=False):
            if line == b"\\n" and not refused:
                refused.append(line)
                raise OSError(28, "No space left on device")
            write(journal, line, keep)
            if b'"end"' in line and not refused:
                tape.process.waiting.append(b"\\n")
        Journal.write = full_once
        @flow
        def main(): tape.process.fd = -1
        main()
        main()
        assert refused
    """)
    found = left()
    for run in found.runs:
        assert [event["event"] for event in found._store.events(run.id)].count("end") == 1


def test_threads_that_start_together_share_one_journal(python: Any, left: Any, tmp_path: Path) -> None:
    done = python("""
        import threading
        from holter import task
        meet = threading.Barrier(16)
        @task
        def step(n): return n
        def work(k):
            meet.wait()
            for n in range(20): step(20 * k + n)
        threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "home" / "journals").iterdir()) == []
    found = left()
    assert sorted(run.parameters["n"] for run in found.runs) == list(range(320))
    assert {run.state for run in found.runs} == {"COMPLETED"}
    assert len(found._store.processes(open_only=False)) == 1


def test_a_flow_that_runs_after_our_own_exit_is_recorded_and_writes_into_nobody_elses_file(
    python: Any, left: Any, tmp_path: Path
) -> None:
    done = python("""
        import atexit, os
        def late():
            file = os.open("mine", os.O_CREAT | os.O_WRONLY)  # takes the number of a descriptor that was closed
            others = [os.open(os.devnull, os.O_WRONLY) for _ in range(5)]
            flow(name="late")(lambda: None)()
            os.close(file)
        atexit.register(late)
        from holter import flow
        flow(name="early")(lambda: None)()
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "mine").read_bytes() == b""
    assert left().states == {"early": "COMPLETED", "late": "COMPLETED"}


def test_daemon_threads_that_go_on_while_the_interpreter_ends_harm_nothing(
    python: Any, left: Any, tmp_path: Path
) -> None:
    for _ in range(5):
        done = python("""
            import threading, time
            from holter import flow, task
            @task
            def step(n): return n
            def forever():
                while True: step(1), time.sleep(0.0002)
            @flow
            def main():
                for _ in range(4): threading.Thread(target=forever, daemon=True).start()
                time.sleep(0.05)
            main()
        """)
        assert (done.returncode, done.stderr) == (0, "")
    found = left()
    assert [run.state for run in found.runs if run.name == "main"] == ["COMPLETED"] * 5
    assert {run.state for run in found.runs} <= {"COMPLETED", "CRASHED"}
    assert found._store.check()["ok"]


def test_a_home_that_is_deleted_under_the_job_costs_records_and_nothing_else(python: Any) -> None:
    done = python("""
        import os, shutil
        from holter import flow, task
        @task
        def step(n): return n
        @flow
        def main():
            step(1)
            shutil.rmtree(os.environ["HOLTER_HOME"])
            return sum(step(n) for n in range(100))
        print(main())
    """)
    assert (done.returncode, done.stdout) == (0, "4950\n")
    assert done.stderr.count("\n") <= 1


def test_off_records_nothing(python: Any, tmp_path: Path) -> None:
    done = python(
        """
        from holter import flow
        print(flow(lambda: 1)())
        """,
        HOLTER_BACKEND="off:",
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert not (tmp_path / "home").exists()


def test_configure_wins_and_refuses_what_it_does_not_know(python: Any, left: Any, tmp_path: Path) -> None:
    done = python("""
        import holter
        holter.configure(project="billing")
        try: holter.configure(projekt="x")
        except TypeError as error: print(error)
        holter.flow(name="x")(lambda: None)()
    """)
    assert "no setting 'projekt'" in done.stdout
    assert left().run.project == "billing"


# --- forks ---------------------------------------------------------------------------------------------------

FORKS = {
    "os.fork": """
        def child(work):
            if os.fork() == 0:
                work()
                os._exit(0)
            os.wait()
        """,
    "multiprocessing fork": """
        import multiprocessing
        def child(work):
            process = multiprocessing.get_context("fork").Process(target=work)
            process.start()
            process.join()
        """,
    "pool of forks": """
        from concurrent.futures import ProcessPoolExecutor
        import multiprocessing
        def child(work):
            with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
                pool.submit(work).result()
        """,
}


@pytest.mark.parametrize("how", FORKS)
def test_tasks_of_a_forked_child_belong_to_the_run_that_forked_and_end_no_run_of_the_parent(
    python: Any, left: Any, tmp_path: Path, how: str
) -> None:
    import textwrap

    done = python(f"""
import os
from holter import flow, task, current_run
{textwrap.dedent(FORKS[how])}
@task
def step(n):
    return n

def work():
    step(os.getpid())

@flow
def main():
    step(1)
    child(work)
    step(2)
    print(current_run().state)

main()
""")
    assert (done.returncode, done.stdout) == (0, "RUNNING\n"), done.stderr
    found = left()
    top = found.named("main")
    steps = [run for run in found.runs if run.name == "step"]
    assert [run.state for run in (top, *steps)] == ["COMPLETED"] * 4
    assert {run.parent_id for run in steps} == {top.id}
    assert len({run.id for run in steps}) == 3
    ours = [run for run in steps if run.parameters["n"] not in (1, 2)]
    assert [run.pid for run in ours] == [run.parameters["n"] for run in ours]
    assert found._store.transitions(0)[-1].to_state == "COMPLETED"


def test_a_child_that_outlives_its_killed_parent_does_not_keep_it_alive(
    python: Any, left: Any, tmp_path: Path
) -> None:
    done = python("""
        import os, signal, subprocess, sys, time
        from holter import flow, task
        @task
        def step():
            pid = os.fork()
            if pid == 0:
                os.close(1), os.close(2), time.sleep(60)
                os._exit(0)
            print(pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        @flow
        def main(): step()
        if os.fork() == 0: main()
        os.wait()
    """)
    try:
        assert left().states == {"main": "CRASHED", "step": "CRASHED"}
    finally:
        os.kill(int(done.stdout), 9)


def test_a_fork_that_python_does_not_know_of_does_not_keep_its_killed_parent_alive(
    python: Any, left: Any, tmp_path: Path
) -> None:
    """The C library's own fork copies the journal's descriptor, and with it the lock."""
    done = python("""
        import ctypes, os, signal, time
        from holter import flow
        @flow
        def main():
            os.close(1), os.close(2)  # where the fork meets a thread that waits for the GIL, the child hangs at once
            pid = ctypes.PyDLL(None).fork()  # the child must find the GIL in its own hands
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            os.write(to_father, str(pid).encode())
            os.kill(os.getpid(), signal.SIGKILL)
        from_child, to_father = os.pipe()
        if os.fork() == 0: main()
        os.wait()
        print(os.read(from_child, 20).decode())
    """)
    try:
        run = left().run
        assert run.state == "CRASHED"
    finally:
        os.kill(int(done.stdout), 9)


def test_a_task_that_calls_itself_without_end_fails_as_it_would_without_us(python: Any, left: Any) -> None:
    done = python("""
        from holter import flow, task
        @task
        def step(n): return step(n + 1)
        @flow
        def main(): step(0)
        main()
    """)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("RecursionError: maximum recursion depth exceeded")
    assert "complain" not in done.stderr
    (run,) = [each for each in left().runs if each.name == "main"]
    assert run.state == "FAILED" and run.error["type"] == "RecursionError"
    assert len(run.error["traceback"]) < 20_000


# --- what is written -----------------------------------------------------------------------------------------


def test_what_a_process_is_goes_on_record_once_for_all_its_runs(made: Any) -> None:
    flow(name="x")(lambda: None)()
    run = made.run
    assert (run.pid, run.host) == (os.getpid(), os.uname().nodename)
    assert run.cwd == os.getcwd()
    assert run.usage["max_rss_bytes"] > 1_000_000
    assert run.argv


def test_a_run_tells_who_it_is(made: Any) -> None:
    seen = []

    @task(name="load", task_run_name="load-{n}", tags=["io"])
    def step(n: int) -> None:
        run = current_run()
        assert run is not None
        seen.append(
            (run.id, run.root_id, run.parent_id, run.kind, run.name, run.run_name, run.tags, run.attempt)
        )

    step(3)
    run = made.run
    assert seen == [(run.id, run.id, None, "task", "load", "load-3", ("io",), 1)]


def test_a_second_end_says_nothing(made: Any) -> None:
    held = []

    @flow
    def main() -> None:
        held.append(current_run())

    main()
    held[0].end("FAILED")
    assert made.run.state == "COMPLETED"
    assert [event["event"] for event in made._store.events(made.run.id)] == ["start", "end"]


@pytest.mark.parametrize("size", [10, 100_000, 3 * 2**20])
@pytest.mark.parametrize("sign", ["x", "\N{COLLISION SYMBOL}", "\x00", "\ud800", '"'])
def test_messages_of_any_size_and_sign_are_kept_up_to_the_limit_and_what_is_cut_is_counted(
    made: Any, size: int, sign: str
) -> None:
    @flow
    def main() -> None:
        run = current_run()
        assert run is not None
        run.log("begin " + sign * size + " end")

    main()
    run = made.run
    text = "".join(made.lines(run))
    assert text.startswith("begin ") and text.endswith(" end")
    kept = text.count("\ufffd" if sign in "\x00\ud800" else sign)
    left_out = run.dropped["bytes"] if run.dropped else 0
    assert kept + left_out == pytest.approx(size, abs=20)
    assert (left_out > 0) == (size > 2**20)


def test_a_journal_is_lines_of_json_that_anybody_can_read(python: Any, tmp_path: Path) -> None:
    python("""
        import os
        from holter import flow
        @flow(tags=["a"])
        def main(n): os._exit(0)
        main(1)
    """)
    (path,) = (tmp_path / "home" / "journals").iterdir()
    head, start = [json.loads(line) for line in path.read_text().splitlines()]
    assert (head["event"], head["journal"]) == ("process", path.stem)
    assert (start["event"], start["name"], start["parameters"], start["tags"]) == (
        "start",
        "main",
        {"n": 1},
        ["a"],
    )
