"""`holter run --as-prefect`: scripts that say `from prefect import ...` run as they are, with no Prefect installed."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest

from .conftest import HOLTER, Done, Host

pytestmark = pytest.mark.timeout(120)


def under(host: Host, script: str, *args: str, **env: str) -> Done:
    return host.holter("run", "--as-prefect", str(host.script(script, "job.py")), *args, **env)


SCRIPT = """
    import sys
    from prefect import flow, get_run_logger, task, unmapped
    from prefect.futures import wait
    from prefect.task_runners import ThreadPoolTaskRunner

    @task(retries=2)
    def flaky(n, tried=[]):
        tried.append(n)
        if len(tried) == 1:
            raise ValueError("once")
        return n

    @task
    def add(x, y):
        get_run_logger().info("adding")
        return x + y

    @flow(log_prints=True)
    def inner(n: int):
        print("inner", n)
        return n

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def main(n: int):
        print("n is", n, sys.argv[1:])
        print(flaky(1), add.map([1, 2, 3], unmapped(n)).result(), inner("7"))

    if __name__ == "__main__":
        main("10")
"""


def test_a_script_runs_unchanged_and_its_flow_is_recorded_inside_the_command(host: Host) -> None:
    done = under(host, SCRIPT, "a", "--b")
    assert (done.code, done.out) == (0, "n is 10 ['a', '--b']\n1 [11, 12, 13] 7\n"), done.err
    said = [line.split(" | ", 2)[2] for line in done.err.splitlines()]
    assert sorted(line.partition(" - ")[2] for line in said) == ["adding", "adding", "adding", "inner 7"]
    assert "Traceback" not in done.err and "Warning" not in done.err
    runs = {run["name"]: run for run in host.json("runs", "--kind", "flow")}
    assert {name: run["state"] for name, run in runs.items()} == {"main": "COMPLETED", "inner": "COMPLETED"}
    (command,) = host.json("runs")
    assert (command["name"], command["state"]) == ("job.py a --b", "COMPLETED")
    assert runs["main"]["root_id"] == command["id"]
    steps = [(run["name"], run["state"]) for run in host.json("runs", "--kind", "task")]
    assert sorted(steps) == [("add", "COMPLETED")] * 3 + [("flaky", "COMPLETED")]


def test_a_failing_flow_fails_the_command_with_its_exit_code(host: Host) -> None:
    done = under(
        host,
        """
        from prefect import flow
        @flow
        def main():
            raise KeyError("gone")
        main()
        """,
    )
    assert done.code == 1
    assert done.err.splitlines()[-1] == "KeyError: 'gone'"
    frames = [line.split(", ")[0] for line in done.err.splitlines() if line.startswith("  File")]
    assert frames[-1].endswith('job.py"') and len(frames) <= 6
    assert [run["state"] for run in host.json("runs", "--kind", "flow")] == ["FAILED"]


@pytest.mark.parametrize(
    ("line", "says", "instead"),
    [
        ("flow(lambda: 1).serve(name='x')", "flow.serve() means nothing", "cron or a systemd timer"),
        ("flow(lambda: 1).deploy('x')", "flow.deploy() means nothing", "cron or a systemd timer"),
        ("flow.from_source('x', entrypoint='y')", "flow.from_source() means nothing", "holter run"),
        ("from prefect import serve; serve()", "serve() means nothing", "cron"),
        ("from prefect import get_client; get_client()", "get_client means nothing", "holter runs --json"),
        ("from prefect.blocks.system import Secret; Secret.load('x')", "Secret.load means", "os.environ"),
        ("from prefect.deployments import run_deployment; run_deployment('a/b')", "run_deployment", "cron"),
        ("from prefect import pause_flow_run; pause_flow_run()", "pause_flow_run means", "input()"),
        ("from prefect.client.orchestration import get_client; get_client()", "get_client", "holter runs"),
        ("import prefect; prefect.client.get_client()", "get_client", "holter runs"),
        ("import prefect; prefect.blocks.system.Secret.load('x')", "system.Secret", "os.environ"),
        ("from prefect.artifacts import Artifact; Artifact.get('k')", "Artifact.get means", "holter show"),
        ("from prefect.events import DeploymentEventTrigger as D; D()", "DeploymentEventTrigger", "alerts:"),
        ("class B(__import__('prefect.blocks.core').blocks.core.Block): pass\nB()", "B means", "os.environ"),
    ],
)
def test_what_needs_a_server_is_refused_in_one_line_that_says_what_to_use(
    host: Host, line: str, says: str, instead: str
) -> None:
    done = host.run(
        host.script(f"import sys\nsys.path[:0] = []\n{PREPARED}from prefect import flow\n{line}\n")
    )
    assert done.code == 1
    (said,) = done.err.splitlines()
    assert said.startswith("holter: job.py:") and says in said and instead in said


PREPARED = "from holter.agent.prefect.finder import install\ninstall()\n"


def test_a_block_in_a_hook_is_one_line_and_the_flow_ends_as_it_does(host: Host) -> None:
    done = under(
        host,
        """
        from prefect import flow
        from prefect.blocks.core import Block
        @flow
        def main():
            print("working")
        @main.on_completion
        def tell(flow, flow_run, state):
            Block.load("slack/mine").notify("done")
        main()
        """,
    )
    assert (done.code, done.out) == (0, "working\n")
    (said,) = done.err.splitlines()
    assert "Block.load means nothing without a Prefect server" in said


def test_an_unknown_module_of_prefect_says_where_to_look(host: Host) -> None:
    done = under(host, "import prefect.nonsense\n")
    assert done.code == 1
    assert "No module named 'prefect.nonsense' in Holter's mapping of Prefect (docs/prefect.md" in done.err


def test_processes_that_the_script_starts_find_prefect_too(host: Host) -> None:
    done = under(
        host,
        """
        import multiprocessing, subprocess, sys
        from prefect import task

        @task
        def double(x):
            return 2 * x

        def work(x):
            return double(x)

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(work, [1, 2]))
            code = "from prefect import flow; print(flow(lambda: 'sub')())"
            print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout, end="")
        """,
    )
    assert (done.code, done.out, done.err) == (0, "[2, 4]\nsub\n", "")


def test_modules_run_with_m_and_pytest_is_one(host: Host) -> None:
    tests = host.script(
        """
        import logging
        import pytest
        from prefect import flow, get_run_logger, task
        from prefect.testing.utilities import prefect_test_harness

        @pytest.fixture(autouse=True, scope="session")
        def harness():
            with prefect_test_harness():
                yield

        @task
        def step():
            get_run_logger().info("from the task")
            return 41

        @flow
        def main():
            return step() + 1

        def test_it(caplog):
            caplog.set_level(logging.INFO)
            assert main() == 42 and "from the task" in caplog.messages

        def test_fn():
            assert main.fn.__name__ == "main"
        """,
        "test_it.py",
    )
    for dashes in ((), ("--",)):
        done = host.holter(
            *("run", "--as-prefect", *dashes, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests))
        )
        assert done.code == 0 and "2 passed" in done.out, done.out + done.err
    (newest, _) = host.json("runs")
    assert newest["name"].startswith("pytest -q")


def test_a_python_without_holter_is_served_by_the_one_that_runs_it(host: Host, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True, with_pip=False)
    script = host.script("import sys; from prefect import flow; print(flow(lambda: sys.prefix)())")
    done = host.holter("run", "--as-prefect", "--", str(tmp_path / "bare/bin/python"), str(script))
    assert (done.code, done.out) == (0, f"{tmp_path}/bare\n"), done.err
    assert [run["state"] for run in host.json("runs", "--kind", "flow")] == ["COMPLETED"]


def test_a_sitecustomize_of_ones_own_has_its_turn_and_an_installed_prefect_is_not_asked(host: Host) -> None:
    folder = host.folder / "own"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import builtins\nbuiltins.MINE = 'mine'\n")
    (folder / "prefect.py").write_text("raise SystemExit('the other one')\n")
    done = under(host, "import prefect; print(MINE)", PYTHONPATH=str(folder))
    assert (done.code, done.out) == (0, "mine\n"), done.err


def test_without_the_option_nothing_is_served(host: Host) -> None:
    script = host.script("import importlib.util; print(importlib.util.find_spec('prefect') is None)")
    assert host.holter("run", "--", sys.executable, str(script)).out in ("True\n", "False\n")
    code = "import sys, holter; print(any('prefect' in name for name in sys.modules))"
    assert host.holter("run", "--", sys.executable, "-c", code).out == "False\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--as-prefect", "-m"], 2, "Missing argument"),
        (["-m", "pytest"], 2, "-m goes with --as-prefect"),
        (["--as-prefect", "no-such-command"], 127, "command not found: no-such-command"),
        (["--as-prefect", "no-such-script.py"], 2, "No such file or directory"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_line(host: Host, words: list[str], code: int, says: str) -> None:
    done = host.holter("run", *words)
    assert done.code == code
    (line,) = done.err.splitlines()
    assert says in line


def test_a_cached_result_and_a_committed_key_are_there_for_the_next_process(host: Host) -> None:
    script = """
        from prefect import flow, task
        from prefect.cache_policies import INPUTS
        from prefect.transactions import transaction

        @task(cache_policy=INPUTS)
        def work(x):
            print("running")
            return {"x": (x, 2)}

        @flow
        def main():
            with transaction(key="once") as txn:
                print(txn.is_committed())
            print(work(1))

        main()
    """
    assert under(host, script).out == "False\nrunning\n{'x': (1, 2)}\n"
    assert under(host, script).out == "True\n{'x': (1, 2)}\n"


def test_a_killed_script_is_crashed_with_its_steps(host: Host) -> None:
    done = under(
        host,
        """
        import os, signal
        from prefect import flow, task

        @task
        def step(n):
            if n == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        @flow
        def main():
            for n in (1, 2):
                step(n)

        main()
        """,
    )
    assert done.code == 137
    assert [run["state"] for run in host.json("runs", "--kind", "flow")] == ["CRASHED"]
    assert sorted(r["state"] for r in host.json("runs", "--kind", "task")) == ["COMPLETED", "CRASHED"]


def test_a_command_that_was_run_as_prefect_can_be_run_again(host: Host) -> None:
    assert under(host, "from prefect import flow; print(flow(lambda: 'hello')())").code == 0
    again = host.holter("rerun", "last")
    assert (again.code, again.out) == (0, "hello\n"), again.err


def test_the_rate_of_a_limit_comes_from_the_settings_and_holds_among_processes(host: Host) -> None:
    host.settings("limits: {api: {slots: 1, per_second: 4}}\n")
    script = host.script(
        """
        import time
        from prefect.concurrency.sync import rate_limit
        for _ in range(2):
            rate_limit("api", strict=True)
            print(time.time())
        """
    )
    started = [host.spawn([*HOLTER, "run", "--as-prefect", str(script)]) for _ in range(2)]
    times = sorted(float(word) for process in started for word in process.communicate(timeout=60)[0].split())
    assert len(times) == 4
    assert times[-1] - times[0] >= 3 / 4 * 0.9


FAR = """
    import os
    from prefect import flow, get_run_logger, task
    RUNNER

    @task
    def add(x, y):
        get_run_logger().info("elsewhere: %s", os.getpid() != int(os.environ["HERE"]))
        return x + y

    @task
    def bad():
        raise ValueError("bad")

    @task
    def die():
        os.kill(os.getpid(), 9)

    @flow(task_runner=runner())
    def main():
        first = add.submit(1, 2)
        print(add.submit(first, 10).result(), add.map([1, 2], 5).result())
        failed = bad.submit()
        failed.wait()
        print(failed.state, type(failed.result(raise_on_failure=False)).__name__)

    @flow(task_runner=runner())
    def dies():
        killed = die.submit()
        killed.wait()
        print(killed.state.name)

    if __name__ == "__main__":
        os.environ["HERE"] = str(os.getpid())
        main()
        dies()
