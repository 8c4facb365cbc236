"""Threads and event loops: every task belongs to the run that it works for, however it got where it runs.

Not tested, for want of it here: the free-threaded build of Python 3.13.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

IN_THREADS = {
    "bare threads": """
        threads = [threading.Thread(target=step, args=(n,)) for n in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """,
    "a bare thread of _thread": """
        import _thread
        done = threading.Semaphore(0)
        for n in range(8): _thread.start_new_thread(lambda n: (step(n), done.release()), (n,))
        for n in range(8): done.acquire()
    """,
    "timers": """
        timers = [threading.Timer(0.01, step, (n,)) for n in range(8)]
        for timer in timers: timer.start()
        for timer in timers: timer.join()
    """,
    "a pool": """
        with ThreadPoolExecutor(3) as pool: list(pool.map(step, range(8)))
    """,
    "a pool that is older than the flow": """
        list(old.map(step, range(8)))
    """,
    "a pool of multiprocessing": """
        from multiprocessing.pool import ThreadPool
        with ThreadPool(3) as pool: pool.map(step, range(8))
    """,
    "a copied context": """
        import contextvars
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda n: contextvars.Context().run(step, n), range(8)))
    """,
    "submit": """
        [future.result() for future in [step.submit(n) for n in range(8)]]
    """,
    "map": """
        [future.result() for future in step.map(range(8))]
    """,
    "asyncio.to_thread": """
        async def all(): await asyncio.gather(*(asyncio.to_thread(step, n) for n in range(8)))
        asyncio.run(all())
    """,
    "run_in_executor": """
        async def all():
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(None, step, n) for n in range(8)))
        asyncio.run(all())
    """,
    "a loop in a thread of its own": """
        async def all():
            for n in range(8): step(n)
        thread = threading.Thread(target=lambda: asyncio.run(all()))
        thread.start()
        thread.join()
    """,
    "callbacks of a loop": """
        async def all():
            loop = asyncio.get_running_loop()
            for n in range(8): loop.call_soon(step, n)
            await asyncio.sleep(0.01)
        asyncio.run(all())
    """,
}
THREADS = """
import asyncio, threading
from concurrent.futures import ThreadPoolExecutor

@task
def step(n): return inner(n)
@task
def inner(n): return n
@flow
def main():
{body}
with ThreadPoolExecutor(3) as old:
    list(old.map(abs, range(8)))
    main()
"""


def indented(body: str) -> str:
    from textwrap import dedent, indent

    return indent(dedent(body).strip(), "    ")


@pytest.mark.parametrize("way", IN_THREADS)
def test_a_task_in_a_thread_belongs_to_the_flow_that_is_open(home: Any, way: str) -> None:
    done = home.run(THREADS.format(body=indented(IN_THREADS[way])))
    assert done == (0, "", "")
    runs = home.every_run
    [main] = [run for run in runs if run.kind == "flow"]
    steps = {run.id: run for run in runs if run.name == "step"}
    assert sorted(run.parameters["n"] for run in steps.values()) == list(range(8))
    assert {run.parent_id for run in steps.values()} == {main.id}
    inner = [run for run in runs if run.name == "inner"]
    assert len(inner) == 8
    assert all(steps[run.parent_id].parameters == run.parameters for run in inner)
    assert {run.root_id for run in runs} == {main.id}
    assert {run.state for run in runs} == {"COMPLETED"}


def test_a_bare_threads_task_belongs_to_nobody_where_two_flows_are_open(home: Any) -> None:
    """Guessing would be wrong half of the time; and what carries its context knows all the same."""
    done = home.run("""
        import threading
        from contextvars import copy_context
        both = threading.Barrier(2)
        @task
        def step(how): pass
        @flow
        def main(n):
            both.wait()
            for how, target in ("bare", step), ("with context", lambda how: context.run(step, how)):
                context = copy_context()
                thread = threading.Thread(target=target, args=(how,))
                thread.start()
                thread.join()
            both.wait()
        flows = [threading.Thread(target=main, args=(n,)) for n in range(2)]
        for thread in flows: thread.start()
        for thread in flows: thread.join()
    """)
    assert done == (0, "", "")
    runs = home.every_run
    mains = {run.id for run in runs if run.kind == "flow"}
    parents = Counter((run.parameters["how"], run.parent_id) for run in runs if run.kind == "task")
    assert parents == {("bare", None): 2, **{("with context", main): 1 for main in mains}}


GATHERED = {
    "gather": "await asyncio.gather(*(step(n) for n in range(1000)))",
    "TaskGroup": """
        async with asyncio.TaskGroup() as group:
            for n in range(1000): group.create_task(step(n))
    """,
    "as_completed": "for next in asyncio.as_completed([step(n) for n in range(1000)]): await next",
}


@pytest.mark.parametrize("way", GATHERED)
def test_a_thousand_tasks_at_once_have_the_right_parents(home: Any, way: str) -> None:
    """Ten flows at once, in one loop, each with its own hundred: nobody's child is taken for another's."""
    body = indented(GATHERED[way]).replace("1000", "base, base + 100")
    done = home.run(
        """
import asyncio
@task
async def step(n):
    await asyncio.sleep(0)
    await inner(n)
@task
async def inner(n):
    await asyncio.sleep(0)
@flow
async def main(base):
"""
        + body
        + """
