"""What the tables of the matrix share: a throw-away home, a script that really runs in it, and what it left there.

Every script begins with PREAMBLE, so the same text also runs without Holter (`plain=True`): a table compares the two.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from holter.agent.watchdog.adopt import catch_up
from holter.backends.base import Backend
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.records import Log, Run
from holter.backends.urls import open_backend

URL = "sqlite:///holter.db"
BOUND = 30.0  # seconds: how long anything may take before a test gives up on it
PREAMBLE = """\
import os, sys, time
if os.environ.get("PLAIN"):
    def flow(fn=None, **options):
        return fn or flow
    task = flow
else:
    from holter import flow, task
"""


class Done(NamedTuple):
    """What a finished process left. `code` is negative after a signal, as in `subprocess`."""

    code: int
    out: str
    err: str


class Home:
    """A HOLTER_HOME of its own, scripts that run in it, and their records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "home"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HOLTER_")}
        self.env = {**kept, "HOLTER_HOME": str(self.path)}
        self._started: list[subprocess.Popen[str]] = []
        self._store: Backend | None = None

    def script(self, text: str, name: str = "job.py", before: str = "") -> Path:
        """Write a script; `before` comes before anything of Holter's is imported."""
        path = self.folder / name
        path.write_text(textwrap.dedent(before) + PREAMBLE + textwrap.dedent(text))
        return path

    def settings(self, text: str) -> None:
        self.path.mkdir(mode=0o700, exist_ok=True)
        (self.path / "holter.yaml").write_text(textwrap.dedent(text))

    def start(self, command: list[str | Path], *, stdin: bool = False, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            cwd=self.folder,
            env={**self.env, **env},
        )
        self._started.append(process)
        return process

    def run(self, text: str, *args: str, plain: bool = False, before: str = "", **env: str) -> Done:
        """Run a script to its end; with `plain` it does without Holter."""
        process = self.start(
            [sys.executable, self.script(text, before=before), *args],
            **env,
            **({"PLAIN": "1"} if plain else {}),
        )
        out, err = process.communicate(timeout=BOUND)
        return Done(process.returncode, out, err)

    @property
    def store(self) -> Backend:
        if self._store is None:
            self._store = open_backend(URL, str(self.path))
        return self._store

    @property
    def every_run(self) -> list[Run]:
        """All runs, oldest first."""
        catch_up(str(self.path), self.store)
        return self.store.runs(RunQuery(limit=None))[::-1]

    @property
    def runs(self) -> dict[str, Run]:
        """The runs by name; the newest of those that share one."""
        return {run.name: run for run in self.every_run}

    def logs(self, run: Run) -> list[Log]:
        return self.store.logs(LogQuery(run.id, tree=False))

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Every file under the home, and its bytes."""
        for path in self.path.rglob("*"):
            if path.is_file():
                yield path, path.read_bytes()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """`holter watch` beside the block."""
        dog = self.start([sys.executable, "-m", "holter", "watch"])
        try:
            until(
                lambda: dog.poll() is not None or bool(self.store.list("pulse")), "the watchdog's first pulse"
            )
            yield
        finally:
            dog.terminate()
            dog.communicate(timeout=BOUND)

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate(timeout=BOUND)
        if self._store is not None:
            self._store.close()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and say what was waited for where it does not come."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, f"waited {BOUND:g} s for {what}"
        time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """One home for a whole table, where its rows run side by side."""
    home = Home(tmp_path_factory.mktemp("shared"))
    yield home
    home.close()


@pytest.fixture(name="until", scope="session")
def _until() -> Callable[[Callable[[], bool], str], None]:
    return until
