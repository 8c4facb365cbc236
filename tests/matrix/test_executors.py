"""Submitted tasks on every kind of executor: one flow run, whoever carries its tasks, and a worker that is killed."""

from __future__ import annotations

import os
import re
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from holter.agent.watchdog.adopt import catch_up
from holter.backends.queries import RunQuery
from holter.backends.records import Run
from holter.backends.urls import open_backend

from .conftest import BOUND
from .stage import alive

ROOT = Path(__file__).parents[2]
EXAMPLE, DOCS = ROOT / "examples" / "compress_stdlib.py", ROOT / "docs" / "executors.md"
PROCESSES = "lambda: ProcessPoolExecutor(2, mp_context=get_context('{}'))"
EXECUTORS = {
    "threads, by default": "None",
    "ThreadPoolExecutor": "ThreadPoolExecutor(2)",
    "ProcessPoolExecutor, fork": PROCESSES.format("fork"),
    "ProcessPoolExecutor, forkserver": PROCESSES.format("forkserver"),
    "ProcessPoolExecutor, spawn": PROCESSES.format("spawn"),
    "loky": "lambda: get_reusable_executor(2)",
    "Dask": "dask",
}
FAR = [name for name in EXECUTORS if "hread" not in name]
DASK_LONG = pytest.param("Dask", marks=pytest.mark.long)  # a cluster takes seconds to start
FRAME = """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed, wait
from multiprocessing import get_context
from holter import allow_failure, current_run, tags, unmapped
{imports}
{tasks}
if __name__ == "__main__":
    {setup}
    executor = {executor}

{script}
    {teardown}
"""
DASK = """
    import dask
    from distributed import Client, LocalCluster
    dask.config.set({{"distributed.scheduler.allowed-failures": {failures}}})
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    client = Client(cluster)
    dask = client.get_executor
"""


def on(name: str, tasks: str, script: str, failures: int = 0) -> str:
    """A script whose `executor` is that of `name`."""
    return FRAME.format(
        imports="from loky import get_reusable_executor" if name == "loky" else "",
        setup=DASK.format(failures=failures).strip() if name == "Dask" else "",
        executor=EXECUTORS[name],
        teardown="client.close(); cluster.close()" if name == "Dask" else "",
        tasks=textwrap.dedent(tasks),
        script=textwrap.indent(textwrap.dedent(script), "    "),
    )


EVERYTHING = """
import asyncio

@task
def square(n):
    print("square", n)
    return n * n

@task(tags=["own"])
def add(a, b): return a + b

@task
def whole(numbers, factor): return sum(numbers) * factor

@task
async def later(n):
    await asyncio.sleep(0)
    return n + 1

class Odd(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code

@task
def bad(n): raise ValueError(f"no {n}")

@task
def odd(): raise Odd(7, "very")

@task
def told(error): return type(error).__name__

@task
def inner(n): return n

@task
def outer(n): return sum(future.result() for future in inner.map(range(n)))

@task
def who(): return os.getpid(), os.getppid()
"""
MAIN = """
@flow(executor=executor, log_prints=True)
def main():
    with tags("nightly"):
        squares = square.map([1, 2, 3])
        total = add.submit(squares[1], b=squares[2])
        assert total.result() == 13
        assert whole.submit(squares, unmapped(2).value).result() == 28
        assert [f.result() for f in add.map([1, 2], unmapped(10))] == [11, 12]
        assert later.submit(total).result() == 14
        assert outer.submit(3).result() == 3
        assert inner.with_options(name="renamed", retries=1).submit(5, wait_for=[total]).result() == 5
        wrong = bad.submit(5)
        assert not wait([wrong, total], timeout=60).not_done
        assert {f.result() for f in as_completed(squares)} == {1, 4, 9}
        error = wrong.exception()
        assert (type(error), str(error)) == (ValueError, "no 5")
        assert add.submit(wrong, 1).exception() is error
        assert inner.submit(1, wait_for=[wrong]).exception() is error
        assert inner.submit(2, wait_for=[allow_failure(wrong)]).result() == 2
        assert told.submit(allow_failure(wrong)).result() == "ValueError"
        hard = odd.submit().exception()
        assert str(hard).startswith(("very", "Odd: very")), hard
        assert square.submit(4).result() == 16  # nothing is broken
        print("pids", os.getpid(), *{who.submit().result() for _ in range(2)})
    return "done"

print(main())
"""


