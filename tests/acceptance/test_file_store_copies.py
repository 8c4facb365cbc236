"""A folder of records may be copied at any moment, while others write to it: the copy is a store of that moment."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from holter.backends.base import Backend
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.urls import open_backend
from holter.testing.processes import running
from holter.testing.tapes import EVERYTHING, Tape, push

RUNS, LINES, COPIES = 40, 40, 8
URL = "file:///store"


def tape_of(writer: int) -> Tape:
    """A journal of runs that go on side by side, so that one batch touches many files."""
    tape = Tape(f"j{writer}")
    names = [f"w{writer}r{number:02}" for number in range(RUNS)]
    for name in names:
        tape.start(name).start(f"{name}.a", "fetch", "task")
    for number in range(LINES):
        for name in names:
            tape.log(name if number % 2 else f"{name}.a", f"line {number}")
    for name in names:
        tape.end(f"{name}.a").end(name)
    return tape


ALL = 4 * len(tape_of(0).data)


def write(home: str, writer: int, size: int) -> None:
    tape = tape_of(writer)
    push(open_backend(URL, home), tape.journal, tape.lines, size)


def lines_in(store: Backend) -> int:
    """Every run is as it was at some moment: its lines up to one, its end behind all of them. How many lines."""
    found = 0
    for run in store.runs(EVERYTHING):
        lines = [each.text for each in store.logs(LogQuery(run.id, tree=False))]
        odd = run.parent_id is None
        assert lines == [f"line {number}" for number in range(odd, LINES, 2)][: len(lines)], run.id
        assert run.log_lines == len(lines)
        assert run.state == "RUNNING" or (run.state == "COMPLETED" and len(lines) == LINES // 2)
        found += len(lines)
    return found


def wait_for(store: Backend, size: int) -> None:
    """Until the store has more than so many bytes of the journals; their writers do not wait for us."""
    begun = time.monotonic()
    while sum(each.offset for each in store.processes()) <= size:
        assert time.monotonic() < begun + 60


def by_command(*command: str) -> Callable[[Path, Path], None]:
    def act(store: Path, into: Path) -> None:
        # A file may vanish meanwhile.
        subprocess.run([*command, str(store), str(into)], check=False, timeout=60)

    return act


def one_after_the_other(first: str) -> Callable[[Path, Path], None]:
    """As slow tools do: one kind of files when they are young, the other when they are old."""

    def act(store: Path, into: Path) -> None:
        found = [path for path in store.rglob("*") if path.is_file()]
        for path in sorted(found, key=lambda path: (path.relative_to(store).parts[0] != first, str(path))):
            copied = into / path.relative_to(store.parent)
            copied.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                shutil.copyfile(path, copied)

    return act


TOOLS = {
    "cp": by_command("cp", "-r"),
    "runs first": one_after_the_other("runs"),
    "journals first": one_after_the_other("journals"),
    "index first": one_after_the_other("index.db"),
    "rsync": by_command("rsync", "-a"),
}


@pytest.mark.parametrize(
    "tool", [pytest.param(tool, marks=[pytest.mark.long] if tool != "cp" else []) for tool in TOOLS]
)
def test_a_copy_taken_at_any_moment_is_a_store_that_is_whole(tool: str, tmp_path: Path) -> None:
    if tool == "rsync" and shutil.which("rsync") is None:
        pytest.skip("install rsync: apt-get install rsync")
    home = tmp_path / "home"
    home.mkdir()
    truth = open_backend(URL, str(home))
    with ExitStack() as writers:
        for writer, size in enumerate((1, 7, 60, 200)):
            writers.enter_context(running(partial(write, str(home), writer, size)))
        for number in range(COPIES):
            wait_for(truth, number * ALL // COPIES)
            (copy := tmp_path / f"copy{number}").mkdir()
            TOOLS[tool](home / "store", copy)
    truth.close()
    seen = []
    for number in range(COPIES):
        store = open_backend(URL, str(tmp_path / f"copy{number}"))
        seen.append(lines_in(store))
        assert store.check()["ok"], store.check()
        Tape("new").ran("new").send(store)  # and it can be written to
        assert len(store.runs(RunQuery(prefix="new"))) == 1
        store.close()
    assert len(set(seen)) > 1, "the copies were all taken before, or after, everything"


def test_who_ships_to_a_copy_goes_on_where_it_stands(tmp_path: Path) -> None:
    """Of a moment at which nobody wrote."""
    (home := tmp_path / "home").mkdir()
    tape = tape_of(0)
    push(store := open_backend(URL, str(home)), tape.journal, tape.lines[:300], 50)
    store.close()
    shutil.copytree(home, tmp_path / "copy")
    store = open_backend(URL, str(tmp_path / "copy"))
    push(store, tape.journal, tape.lines, 70)
    assert lines_in(store) == RUNS * LINES
    assert {run.state for run in store.runs(EVERYTHING)} == {"COMPLETED"}
    store.close()
