"""Holters of the past: their trees from the history, and homes as they left them.

`python -m tests.upgrades.older COMMIT NAME` makes the fixture `fixtures/NAME.tar.gz` by that commit's Holter: for the
stores of one host a home each, with runs of every kind in it and one that was killed, and what that Holter said of it.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
FIXTURES = pathlib.Path(__file__).parent / "fixtures"
STORES = {"sqlite": "sqlite:///holter.db", "file": "file:///records"}
SCRIPT = """
from holter import artifact, flow, get_run_logger, progress, tags, task

@task(retries=2, retry_delay_seconds=0)
def fetch(page):
    fetch.tries = getattr(fetch, "tries", 0) + 1
    print("page", page, "try", fetch.tries)
    if fetch.tries == 1:
        raise ConnectionError("no route to host")
    return page * 2

@flow(log_prints=True, tags=["old"])
def nightly(pages, password="hunter2"):
    with tags("more"):
        out = [fetch(page) for page in pages]
    progress(len(out), len(out))
    artifact("summary", markdown="**all** of it")
    get_run_logger().warning("grüße, 漢字")
    return out

@flow
def broken():
    raise ValueError("bad")

print(nightly([1, 2, 3]))
try:
    broken()
except ValueError:
    pass
"""
KILLED = """
import os, signal
from holter import flow, task

@task
def step():
    print("in the middle", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

@flow(log_prints=True)
def killed():
    step()

killed()
"""


class Holter:
    """A Holter whose package lies in `tree`, on a home and a store of its own."""

    def __init__(self, tree: pathlib.Path, home: pathlib.Path, backend: str) -> None:
        self.home = home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLTER_")}
        self.env = {**kept, "PYTHONPATH": str(tree), "HOLTER_HOME": str(home), "HOLTER_BACKEND": backend}

    def python(self, text: str) -> int:
        """Run a script; its exit code."""
        return subprocess.run(
            [sys.executable, "-c", text], env=self.env, cwd=self.home, timeout=60
        ).returncode

    def verb(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `holter WORDS`. Its exit code is left to the caller: an unkown verb is one of the answers."""
        command = [sys.executable, "-m", "holter", *words]
        return subprocess.run(
            command, env=self.env, cwd=self.home, timeout=60, capture_output=True, text=True
        )

    def json(self, *words: str) -> Any:
        done = self.verb(*words, "--json")
        if done.returncode not in (0, 1):
            raise AssertionError(done.stderr)
        return json.loads(done.stdout)

    def work(self) -> None:
        """Runs of every kind."""
        assert self.python(SCRIPT) == 0
        assert (
            self.verb(
                "run", "--name", "command", "--", "sh", "-c", "echo out; echo err >&2; exit 3"
            ).returncode
            == 3
        )

    def told(self) -> dict[str, Any]:
        """All runs by name, and what each root run said."""
        runs = [
            self.json("show", each["id"]) for kind in ("flow", "task", "command") for each in self._of(kind)
        ]
        return {"runs": runs, "logs": {each["id"]: self._lines(each["id"]) for each in runs}}

    def _of(self, kind: str) -> list[Any]:
        found = self.json("runs", "--kind", kind, "--limit", "1000")
        return list(found["runs"] if isinstance(found, dict) else found)

    def _lines(self, run: str) -> list[Any]:
        found = self.json("logs", run)
        return list(found["logs"] if isinstance(found, dict) else found)


def tree(commit: str, folder: pathlib.Path) -> pathlib.Path:
    """What must be on PYTHONPATH to import that commit's holter. Raises LookupError where the history lacks it."""
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if packed.returncode:
        raise LookupError(f"no commit {commit} in this checkout's history")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
        tar.extractall(folder / "holter", filter="data")
    return folder


def make(commit: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        old = tree(commit, place / "tree")
        with tarfile.open(FIXTURES / f"{name}.tar.gz", "w:gz") as tar:
            for store, url in STORES.items():
                holter = Holter(old, place / store, url)
                holter.work()
                told = holter.told()
                (holter.home / "told.json").write_text(json.dumps({"commit": commit, **told}, indent=1))
                assert holter.python(KILLED) == -signal.SIGKILL  # nobody has adopted its journal
                tar.add(holter.home, store)


if __name__ == "__main__":
    make(*sys.argv[1:])