@pytest.mark.parametrize("name", EXECUTORS)
def test_tasks_on_any_executor_are_steps_of_the_flow_that_submitted_them(home: Any, name: str) -> None:
    home.settings("project: billing")
    done = home.run(on(name, EVERYTHING, MAIN))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "done"
    runs = {run.id: run for run in home.every_run}
    main = runs.pop(next(each for each in runs if "." not in each))
    assert (main.state, main.name) == ("COMPLETED", "main")
    nested = [run for run in runs.values() if run.parent_id != main.id]
    assert [runs[run.parent_id].name for run in nested] == ["outer"] * 3
    assert {(run.root_id, run.project, run.tags[0]) for run in runs.values()} == {
        (main.id, "billing", "nightly")
    }
    names = sorted(run.name for run in runs.values())
    assert names == sorted(
        [
            *("add add add bad inner inner inner inner later odd outer".split()),
            *("renamed square square square square told who who whole".split()),
        ]
    )
    failed = {run.name: run.error["message"] for run in runs.values() if run.state == "FAILED"}
    assert failed == {"bad": "no 5", "odd": "very"}
    assert {run.state for run in runs.values()} == {"COMPLETED", "FAILED"}
    squares = [run for run in runs.values() if run.name == "square"]
    assert {run.parameters["n"]: texts(home, run) for run in squares} == {
        n: [f"square {n}"] for n in (1, 2, 3, 4)
    }
    assert (main.pid in {run.pid for run in runs.values()}) == (name not in FAR)


def texts(home: Any, run: Run) -> list[str]:
    return [log.text for log in home.logs(run)]


KILLED = """
@task
def dies():
    print("about to")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("name", FAR)
def test_a_killed_worker_s_task_is_crashed_and_the_flow_sees_its_failure(home: Any, name: str) -> None:
    done = home.run(
        on(
            name,
            KILLED,
            """
            @flow(executor=executor)
            def main():
                began = time.monotonic()
                error = dies.submit().exception(timeout=25)
                print(type(error).__mro__[-5:-2], file=sys.stderr)
                raise error

            try: main()
            except Exception as error: print(type(error).__name__)
            """,
        )
    )
    assert done.code == 0
    seen = {"loky": "TerminatedWorkerError", "Dask": "KilledWorker"}.get(name, "BrokenProcessPool")
    assert done.out.splitlines()[-1] == seen
    assert home.runs["dies"].state == "CRASHED"
    assert home.runs["dies"].parent_id == home.runs["main"].id
    assert (home.runs["main"].state, home.runs["main"].error["type"].rpartition(".")[2]) == ("FAILED", seen)


def test_the_watchdog_says_so_while_the_flow_goes_on(home: Any, until: Any) -> None:
    text = on(
        "ProcessPoolExecutor, fork",
        KILLED,
        """
        @flow(executor=executor)
        def main():
            dies.submit().exception(timeout=25)
            while not os.path.exists("seen"): time.sleep(0.02)
        main()
        """,
    )
    with home.watching():
        process = home.start([sys.executable, home.script(text)])
        until(
            lambda: told(home) == {"main": "RUNNING", "dies": "CRASHED"}, "the watchdog to tell of the worker"
        )
        (home.folder / "seen").touch()
        assert process.wait(BOUND) == 0
        until(lambda: told(home) == {"main": "COMPLETED", "dies": "CRASHED"}, "the flow's end")


def told(home: Any) -> dict[str, str]:
    """What the store says by itself: nobody looks into journals for us."""
    return {run.name: run.state for run in home.store.runs(RunQuery())}


@pytest.mark.long
def test_dask_calls_a_task_again_whose_worker_died_and_each_call_is_a_run(home: Any) -> None:
    done = home.run(
        on(
            "Dask",
            KILLED,
            """
            @flow(executor=executor)
            def main(): return type(dies.submit().exception(timeout=25)).__name__
            print(main())
            """,
            failures=1,
        )
    )
    assert done.out.splitlines()[-1] == "KilledWorker"
    assert [run.state for run in home.every_run if run.name == "dies"] == ["CRASHED"] * 2


def test_a_flow_s_next_attempt_has_a_new_pool_after_a_worker_was_killed(home: Any) -> None:
    done = home.run(
        on(
            "ProcessPoolExecutor, spawn",
            """
            @task
            def once(path):
                if not os.path.exists(path):
                    open(path, "w").close()
                    os.kill(os.getpid(), 9)
                return "second"
            """,
            """
            @flow(executor=executor, retries=1)
            def main(): return once.submit("tried").result(timeout=25)
            print(main())
            """,
        )
    )
    assert (done.code, done.out, done.err) == (0, "second\n", "")
    assert [run.state for run in home.every_run if run.name == "once"] == ["CRASHED", "COMPLETED"]
    assert (home.runs["main"].state, home.runs["main"].attempt) == ("COMPLETED", 2)


WORKS_ON = """
@task
def works(path):
    open(path, "w").write(str(os.getpid()))
    time.sleep(60)
