"""A store that raises, hangs, is slow, is full, vanishes half-way and comes back: the script does not notice.

Its result, exceptions, exit code and standard output are those of the same script without Holter, its standard error
has one line more at most, and all of that takes two seconds longer at most. What the store did not take, it gets later,
exactly once. First with a store of somebody else's, installed as such, then with the real ones.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

import pytest

from holter.agent.watchdog.adopt import catch_up
from holter.backends.base import Backend
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.urls import open_backend

ADDED = 2.0  # seconds that recording may cost a process, whatever its store does
NOISE = 0.5  # seconds that the same script takes now more and now less on a busy machine
URL = "contrary:///holter.db"
BODY = """
@task(retries=1)
def step(n):
    print("step", n)
    return n * n
@flow(log_prints=True)
def main(): return sum(step(n) for n in range(20))
class Own(Exception): pass
error = Own("one object")
@flow
def broken(): raise error
@flow
def leave(): sys.exit(7)

print(main())
try: broken()
except Own as caught: print(caught is error, caught.args)
if "WAIT" in os.environ:
    while not os.path.exists(os.environ["MARK"]): time.sleep(0.02)
print("end", flush=True)
leave()
"""
RAISING = [
    "raises StorageError", "raises OSError", "is full", "has a bug", "raises MemoryError", "raises SystemExit",
    "panics", "recurses", "is slow",
]  # fmt: skip
ROWS: list[tuple[str, str, dict[str, int]]] = (
    [(op, fault, {}) for op in ("open", "append", "close") for fault in [*RAISING, "hangs"]]
    + [("import", fault, {}) for fault in ("is not there", "lacks the class", "has a bug", "panics", "hangs")]
    + [("open", "takes other arguments", {}), ("append", "raises TimeoutError", {})]
    + [
        ("append", fault, {})
        for fault in (
            "says it is elsewhere", "takes it, and hangs", "takes it, and the answer is lost",
            "answers nothing", "answers nonsense", "answers text",
        )
    ]
    + [("append", fault, {"after": 1}) for fault in ("raises StorageError", "has a bug", "hangs")]
    + [(op, fault, {"times": 1}) for op in ("open", "append") for fault in ("raises OSError", "has a bug")]
)  # fmt: skip


def name_of(row: tuple[str, str, dict[str, int]]) -> str:
    op, fault, when = row
    tail = " half-way" if "after" in when else " and comes back" if "times" in when else ""
    return f"{op} {fault}{tail}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A distribution that brings the contrary store, found by its entry point."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copy(Path(__file__).with_name("scripts_contrary.py"), folder / "contrary.py")
    info = folder / "contrary-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: contrary\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[holter.backends]\ncontrary = contrary:Contrary\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


def beside(folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


def timed(home: Any, **env: str) -> tuple[Any, float]:
    began = time.perf_counter()
    done = home.run(BODY, **env)
    return done, time.perf_counter() - began


@pytest.fixture(scope="module")
def plain(shared: Any) -> tuple[Any, float]:
    """What the script is without Holter: what it says, and seconds (median of three)."""
    done, took = zip(*(timed(shared, PLAIN="1") for _ in range(3)), strict=True)
    return done[0], statistics.median(took)


def test_where_nothing_is_wrong_nothing_is_said_and_nothing_left(
    home: Any, installed: Path, plain: tuple[Any, float]
) -> None:
    done, _ = timed(home, PYTHONPATH=beside(installed), HOLTER_BACKEND=URL)
    assert done == plain[0]
    assert not list((home.path / "journals").iterdir())
    with healthy(URL, home) as store:
        everything_is_there_once(store)


OFTEN_MET = ("hangs", "has a bug", "is not there")  # elsewhere than in append, all of which are tried


def table() -> list[Any]:
    return [
        pytest.param(
            row,
            id=name_of(row),
            marks=[] if row[0] == "append" or row[1] in OFTEN_MET or row[2] else [pytest.mark.long],
        )
        for row in ROWS
    ]


@pytest.mark.parametrize("row", table())
def test_whatever_a_store_does_the_script_is_what_it_is_without(
    home: Any, installed: Path, plain: tuple[Any, float], row: tuple[str, str, dict[str, int]]
) -> None:
    op, fault, when = row
    env = {
        "PYTHONPATH": beside(installed),
        "HOLTER_BACKEND": URL,
        "CONTRARY": json.dumps({"op": op, "fault": fault, **when}),
        "MARK": str(home.folder / "mark"),
        "HOLTER_HEARTBEAT": "0.2",  # so that there is something more to send before long
        **({"WAIT": "1"} if when else {}),
    }
    expected, without = plain
    tries = []
    for _ in range(3 if fault == "hangs" and op == "append" and not when else 1):
        done, took = timed(home, **env)
        tries.append(took)
        assert (done.code, done.out) == (expected.code, expected.out), done.err
        ours = [line for line in done.err.splitlines() if line]
        assert len(ours) <= 1, done.err
        assert all(line.startswith("holter: ") for line in ours)
    if not when:  # that one waits for the store on purpose
        assert statistics.median(tries) - without < ADDED + NOISE
    with healthy(URL, home) as store:
        everything_is_there_once(store, len(tries))
    assert not list((home.path / "journals").iterdir())


@contextmanager
def healthy(url: str, home: Any) -> Iterator[Backend]:
    store = open_backend(url, str(home.path))
    try:
        adopted = catch_up(str(home.path), store)
        assert (adopted.crashed, adopted.damaged, adopted.waiting) == (0, 0, 0), adopted.faults
        yield store
    finally:
        store.close()


def everything_is_there_once(store: Backend, times: int = 1) -> None:
    runs = store.runs(RunQuery(limit=None))
    states = Counter((run.name, run.state) for run in runs)
    assert states == {
        ("main", "COMPLETED"): times,
        ("step", "COMPLETED"): 20 * times,
        ("broken", "FAILED"): times,
        ("leave", "FAILED"): times,
    }
    for main in (run for run in runs if run.name == "main"):
        lines = [log.text for log in store.logs(LogQuery(main.id, tree=True))]
        assert lines == [f"step {n}" for n in range(20)]
    for run in runs:
        events = [event["event"] for event in store.events(run.id)]
        assert (events.count("start"), events.count("end")) == (1, 1)


# --- the real stores ---

STORES = {"sqlite": "sqlite:///{}/holter.db", "file": "file:///{}/runs"}
HALVES = """
@task(log_prints=True)
def step(n): print("line", n)
@flow
def main():
    for n in range(10): step(n)
    print("half", flush=True)
    sys.stdin.readline()
    for n in range(10, 20): step(n)
    print("whole", flush=True)
    sys.stdin.readline()
