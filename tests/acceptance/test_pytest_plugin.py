"""The pytest plugin, in sessions of pytest of its own: silent unless asked, a home for a test, and no run left open."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent

import pytest

if not entry_points(group="pytest11", name="holter"):
    pytest.skip("this environment has an older holter: pip install -e '.[dev]'", allow_module_level=True)

FLOWS = """
    import threading
    import pytest
    from holter import flow, task

    @flow
    def numbers():
        yield 1
        yield 2

    @flow(log_prints=True)
    def hello(name):
        print("hello", name)
"""


class Session:
    """A folder of tests that pytest runs in a process of its own, as somebody's project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            key: value for key, value in os.environ.items() if not key.startswith(("HOLTER_", "PYTEST_"))
        }
        self.environ["HOME"] = str(folder / "home")

    def run(self, text: str, *options: str, ini: str = "", **environ: str) -> tuple[int, str]:
        self.folder.joinpath("test_it.py").write_text(dedent(FLOWS) + dedent(text))
        self.folder.joinpath("pytest.ini").write_text(f"[pytest]\n{ini}\n")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options],
            cwd=self.folder,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


# --- unless asked ------------------------------------------------------------------------------------------------


LEAK = """
    left = []
    def test_it():
        left.append(numbers())
        next(left[0])
"""


def test_unless_asked_the_plugin_does_nothing_and_loads_nothing_of_ours_but_itself(session: Session) -> None:
    session.folder.joinpath("conftest.py").write_text(
        "import sys\n"
        "loaded = sorted(name for name in sys.modules if name.startswith('holter') or name == 'sqlite_utils')\n"
        "assert loaded == ['holter', 'holter.testing', 'holter.testing.plugin'], loaded\n"
    )
    code, said = session.run(LEAK, "-W", "error", HOLTER_BACKEND="off:")
    assert code == 0, said


# --- runs that are left open ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["ini", "option"])
def test_a_test_that_leaves_a_run_open_fails_and_says_which(session: Session, way: str) -> None:
    options = ("--holter-leaks",) if way == "option" else ()
    code, said = session.run(
        LEAK, *options, ini="holter_leaks = true" * (way == "ini"), HOLTER_BACKEND="off:"
    )
    assert code == 1
    assert "the test left 1 run open: flow numbers (" in said
    assert "1 failed" in said and "error" not in said


def test_only_tests_that_leave_one_fail_and_a_failure_stays_what_it_was(session: Session) -> None:
    code, said = session.run(
        """
        kept = []
        def leave():
            kept.append(numbers())
            next(kept[-1])

        @pytest.fixture
        def held():
            run = numbers()
            yield next(run)
            run.close()

        @pytest.mark.holter_leaks
        def test_wrong_mark(): leave()

        @pytest.mark.holter_leaks
        def test_wrong_thread():
            go = threading.Event()
            @flow
            def slow(): go.wait(20)
            threading.Thread(target=slow, daemon=True).start()
            from holter.agent import recorder
            while not any(run.name == "slow" for run in recorder.open_runs()): pass

        @pytest.mark.holter_leaks
        def test_wrong_anyway():
            leave()
            assert 1 == 2

        def test_fine_not_asked(): leave()

        @pytest.mark.holter_leaks(False)
        def test_fine_not_wanted(): leave()

        @pytest.mark.holter_leaks
        def test_fine_after(): hello("you")

        @pytest.mark.holter_leaks
        def test_fine_whole(): assert list(numbers()) == [1, 2]

        @pytest.mark.holter_leaks
        def test_fine_forgotten(): next(numbers())

        @pytest.mark.holter_leaks
        def test_fine_fixture(held): hello("you")
        """,
        "--strict-markers",
        "-rA",
        HOLTER_BACKEND="off:",
    )
    assert code == 1
    assert "3 failed, 6 passed" in said, said
    assert said.count("FAILED test_it.py::test_wrong_") == 3
    for flow in ("numbers", "slow"):
        assert f"the test left 1 run open: flow {flow} (" in said
    assert "assert 1 == 2" in said


# --- a home for a test ------------------------------------------------------------------------------------------------


def test_runs_of_a_test_are_its_own_and_in_no_other_home(session: Session) -> None:
    code, said = session.run(
        """
        import subprocess, sys
        def test_one(holter_runs):
            hello("you")
            (run,) = holter_runs()
            assert (run.name, run.state, run.parameters) == ("hello", "COMPLETED", {"name": "you"})
            assert holter_runs.lines(run) == ["hello you"]
            assert holter_runs("other") == []
        def test_two(holter_home, holter_runs):
            assert holter_runs() == []
            subprocess.run([sys.executable, "-m", "holter", "run", "--name", "job", "--", "true"], check=True)
            hello("again")
            assert [run.name for run in holter_runs()] == ["job", "hello"]
            assert holter_runs() == holter_runs()
            assert holter_home.joinpath("holter.db").exists()
        def test_three(holter_runs):
            numbers.left = numbers()
            next(numbers.left)
            assert [run.state for run in holter_runs()] == ["RUNNING"]
        """
    )
    assert code == 0, said
    assert not session.folder.joinpath("home", ".holter").exists()


def test_what_is_open_around_a_test_goes_on_where_it_was(session: Session) -> None:
    code, said = session.run(
        """
        import holter
        from holter.agent.knobs import knobs
        @pytest.fixture(scope="module", autouse=True)
        def around():
            holter.configure(project="outer", heartbeat=1)
            @flow
            def outer():
                yield 1
            run = outer()
            next(run)
            yield
            list(run)
        def test_inside(holter_runs):
            assert knobs().project == "default" and knobs().heartbeat == 1
            hello("you")
            (run,) = holter_runs()
            assert (run.project, run.parent_id) == ("default", None)
        def test_outside():
            hello("all")
        """
    )
    assert code == 0, said
    runs = subprocess.run(
        [sys.executable, "-m", "holter", "runs", "--format", "csv"],
        env=session.environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "outer" in runs and "hello" in runs
    assert runs.count("COMPLETED") == 2 and "CRASHED" not in runs


@pytest.mark.parametrize("backend", ["off:", "memory:"])
def test_off_and_memory_leave_no_database(session: Session, backend: str) -> None:
    code, said = session.run(
        f"""
        @pytest.mark.parametrize("number", [1, 2])
        def test_it(holter_home, holter_runs, number):
            hello("you")
            assert len(holter_runs()) == {int(backend == "memory:")}
            assert not holter_home.joinpath("holter.db").exists()
            assert {backend == "memory:"} or list(holter_home.iterdir()) == []
        """,
        HOLTER_BACKEND=backend,
    )
    assert code == 0, said


def test_off_records_nothing_and_changes_nothing(session: Session) -> None:
    code, said = session.run(
        """
        calls = []
        @task(retries=2)
        def flaky():
            calls.append(1)
            if len(calls) < 3: raise ValueError(len(calls))
            return "done"
        @flow(timeout_seconds=5, log_prints=True)
        def job():
            print("said")
            return flaky(), [each.result() for each in flaky.map([])]
        def test_it(capsys):
            assert job() == ("done", [])
            assert len(calls) == 3 and capsys.readouterr().out == "said\\n"
        """,
        HOLTER_BACKEND="off:",
    )
    assert code == 0, said
    assert not session.folder.joinpath("home").exists()