"""


@pytest.mark.parametrize("name", [name for name in FAR if name != "Dask"])
def test_the_death_of_the_flow_s_process_is_seen_at_once_though_a_worker_works_on(
    home: Any, until: Any, name: str
) -> None:
    script = on(
        name,
        WORKS_ON,
        """
        os.setpgid(0, 0)
        @flow(executor=executor)
        def main(): works.submit("began").result()
        main()
        """,
    )
    began = home.folder / "began"
    process = home.start([sys.executable, home.script(script)])
    until(lambda: began.exists() and began.read_text(), "the task to begin")
    worker = int(began.read_text())
    process.kill()
    process.wait()
    try:
        assert home.runs["main"].state == "CRASHED"  # by the first look
        assert alive(worker)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: home.runs["works"].state == "CRASHED", "the worker's death to be seen")
    assert [event["event"] for event in home.store.events(home.runs["main"].id)] == ["start", "judge"]


def test_a_worker_of_another_host_keeps_its_own_journal_and_reaches_the_same_store(home: Any) -> None:
    """As a worker of Dask or MPI that was started with settings of its own."""
    store = home.folder / "shared.db"
    there = {"HOLTER_HOME": str(home.folder / "there"), "HOLTER_TEST_HOST": "far", "HOLTER_PROJECT": "other"}
    done = home.run(
        on(
            "ProcessPoolExecutor, spawn",
            f"""
            def elsewhere(): os.environ.update({there!r})
            @task
            def step(n): return current_run().id
            @task
            def outer(): return step.submit(1).result()
            @flow
            def sub(): return step(2)
            """,
            """
            def far(): return ProcessPoolExecutor(1, get_context("spawn"), elsewhere)
            @flow(executor=far)
            def main():
                with tags("eu"): return [outer.submit().result(), step.submit(3).result(), sub.submit().result()]
            print(*main())
            """,
        ),
        HOLTER_BACKEND=f"sqlite:///{store}",
        HOLTER_PROJECT="billing",
    )
    assert (done.code, done.err) == (0, "")
    backend = open_backend(f"sqlite:///{store}", str(home.path))
    for folder in (home.path, home.folder / "there"):
        catch_up(str(folder), backend)
    runs = backend.runs(RunQuery(limit=None))
    backend.close()
    [main] = [run for run in runs if run.name == "main"]
    assert sorted((run.name, run.host == "far") for run in runs) == [
        ("main", False), ("outer", True), ("step", True), ("step", True), ("step", True), ("sub", True),
    ]  # fmt: skip
    assert {(run.root_id, run.project, run.state) for run in runs} == {(main.id, "billing", "COMPLETED")}
    assert {run.tags for run in runs if run is not main} == {("eu",)}
    assert {run.name for run in runs if run.parent_id == main.id} == {"outer", "step", "sub"}
    assert set(done.out.split()) == {run.id for run in runs if run.name == "step"}


def test_what_is_configured_and_what_is_secret_here_is_so_in_a_worker_too(home: Any) -> None:
    done = home.run(
        on(
            "ProcessPoolExecutor, spawn",
            """
            @task
            def step(url, door_pin): print("opens", url)
            """,
            """
            import holter
            holter.configure(home="elsewhere", project="configured", redact=["*_pin"])
            @flow(executor=executor, log_prints=True)
            def main(password): step.submit(f"ftp://x?{password}", "1234567").result()
            main("correct-horse")
            """,
        )
    )
    assert (done.code, done.err) == (0, "")
    assert not (home.path / "journals").exists()
    home.path = home.folder / "elsewhere"
    runs = home.runs
    assert runs["step"].parent_id == runs["main"].id
    assert runs["step"].project == runs["main"].project == "configured"
    assert runs["step"].parameters == {"url": "ftp://x?***", "door_pin": "***"}
    assert texts(home, runs["step"]) == ["opens ftp://x?***"]


def test_under_holter_run_tasks_of_workers_belong_to_the_flow_and_the_command(home: Any) -> None:
    script = home.script(on("ProcessPoolExecutor, forkserver", EVERYTHING, ONE))
    process = home.start([sys.executable, "-m", "holter", "run", "--", sys.executable, script])
    assert process.communicate(timeout=30)[0] == "square 2\n4\n"
    [command] = [run for run in home.every_run if run.kind == "command"]
    runs = home.runs
    assert (runs["square"].parent_id, runs["main"].parent_id) == (runs["main"].id, command.id)
    assert {run.root_id for run in home.every_run} == {command.id}


ONE = """
@flow(executor=executor)
def main(): return square.submit(2).result()
print(main())
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_the_records_of_a_pool_s_workers_have_arrived_when_the_script_ends(home: Any, method: str) -> None:
    """What a second is enough for: a machine that stands still for longer leaves them in their journal."""
    left: set[Any] = set()
    for _ in range(3):
        before = left
        assert home.run(on(f"ProcessPoolExecutor, {method}", EVERYTHING, ONE)).code == 0
        left = set((home.path / "journals").iterdir())
        if left <= before:
            break
    assert left <= before
    assert {run.name: run.state for run in home.store.runs(RunQuery())} == {
        "main": "COMPLETED",
        "square": "COMPLETED",
    }