main()
sys.exit(3)
"""


def locked(place: Path, stack: ExitStack) -> None:
    """Somebody holds every lock that there is, and does not let go."""
    for path in place.rglob("*"):
        if path.is_file() and path.suffix != ".db":
            flock(stack.enter_context(path.open("rb")), LOCK_EX)
    if (place / "holter.db").exists():
        holder = sqlite3.connect(place / "holter.db", isolation_level=None)
        stack.callback(holder.close)
        holder.execute("BEGIN EXCLUSIVE")
        stack.callback(holder.execute, "ROLLBACK")


def deleted(place: Path, stack: ExitStack) -> None:
    for path in list(place.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def removed(place: Path, stack: ExitStack) -> None:
    shutil.rmtree(place)


def in_the_way(place: Path, stack: ExitStack) -> None:
    """A file where the folder was."""
    shutil.rmtree(place)
    place.write_text("not a folder")
    stack.callback(place.unlink)


def filled(place: Path, stack: ExitStack) -> None:
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 1024):
            continue
    stack.callback(ballast.unlink)


def forbidden(place: Path, stack: ExitStack) -> None:
    """Every permission is taken away, and given back later."""
    for path in [*sorted(place.rglob("*"), reverse=True), place]:
        stack.callback(path.chmod, path.stat().st_mode & 0o777)
        path.chmod(0)


def read_only(place: Path, stack: ExitStack) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    stack.callback(subprocess.run, ["mount", "-o", "remount,rw", str(place)], check=True)


BREAKAGES = {
    "is locked": locked,
    "is deleted": deleted,
    "loses its folder": removed,
    "has a file in the way of its folder": in_the_way,
    "is on a full disk": filled,
    "may not be touched any more": forbidden,
}

OFTEN = ("is locked", "is deleted", "is on a full disk")


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Where the store is; on a small disk of its own where the row fills it or makes it read-only."""
    place = tmp_path / "store"
    place.mkdir()
    if not getattr(request, "param", False):
        yield place
        return
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True
    )
    if made.returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def unprivileged() -> list[str]:
    """What takes root's right to ignore permissions from a command."""
    if os.getuid() != 0:
        return []
    tool = shutil.which("setpriv")
    if tool is None:
        pytest.skip("needs setpriv (install util-linux)")
    return [tool, "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]


@pytest.mark.parametrize(
    ("name", "place", "healed"),
    [
        pytest.param(name, name == "is on a full disk", healed, id=f"{name}, {healed}", marks=marks)
        for healed in ("after its end", "while it lives")
        for name in BREAKAGES
        for marks in [[pytest.mark.long] if healed == "while it lives" and name not in OFTEN else []]
    ],
    indirect=["place"],
)
@pytest.mark.parametrize("kind", STORES)
def test_a_store_that_breaks_under_the_script_gets_everything_later(
    home: Any, until: Any, place: Path, unprivileged: list[str], kind: str, name: str, healed: str
) -> None:
    url = STORES[kind].format(place)
    process = home.start([*unprivileged, sys.executable, home.script(HALVES)], stdin=True, HOLTER_BACKEND=url)
    heard(process, "half", 10)
    until(lambda: has_lines(url, home, 10), "the first half in the store")
    with ExitStack() as stack:
        BREAKAGES[name](place, stack)
        process.stdin.write("go on\n")
        process.stdin.flush()
        heard(process, "whole", 10)
        if healed == "while it lives":
            stack.close()
            until(lambda: has_lines(url, home, 20), "all of it in the store")
        began = time.perf_counter()
        out, err = process.communicate("the end\n", timeout=30)
        assert time.perf_counter() - began < ADDED + NOISE
        assert (process.returncode, out) == (3, "")
        assert err.count("\n") <= 1, err
    both_halves_are_there_once(url, home)


def heard(process: Any, word: str, lines: int) -> None:
    said = [process.stdout.readline() for _ in range(lines + 1)]
    assert said[-1] == f"{word}\n"


def has_lines(url: str, home: Any, number: int) -> bool:
    """Whether that many lines are in the store; nothing is carried there on the way."""
    store = open_backend(url, str(home.path))
    try:
        runs = store.runs(RunQuery(job="main"))
        return len(runs) == 1 and len(store.logs(LogQuery(runs[0].id, tree=True))) == number
    finally:
        store.close()


def both_halves_are_there_once(url: str, home: Any) -> None:
    with healthy(url, home) as store:
        runs = store.runs(RunQuery(limit=None))
        assert Counter((run.name, run.state) for run in runs) == {
            ("main", "COMPLETED"): 1,
            ("step", "COMPLETED"): 20,
        }
        [main] = [run for run in runs if run.name == "main"]
        assert [log.text for log in store.logs(LogQuery(main.id, tree=True))] == [
            f"line {n}" for n in range(20)
        ]
    assert not list((home.path / "journals").iterdir())


@pytest.mark.parametrize(
    ("how", "place"),
    [(read_only, True), (filled, True), (in_the_way, False), (forbidden, False)],
    indirect=["place"],
)
@pytest.mark.parametrize("kind", STORES)
def test_a_store_that_cannot_be_used_from_the_start_gets_everything_later(
    home: Any, place: Path, unprivileged: list[str], kind: str, how: Callable[[Path, ExitStack], None]
) -> None:
    url = STORES[kind].format(place)
    with ExitStack() as stack:
        how(place, stack)
        process = home.start(
            [*unprivileged, sys.executable, home.script(HALVES)], stdin=True, HOLTER_BACKEND=url
        )
        began = time.perf_counter()
        out, err = process.communicate("go on\nthe end\n", timeout=30)
        assert time.perf_counter() - began < 1.0 + ADDED + NOISE
        assert (process.returncode, out.count("line"), out.splitlines()[-1]) == (3, 20, "whole")
        assert err.count("\n") <= 1, err
    both_halves_are_there_once(url, home)