async def everything(): await asyncio.gather(*(main(base) for base in range(0, 1000, 100)))
asyncio.run(everything())
"""
    )
    assert done == (0, "", "")
    runs = home.every_run
    by_id = {run.id: run for run in runs}
    assert Counter(run.name for run in runs) == {"main": 10, "step": 1000, "inner": 1000}
    assert {run.state for run in runs} == {"COMPLETED"}
    for run in runs:
        if run.name == "step":
            assert by_id[run.parent_id].parameters["base"] == run.parameters["n"] // 100 * 100
        elif run.name == "inner":
            assert by_id[run.parent_id].parameters == run.parameters
    assert sorted(run.parameters["n"] for run in runs if run.name == "step") == list(range(1000))


def test_eight_threads_and_a_loop_record_at_once_and_lose_nothing(home: Any) -> None:
    done = home.run("""
        import asyncio, threading
        @task
        def step(who, n): print(who, n)
        @flow(log_prints=True)
        def main(who):
            for n in range(200): step(who, n)
        @task
        async def astep(n): await asyncio.sleep(0)
        @flow
        async def amain(): await asyncio.gather(*(astep(n) for n in range(1000)))
        sys.setswitchinterval(1e-5)
        threads = [threading.Thread(target=main, args=(n,)) for n in range(8)]
        for thread in threads: thread.start()
        asyncio.run(amain())
        for thread in threads: thread.join()
    """)
    assert (done.code, done.err) == (0, "")
    runs = home.every_run
    assert Counter(run.name for run in runs) == {"main": 8, "step": 1600, "amain": 1, "astep": 1000}
    assert {run.state for run in runs} == {"COMPLETED"}
    flows = {run.id: run.parameters["who"] for run in runs if run.name == "main"}
    for run in runs:
        if run.name == "step":
            assert flows[run.parent_id] == run.parameters["who"]
            assert run.log_lines == 1


# --- other Pythons, and other interpreters in one process ---

PYTHONS = ["3.11", "3.12", "3.13"]
ANY_PYTHON = """
import asyncio, multiprocessing, threading
@task(retries=1)
def step(n):
    print("step", n)
    return n
@task
async def astep(n): await asyncio.sleep(0)
async def several():
    async with asyncio.TaskGroup() as group:
        for n in range(100): group.create_task(astep(n))
@flow(log_prints=True)
def main():
    step(0)
    thread = threading.Thread(target=step, args=(1,))
    thread.start()
    thread.join()
    child = multiprocessing.get_context("fork").Process(target=step, args=(2,))
    child.start()
    child.join()
    asyncio.run(several())
if __name__ == "__main__":
    main()
"""
INTERPRETERS = """
import sys, textwrap
try:
    import _interpreters as interpreters  # Python 3.13
except ImportError:
    import _xxsubinterpreters as interpreters
KINDS = {"isolated": [{"isolated": True}, "isolated"], "legacy": [{"isolated": False}, "legacy"]}
old, new = KINDS[sys.argv[1]]
made = interpreters.create(new) if sys.version_info >= (3, 13) else interpreters.create(**old)
inside = '''
from holter import flow, task
@task
def step(n): return n
@flow(name="inside")
def main():
    print("in the flow", flush=True)
    step(1)
main()
'''
failed = interpreters.run_string(made, textwrap.dedent(inside))
assert failed is None, failed
interpreters.destroy(made)
print("destroyed")
"""


@pytest.fixture(params=PYTHONS)
def python(request: pytest.FixtureRequest, home: Any) -> str:
    """A Python of this version that finds Holter, and what Holter needs, where ours does."""
    path = _path_of(request.param)
    if path is None:
        pytest.skip(f"no Python {request.param} here (install it beside the others)")
    packages = home.folder / "packages"
    packages.mkdir()
    for name in "holter", "sqlite_utils":
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        (packages / name).symlink_to(Path(found.origin).parent)
    others = Path(importlib.util.find_spec("sqlite_utils").origin).parents[1]  # type: ignore[union-attr, arg-type]
    home.env |= {"PYTHONPATH": f"{packages}:{others}", "PYTHONDONTWRITEBYTECODE": "1"}
    return path


def _path_of(version: str) -> str | None:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    candidates = [
        shutil.which(f"python{version}"),
        *Path.home().glob(f".pyenv/versions/{version}.*/bin/python"),
    ]
    for path in candidates:
        if path and subprocess.run([path, "-c", "import sqlite3"], capture_output=True).returncode == 0:
            return str(path)
    return None


def test_every_python_records_the_same(home: Any, python: str) -> None:
    process = home.start([python, home.script(ANY_PYTHON)])
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "step 0\nstep 1\nstep 2\n", "")
    runs = home.every_run
    [main] = [run for run in runs if run.name == "main"]
    assert Counter(run.name for run in runs) == {"main": 1, "step": 3, "astep": 100}
    assert {run.parent_id for run in runs if run is not main} == {main.id}
    assert {run.state for run in runs} == {"COMPLETED"}


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_a_sub_interpreter_records_and_can_be_destroyed(home: Any, python: str, kind: str) -> None:
    """There it records without a thread of its own, which would be in the way of its end."""
    process = home.start([python, home.script(INTERPRETERS), kind])
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "in the flow\ndestroyed\n"), err
    assert err == ""
    runs = home.runs
    assert {(name, run.state) for name, run in runs.items()} == {
        ("inside", "COMPLETED"),
        ("step", "COMPLETED"),
    }
    assert runs["step"].parent_id == runs["inside"].id
