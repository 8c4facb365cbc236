"""Children of every kind: what they record is theirs, and what happens to them never happens to their parent's run.

What a task in a child belongs to: after a fork to the run that was current where the fork happened, for the child
knows it. A spawned child, and one from a fork server, is a new interpreter that is told nothing: its tasks are runs of
their own, unless the command was started by `holter run`, which its environment says.
"""

from __future__ import annotations

import signal
import sys
from textwrap import dedent, indent
from typing import Any

import pytest

from holter.backends.records import Run

from .stage import Strays, _strays, alive  # noqa: F401 - a fixture

WAYS = {
    "Process": """
        children = [context.Process(target=step, args=(n,)) for n in range(4)]
        for child in children: child.start()
        for child in children: child.join()
        assert [child.exitcode for child in children] == [0] * 4
    """,
    "Pool": """
        with context.Pool(2) as pool:
            assert pool.map(step, range(4)) == [0, 1, 4, 9]
            pool.close()
            pool.join()
    """,
    "Pool of workers for one task each": """
        with context.Pool(2, maxtasksperchild=1) as pool:
            assert pool.map(step, range(4), chunksize=1) == [0, 1, 4, 9]
            pool.close()
            pool.join()
    """,
    "ProcessPoolExecutor": """
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            assert list(pool.map(step, range(4))) == [0, 1, 4, 9]
    """,
}
CHILDREN = """
import multiprocessing

@task
def step(n):
    return n * n

@flow(log_prints=True)
def main():
    print("before")
    context = multiprocessing.get_context(sys.argv[1])
{way}
    print("after")

if __name__ == "__main__":
    main()
"""
METHODS = ["fork", "forkserver", "spawn"]


def children(way: str) -> str:
    return CHILDREN.format(way=indent(dedent(WAYS[way]).strip(), "    "))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_tasks_in_children_are_recorded_and_belong_to_the_run_that_is_known_there(
    home: Any, method: str, way: str
) -> None:
    done = home.run(children(way), method)
    assert done == (0, "before\nafter\n", "")
    main, steps = parent_and_steps(home.every_run)
    assert main.state == "COMPLETED"
    assert [log.text for log in home.logs(main)] == ["before", "after"]
    assert sorted(step.parameters["n"] for step in steps) == [0, 1, 2, 3]
    assert {step.state for step in steps} == {"COMPLETED"}
    if method == "fork":
        assert {(step.parent_id, step.root_id) for step in steps} == {(main.id, main.id)}
    else:
        assert {step.parent_id for step in steps} == {None}


def parent_and_steps(runs: list[Run]) -> tuple[Run, list[Run]]:
    [main] = [run for run in runs if run.name == "main"]
    return main, [run for run in runs if run.name == "step"]


@pytest.mark.parametrize("method", METHODS)
def test_under_holter_run_every_childs_task_belongs_to_the_command(home: Any, method: str) -> None:
    script = home.script(children("Pool"))
    process = home.start([sys.executable, "-m", "holter", "run", "--", sys.executable, script, method])
    process.communicate(timeout=30)
    assert process.returncode == 0
    runs = home.every_run
    [command] = [run for run in runs if run.kind == "command"]
    assert {run.root_id for run in runs} == {command.id}
    assert sum(run.name == "step" for run in runs) == 4


ENDINGS = {
    "returns out of the flow": "return",
    "leaves with sys.exit": "sys.exit(3)",
    "raises": "raise ValueError('the child')",
    "is gone by os._exit": "os._exit(0)",
    "is killed": "os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_forked_child_neither_ends_nor_retries_its_parents_run_nor_calls_its_hooks(
    home: Any, ending: str
) -> None:
    done = home.run(f"""
        def hook(run): print("hook", os.getpid() == parent, flush=True)
        @flow(retries=2, limit="one", on_completion=[hook], on_failure=[hook])
        def main():
            global again
            again += 1
            child = os.fork()
            if child == 0:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                {ENDINGS[ending]}
                return
            os.waitpid(child, 0)
            time.sleep(0.05)
        parent, again = os.getpid(), 0
        main()
        if os.getpid() == parent: print("times", again, flush=True)
    """)
    assert (done.code, done.out, done.err) == (0, "hook True\ntimes 1\n", "")
    [run] = home.every_run
    assert (run.state, run.attempt, run.reason) == ("COMPLETED", 1, None)
    assert run.duration_seconds >= 0.05
    events = [event["event"] for event in home.store.events(run.id)]
    assert events == ["start", "attempt", "slot", "end"]


