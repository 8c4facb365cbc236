"""What the tests of the recording side share: one home for this process, and what a call left in its store.

A process has one journal, so the tests of a session share it; each looks only at the runs of its own calls. What needs
a process of its own (signals, exits, forks, imports) starts one: `python(text)`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import holter
from holter.agent import recorder
from holter.agent.watchdog.adopt import catch_up
from holter.backends.base import Backend
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.records import Log, Run
from holter.backends.urls import open_backend

URL = "sqlite:///holter.db"


class Recorded:
    """What was recorded while `with record() as made:` was open. Runs are oldest first."""

    def __init__(self, home: Path, store: Backend) -> None:
        self._home = home
        self._store = store
        self._since = time.time() - 2e-6

    @property
    def runs(self) -> list[Run]:
        catch_up(str(self._home), self._store)
        found = self._store.runs(RunQuery(since=self._since, limit=None))
        return sorted(found, key=lambda run: (run.root_id, run.created_at, len(run.id), run.id))

    @property
    def run(self) -> Run:
        (found,) = self.runs
        return found

    def named(self, name: str) -> Run:
        (found,) = [run for run in self.runs if run.name == name]
        return found

    @property
    def states(self) -> dict[str, str]:
        return {run.name: run.state for run in self.runs}

    def logs(self, run: Run, tree: bool = False) -> list[Log]:
        return self._store.logs(LogQuery(run.id, tree=tree))

    def lines(self, run: Run, tree: bool = False) -> list[str]:
        return [log.text for log in self.logs(run, tree)]


@pytest.fixture(scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    held = os.environ.copy()
    for name in [name for name in os.environ if name.startswith("HOLTER_")]:
        del os.environ[name]
    holter.configure(home=str(home), backend=URL, project="default")
    yield home
    os.environ.update(held)
    recorder._at_exit()


@pytest.fixture(scope="session")
def _store(_home: Path) -> Iterator[Backend]:
    store = open_backend(URL, str(_home))
    yield store
    store.close()


@pytest.fixture
def record(_home: Path, _store: Backend) -> Callable[[], Recorded]:
    """Begin to look: what begins after `made = record()` is in `made`."""
    return lambda: Recorded(_home, _store)


@pytest.fixture
def made(record: Callable[[], Recorded]) -> Recorded:
    return record()


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script in a process of its own, with a home of its own (`tmp_path/home`)."""

    def run(text: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "job.py"
        script.write_text(textwrap.dedent(text))
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("HOLTER_", "PYTHONDONT"))
        }
        return subprocess.run(
            [sys.executable, str(script), *args],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**kept, "HOLTER_HOME": str(tmp_path / "home"), **env},
        )

    return run


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """What the scripts of `python` left in their home."""
    stores: list[Backend] = []

    def look() -> Recorded:
        stores.append(open_backend(URL, str(tmp_path / "home")))
        look_at = Recorded.__new__(Recorded)
        look_at._home, look_at._store, look_at._since = tmp_path / "home", stores[-1], 0.0
        return look_at

    yield look
    for store in stores:
        store.close()
