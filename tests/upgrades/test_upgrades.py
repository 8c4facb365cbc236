"""What an earlier Holter wrote is read by this one, and what is too new is refused and not touched."""

from __future__ import annotations

import hashlib
import json
import pathlib
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from holter.backends.errors import StoreTooNew
from holter.backends.urls import open_backend

from ..ports import free_port
from .older import FIXTURES, STORES, Holter, tree

pytestmark = pytest.mark.proof

FROZEN = sorted(path.name.removesuffix(".tar.gz") for path in FIXTURES.glob("*.tar.gz"))
KEPT = (
    "id kind name project state parent_id root_id attempt attempts parameters result tags error created_at "
    "started_at ended_at duration_seconds host pid user argv cwd exit_code signal progress artifacts"
).split()
OLD = "c5b95898c8ac80ac4e1f41b129d3e5fad81ecf3c"  # the first whose dependencies are today's


def home_of(name: str, store: str, folder: pathlib.Path) -> tuple[Holter, Any]:
    """A home as the Holter of that time left it, with this one on it; and what that one said of its runs."""
    with tarfile.open(FIXTURES / f"{name}.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    holter = Holter(installed(), folder / store, STORES[store])
    return holter, json.loads((holter.home / "told.json").read_text())


def installed() -> pathlib.Path:
    """Where `import holter` finds this one, put first so that the tests' own path does not matter."""
    import holter

    return pathlib.Path(holter.__file__).parents[1]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", FROZEN)
def test_runs_of_an_earlier_version_are_what_they_were(
    name: str, store: str, tmp_path: pathlib.Path, proof: Any
) -> None:
    holter, told = home_of(name, store, tmp_path)
    now = holter.told()
    runs = {run["id"]: run for run in now["runs"]}
    for old in told["runs"]:
        new = runs.pop(old["id"])
        assert {key: new[key] for key in KEPT if key in old} == {key: old[key] for key in KEPT if key in old}
        assert now["logs"][old["id"]] == told["logs"][old["id"]]
        proof.count(1, "runs read as they were")
    assert {(run["name"], run["state"]) for run in runs.values()} == {
        ("killed", "CRASHED"),
        ("step", "CRASHED"),
    }
    proof.count(1, "journals of earlier versions adopted")
    holter.work()
    assert holter.verb("doctor", "--json").returncode in (0, 1)
    assert len(holter.told()["runs"]) == 2 * len(told["runs"]) + 2


@pytest.mark.parametrize("store", STORES)
def test_a_store_from_the_future_is_refused_with_a_hint_and_not_touched(
    store: str, tmp_path: pathlib.Path, proof: Any
) -> None:
    holter, _ = home_of(FROZEN[-1], store, tmp_path)
    assert holter.verb("runs").returncode == 0  # all is adopted, the store is of today
    if store == "sqlite":
        with sqlite3.connect(holter.home / "holter.db") as db:
            db.execute("PRAGMA user_version=99")
        db.close()
    else:
        (said,) = [
            path for path in (holter.home / "records").rglob("*") if path.is_file() and is_format(path)
        ]
        said.write_text(json.dumps({**json.loads(said.read_text()), "format": 99}))
    before = content(holter.home)
    for verb in (["runs"], ["report"], ["prune", "--yes", "--days", "0"], ["watch", "--once"]):
        done = holter.verb(*verb)
        assert done.returncode != 0, verb
        assert "Traceback" not in done.stderr
        assert "upgrade holter" in done.stderr, done.stderr
        proof.count(1, "verbs on a store of the future")
    assert holter.python("from holter import flow\nflow(lambda: print('done'))()") == 0
    after = content(holter.home)
    assert {path: after[path] for path in before} == before
    with pytest.raises(StoreTooNew, match="upgrade"):
        open_backend(STORES[store], str(holter.home))


def is_format(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        return (
            file.read(200).startswith(b"{")
            and b'"format"' in path.read_bytes()[:200]
            and path.stat().st_size < 500
        )


def content(home: pathlib.Path) -> dict[str, str]:
    """The stored bytes, without what every reader may make anew beside them."""
    kept = [
        path
        for path in home.rglob("*")
        if (path.is_file() and "holter.db" in path.name) or "records" in path.parts
    ]
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in kept
        if path.is_file() and not path.name.endswith(("-shm", "-wal", ".lock"))
    }


@contextmanager
def collector(holter: Holter) -> Iterator[str]:
    """`holter serve` of that Holter, until it answers; its URL."""
    import socket

    port = free_port()
    command = [sys.executable, "-m", "holter", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=holter.env, cwd=holter.home, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.parametrize("ages", ["an old client of a new collector", "a new client of an old collector"])
def test_client_and_collector_of_different_ages_understand_each_other(
    ages: str, tmp_path: pathlib.Path, proof: Any
) -> None:
    try:
        old = tree(OLD, tmp_path / "tree")
    except LookupError as error:
        pytest.skip(f"{error}: to install the history, git fetch --unshallow")
    sides = (old, installed()) if ages.startswith("an old") else (installed(), old)
    with collector(Holter(sides[1], tmp_path / "server", STORES["sqlite"])) as url:
        client = Holter(sides[0], tmp_path / "client", url)
        client.work()
        told = client.told()
    states = sorted((run["name"], run["state"]) for run in told["runs"])
    assert states == [
        ("broken", "FAILED"),
        ("command", "FAILED"),
        *[("fetch", "COMPLETED")] * 3,
        ("nightly", "COMPLETED"),
    ]
    (nightly,) = (run for run in told["runs"] if run["name"] == "nightly")
    assert any("grüße, 漢字" in line["text"] for line in told["logs"][nightly["id"]])
    proof.count(len(told["runs"]), "runs over a wire between ages")