"""
PROCESSES = (
    "from prefect.task_runners import ProcessPoolTaskRunner\n    runner = lambda: ProcessPoolTaskRunner(1)"
)
DASK = """from prefect_dask import DaskTaskRunner
    few = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    runner = lambda: DaskTaskRunner(cluster_kwargs=few)"""


@pytest.mark.parametrize(
    "runner",
    [
        pytest.param(PROCESSES, id="processes"),
        pytest.param(DASK, id="dask", marks=pytest.mark.long),  # two clusters take their time to start
    ],
)
def test_tasks_in_other_processes_are_steps_of_the_flow_and_a_killed_one_is_crashed(
    host: Host, runner: str
) -> None:
    done = under(host, FAR.replace("RUNNER", runner))
    said = "13 [6, 7]\nFailed('Task run encountered an exception ValueError: bad') ValueError\nCrashed\n"
    assert (done.code, done.out) == (0, said), done.err
    assert "elsewhere: True" in done.err and "elsewhere: False" not in done.err
    flows = {run["name"]: run for run in host.json("runs", "--kind", "flow")}
    assert {name: run["state"] for name, run in flows.items()} == {"main": "COMPLETED", "dies": "COMPLETED"}
    steps = host.json("runs", "--kind", "task")
    states = {run["name"]: (run["state"], run["parent_id"]) for run in steps}
    assert states == {
        "add": ("COMPLETED", flows["main"]["id"]),
        "bad": ("FAILED", flows["main"]["id"]),
        "die": ("CRASHED", flows["dies"]["id"]),
    }