@pytest.mark.parametrize("recording", ["HOLTER_BACKEND=off:", "HOLTER_HOME=/proc/nowhere"])
def test_where_nothing_is_recorded_here_nothing_is_recorded_there(home: Any, recording: str) -> None:
    name, _, value = recording.partition("=")
    done = home.run(on("ProcessPoolExecutor, spawn", EVERYTHING, ONE), HOME=str(home.folder), **{name: value})
    assert (done.code, done.out.splitlines()[-1]) == (0, "4")
    assert len(done.err.splitlines()) == (0 if name == "HOLTER_BACKEND" else 1)
    assert not (home.folder / ".holter").exists()


# --- what can be sent, and what is said where it cannot -------------------------------------------------------

LOCAL = """
def make():
    @task
    def local(n): return n + 1
    return local

class Here:
    def __init__(self, n): self.n = n

@task
def given(here): return Here(here.n + 1)

@task
def gives(): return lambda: 7
"""


@pytest.mark.parametrize("name", [*(name for name in EXECUTORS if name != "Dask"), DASK_LONG])
def test_functions_and_classes_of_a_script_can_be_sent_local_ones_with_cloudpickle(
    home: Any, name: str
) -> None:
    done = home.run(
        on(
            name,
            LOCAL,
            """
            @flow(executor=executor)
            def main():
                here = given.submit(Here(1)).result()
                assert type(here) is Here and here.n == 2
                assert task(os.path.basename).submit("a/b").result() == "b"
                assert make().submit(1).result() == 2
                assert gives.submit().result()() == 7
            main()
            print("fine")
            """,
        )
    )
    assert (done.code, done.out.splitlines()[-1], done.err) == (0, "fine", "")


@pytest.mark.parametrize("name", [name for name in FAR if name not in ("Dask", "loky")])
def test_without_cloudpickle_what_cannot_be_sent_says_what_to_do(home: Any, name: str) -> None:
    done = home.run(
        on(
            name,
            LOCAL,
            """
            @flow(executor=executor)
            def main():
                for future in (make().submit(1), gives.submit()):
                    error = future.exception()
                    print(type(error).__name__, error)
                assert task(os.path.basename).submit("a/b").result() == "b"
                assert given.with_options(retries=1).with_options(name="again").submit(Here(1)).result().n == 2
                return given.submit(Here(1)).result().n
            print(main())
            """,
        ),
        before="import sys; sys.modules['cloudpickle'] = None\n",
    )
    assert (done.code, done.err) == (0, "")
    first, second, last = done.out.splitlines()
    assert first.startswith("NotPicklable a call of local cannot be sent to another process: Can't pickle")
    assert second.startswith(
        "NotPicklable the result of gives cannot be sent to another process: Can't pickle"
    )
    assert "`pip install cloudpickle`" in first and "`pip install cloudpickle`" in second
    assert last == "2"


@pytest.mark.parametrize("name", ["loky", DASK_LONG])
def test_what_cannot_be_sent_at_all_is_one_failed_task_on_other_executors_too(home: Any, name: str) -> None:
    done = home.run(
        on(
            name,
            LOCAL,
            """
            import threading
            @flow(executor=executor)
            def main():
                error = given.submit(threading.Lock()).exception(timeout=25)
                print(type(error).__name__, error)
                return given.submit(Here(1)).result().n
            print(main())
            """,
        )
    )
    first, last = done.out.splitlines()[-2:]
    assert first.startswith("NotPicklable a call of given cannot be sent to another process: cannot pickle")
    assert (done.code, last) == (0, "2")


