"""Submitted tasks on every kind of executor: one flow run, whoever carries its tasks, and a worker that is killed."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from holter.backends.records import Run

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