THOUSAND = '''
import threading
from holter import concurrency

@task
def step(n): return n

def chatter():
    number = 0
    while not stop.is_set():
        print("thread", number)
        number += 1
        stop.wait(0.001)
    said.append(number)

@flow(log_prints=True)
def main():
    thread = threading.Thread(target=chatter)
    with concurrency("db"):
        thread.start()
        for n in range({times}):
            child = os.fork()
            if child == 0:
                print("child", n)
                if n % 10 == 0: step(n)
                os._exit(0)
            print("parent", n)
            assert os.waitpid(child, 0)[1] == 0
            if n % 100 == 0: print("seen", busy(), file=sys.stderr, flush=True)
        stop.set()
        thread.join()

def busy():
    import subprocess
    ask = """
from holter import concurrency, SlotTimeout
try:
    with concurrency("db", timeout_seconds=0): print("free")
except SlotTimeout: print("busy")
"""
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True).stdout.strip()

stop, said = threading.Event(), []
main()
print("SAID", said[0])
'''


def test_a_thousand_forks_without_exec_while_threads_log_and_a_slot_is_held_lose_nothing(home: Any) -> None:
    times = 1000
    done = home.run(THOUSAND.format(times=times), PYTHONUNBUFFERED="1")
    assert done.code == 0
    assert set(done.err.splitlines()) == {"seen busy"}
    main, steps = parent_and_steps(home.every_run)
    said = int(done.out.rpartition("SAID")[2])
    texts: dict[str, list[int]] = {"thread": [], "parent": [], "child": []}
    for log in home.logs(main):
        kind, number = log.text.split()
        texts[kind].append(int(number))
    assert texts["parent"] == list(range(times))
    assert texts["thread"] == list(range(said))
    assert sorted(texts["child"]) == list(range(times))
    assert sorted(step.parameters["n"] for step in steps) == list(range(0, times, 10))
    assert {step.parent_id for step in steps} == {main.id}
    assert main.state == "COMPLETED"
    events = [event["event"] for event in home.store.events(main.id)]
    assert (events.count("slot"), events.count("end")) == (1, 1)
    assert not list((home.path / "journals").iterdir())


OUTLIVING = {
    "exec, descriptors open": "subprocess.Popen(idle, close_fds=False)",
    "exec, every descriptor passed on": (
        "subprocess.Popen(idle, pass_fds=[int(fd) for fd in os.listdir('/proc/self/fd') if is_open(int(fd))])"
    ),
    "exec, a session of its own": "subprocess.Popen(idle, start_new_session=True, close_fds=False)",
    "posix_spawn": "os.posix_spawn(idle[0], idle, os.environ)",
    "fork": "os.fork() or forget_and_idle()",
    "fork that recorded itself": "os.fork() or (step(1), forget_and_idle())",
    "daemon Process, fork": "process('fork')",
    "daemon Process, forkserver": "process('forkserver')",
    "daemon Process, spawn": "process('spawn')",
    "fork that C code made": "ctypes.CDLL(None).fork() or forget_and_idle()",
}
LEAVES = """
import ctypes, multiprocessing, signal, subprocess

idle = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]

@task
def step(n): return n

def is_open(fd):
    try: return bool(os.fstat(fd))
    except OSError: return False

def forget_and_idle():
    time.sleep(60)
    os._exit(0)

def process(method):
    child = multiprocessing.get_context(method).Process(target=time.sleep, args=(60,), daemon=True)
    child.start()
    return child

@flow
def main():
    child = {how}
    print(getattr(child, "pid", child), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("how", OUTLIVING)
def test_a_killed_parent_is_crashed_at_once_though_a_child_of_it_lives(
    home: Any, strays: Strays, how: str
) -> None:
    process = home.start([sys.executable, home.script(LEAVES.format(how=OUTLIVING[how]))], stdin=True)
    child = strays.add(int(process.stdout.readline()))
    assert home.runs["main"].state == "RUNNING"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert home.runs["main"].state == "CRASHED"  # by the first look, with no waiting
    assert alive(child)
    strays.end()  # its streams are ours: let them close


@pytest.mark.parametrize("method", METHODS)
def test_a_child_that_is_killed_crashes_its_own_task_only(home: Any, method: str) -> None:
    done = home.run(
        """
        import multiprocessing
        @task
        def step(): os.kill(os.getpid(), 9)
        @flow
        def main():
            child = multiprocessing.get_context(sys.argv[1]).Process(target=step)
            child.start()
            child.join()
            return child.exitcode
        if __name__ == "__main__":
            print(main())
        """,
        method,
    )
    assert done == (0, "-9\n", "")
    assert home.runs["main"].state == "COMPLETED"
    assert home.runs["step"].state == "CRASHED"


def test_a_child_that_outlives_its_finished_parent_changes_nothing_about_it_and_is_recorded(
    home: Any, until: Any
) -> None:
    home.run("""
        @task
        def step():
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.dup2(1, 2)
            while os.getppid() == parent: time.sleep(0.02)
        @flow
        def main():
            if os.fork() == 0:
                step()
                os._exit(0)
        parent = os.getpid()
        main()
    """)
    assert home.runs["main"].state == "COMPLETED"
    until(lambda: home.runs["step"].state == "COMPLETED", "the orphan's task to end")
    main = home.runs["main"]
    assert main.state == "COMPLETED"
    assert home.runs["step"].parent_id == main.id
    assert [event["event"] for event in home.store.events(main.id)].count("end") == 1