def test_functions_typed_into_an_interpreter_are_sent_by_value(home: Any) -> None:
    text = on("ProcessPoolExecutor, spawn", EVERYTHING, ONE)
    process = home.start([sys.executable, "-c", home.script(text).read_text()])
    assert process.communicate(timeout=30) == ("square 2\n4\n", "")
    assert home.runs["square"].parent_id == home.runs["main"].id


# --- what people copy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["threads", "processes", "loky", DASK_LONG])
def test_the_example_gives_the_same_line_on_every_engine(home: Any, engine: str) -> None:
    process = home.start([sys.executable, EXAMPLE, engine.lower()])
    out, err = process.communicate(timeout=90)
    assert (process.returncode, err) == (0, "")
    said = re.fullmatch(r"(\d+) packages of (\d+): [\d.]+ MB become [\d.]+ MB\n", out)
    assert said is not None and said[1] == said[2]
    runs = home.every_run
    [main] = [run for run in runs if run.kind == "flow"]
    assert sum(run.name == "compress" for run in runs) == int(said[1])
    assert {run.root_id for run in runs} == {main.id} and main.progress["done"] == int(said[1])


def test_a_pool_with_apply_async_is_an_executor_in_fifteen_lines(home: Any) -> None:
    """Those of docs/executors.md, which Ray's pool takes as well."""
    [shim] = re.findall(r"```python\n# pools.py\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert home.run(shim) == (0, "", "")
    assert [run.state for run in home.every_run] == ["COMPLETED"] * 4
    assert {run.root_id for run in home.every_run} == {home.runs["squares"].id}


def test_the_other_scripts_of_the_page_say_what_it_says(home: Any) -> None:
    scripts = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", DOCS.read_text(), re.DOTALL))
    assert home.run(scripts["sizes"]).out.splitlines()[-1] == "True"
    assert home.run(scripts["waiting"]).out.splitlines()[-1] == "2 60 clean"
    done = home.run(scripts["killed"])
    assert done.code == 1 and "concurrent.futures.process.BrokenProcessPool: A process" in done.err
    assert home.runs["out_of_memory"].state == "CRASHED"


# --- in a hurry ------------------------------------------------------------------------------------------------

SLOW = """
@task
def slow(n):
    open(f"began{n}", "w").close()
    time.sleep(50)
"""


@pytest.mark.parametrize("name", [name for name in FAR if name != "Dask"])
def test_ctrl_c_ends_the_script_and_the_workers_that_it_made(home: Any, until: Any, name: str) -> None:
    text = on(
        name,
        SLOW,
        """
        os.setpgid(0, 0)
        @flow(executor=executor)
        def main(): return [future.result() for future in slow.map(range(8))]
        main()
        """,
    )
    process = home.start([sys.executable, home.script(text)])
    until(lambda: len(list(home.folder.glob("began*"))) >= 2, "two workers to begin")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers have it too
    process.communicate(timeout=BOUND)
    assert process.returncode == -signal.SIGINT
    assert home.runs["main"].state == "CANCELLED"
    states = [run.state for run in home.every_run if run.name == "slow"]
    assert set(states) <= {"CANCELLED", "CRASHED"} and len(states) < 8


@pytest.mark.parametrize(
    "name",
    [
        "ProcessPoolExecutor, fork",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("ProcessPoolExecutor, spawn", "loky")),
    ],
)
def test_a_flow_whose_time_is_up_ends_the_workers_that_it_made(home: Any, name: str) -> None:
    done = home.run(
        on(
            name,
            SLOW,
            """
            @flow(executor=executor, timeout_seconds=4)
            def main(): return [future.result() for future in slow.map(range(3))]
            try: main()
            except TimeoutError as error: print(error)
            """,
        )
    )
    assert (done.code, done.out) == (0, "ran longer than timeout_seconds=4\n")
    assert home.runs["main"].state == "TIMED_OUT"
    assert {run.state for run in home.every_run if run.name == "slow"} == {"CRASHED"}
    assert {run.reason for run in home.every_run if run.name == "slow"} == {"terminated by SIGTERM"}


def test_a_forked_child_waits_for_nothing_that_its_parent_submitted(home: Any) -> None:
    done = home.run("""
        @task
        def works():
            while not os.path.exists("go"): time.sleep(0.01)
        @flow
        def main():
            works.submit()
            child = os.fork()
            if child == 0: return
            assert os.waitpid(child, 0)[1] == 0
            open("go", "w").close()
        main()
    """)
    assert (done.code, done.err) == (0, "")
    assert {run.name: run.state for run in home.every_run} == {"main": "COMPLETED", "works": "COMPLETED"}
