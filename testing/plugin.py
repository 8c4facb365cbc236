"""The pytest plugin: a home of its own for a test, the runs it recorded, and tests that leave none open.

It is loaded in every pytest of an environment that has Holter, so it loads nothing but itself, and does nothing unless
asked: by the fixtures `holter_home` and `holter_runs`, or by `holter_leaks = true` in the pytest settings, the option
`--holter-leaks` or the mark `holter_leaks`. Its hooks are none that need a recent pytest.
"""

from __future__ import annotations

import sys

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from .aside import Runs

_open_before: frozenset[str] = frozenset()  # ids; one test runs at a time


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "fail a test that leaves a run of Holter open"
    parser.addini("holter_leaks", text, type="bool", default=False)
    parser.getgroup("holter").addoption("--holter-leaks", action="store_true", help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "holter_leaks(wanted=True): fail the test if it leaves a run of Holter open; False: do not"
    )


@pytest.hookimpl(trylast=True)  # after the fixtures: what they hold open is not the test's
def pytest_runtest_setup() -> None:
    global _open_before
    _open_before = frozenset(_open_runs())


@pytest.hookimpl(trylast=True)  # after the test itself, and not where it failed
def pytest_runtest_call(item: pytest.Item) -> None:
    left = [run for key, run in _open_runs().items() if key not in _open_before]
    if left and _wanted(item):
        names = ", ".join(f"{run.kind} {run.name} ({run.id})" for run in left)
        pytest.fail(
            f"the test left {len(left)} run{'s' * (len(left) > 1)} open: {names}\n"
            "A run ends when its function returns: exhaust or close a generator, wait for futures and threads.",
            pytrace=False,
        )


def _open_runs() -> dict[str, Any]:
    """The open runs of this process by id; none where nothing was recorded, and nothing is loaded to find that out."""
    tape = sys.modules.get("holter.agent.tape")
    return {} if tape is None else dict(tape.process.runs)


def _wanted(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("holter_leaks")
    if mark is not None:
        return bool({"wanted": True, **dict(zip(("wanted",), mark.args)), **mark.kwargs}["wanted"])
    return bool(item.config.getoption("--holter-leaks") or item.config.getini("holter_leaks"))


@pytest.fixture
def holter_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own (a folder), for this process and those that it starts: nothing reaches `~/.holter`.

    Where records live is as ever, in SQLite in that home, unless HOLTER_BACKEND says `off:`, which records nothing, or
    `memory:`, which is as quick and gets a space of the test's own. Other HOLTER_* variables do not count; what
    `configure()` was told before does, but for home, backend and project. Runs that are open around the test go on
    where they were; what the test leaves open ends with it, as CRASHED.
    """
    from .aside import aside

    with aside(tmp_path / "holter_home", monkeypatch) as home:
        yield home


@pytest.fixture
def holter_runs(holter_home: Path) -> Iterator[Runs]:
    """What the test has recorded so far, in this process and in those that it started: `holter_runs()` is a list of
    `Run`, oldest first, `holter_runs("sync")` those of one name, `holter_runs.lines(run)` the texts that a run and all
    inside it said. With `off:` it is an empty list.
    """
    from .aside import Runs

    runs = Runs(holter_home)
    yield runs
    runs.close()
