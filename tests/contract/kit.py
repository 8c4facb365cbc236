"""What the contract suite is written with: places where stores open, tapes to send, and answers to compare."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from holter.backends.base import Backend
from holter.backends.clock import Clock
from holter.backends.errors import OffsetMismatch
from holter.backends.lines import encode
from holter.backends.records import Json, LogQuery, RunQuery
from holter.backends.urls import open_backend

NOON = 1_800_000_000.0  # when most histories begin
_numbers = count(1)


class HandClock(Clock):
    """A wall clock that stands still until a test sets it."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def wall(self) -> float:
        return self.now


class Place:
    """Where one store is. Every `open` is another handle on it; `close` closes them all.

    `shared` says whether other processes see it too.
    """

    def __init__(self, scheme: str, home: str) -> None:
        self.scheme, self.home, self.shared = scheme, home, scheme != "memory"
        self.url = {"memory": f"memory:{next(_numbers)}", "sqlite": "sqlite:///holter.db"}.get(
            scheme, "file:///store"
        )
        self.clock = HandClock()
        self.handles: list[Backend] = []

    def open(self, timeout: float | None = 10.0) -> Backend:
        self.handles.append(open_backend(self.url, self.home, clock=self.clock, timeout=timeout))
        return self.handles[-1]

    def close(self) -> None:
        for handle in self.handles:
            handle.close()
        self.handles.clear()

    def open_files(self) -> list[str]:
        """Files of this place that this process holds open."""
        found = []
        for number in os.listdir("/dev/fd"):
            try:
                found.append(os.readlink(f"/dev/fd/{number}"))
            except OSError:
                continue
        return [path for path in found if path.startswith(self.home)]


class Tape:
    """A journal as its process writes it. `at` is the process's clock; each event takes a second of it."""

    def __init__(self, journal: str = "j1", at: float = NOON, **header: Any) -> None:
        self.journal, self.at = journal, at
        self.lines: list[bytes] = []
        self.sent = 0
        header = {"host": "web-1", "pid": 42, "project": "shop", **header}
        self.say("process", journal=journal, **header)

    def say(self, event: str, **fields: Any) -> Tape:
        self.lines.append(encode({"event": event, "at": self.at, **fields}))
        self.at += 1.0
        return self

    def start(self, run: str, name: str = "etl", kind: str = "flow", **fields: Any) -> Tape:
        parent = {"parent": run.rpartition(".")[0]} if "." in run and "parent" not in fields else {}
        return self.say("start", run=run, kind=kind, name=name, **parent, **fields)

    def end(self, run: str, state: str = "COMPLETED", **fields: Any) -> Tape:
        return self.say("end", run=run, state=state, **fields)

    def ran(self, run: str, state: str = "COMPLETED", seconds: float = 1.0, **fields: Any) -> Tape:
        return self.start(run, **fields).end(run, state, seconds=seconds)

    def log(self, run: str, text: str, **fields: Any) -> Tape:
        return self.say("log", run=run, text=text, level="INFO", stream="log", **fields)

    def judge(self, run: str, **fields: Any) -> Tape:
        return self.say("judge", run=run, **fields)

    @property
    def data(self) -> bytes:
        return b"".join(self.lines)

    def send(self, store: Backend) -> int:
        """Append what this tape gained since the last `send`."""
        data = self.data
        self.sent = store.append(self.journal, self.sent, data[self.sent :])
        return self.sent


def push(store: Backend, journal: str, lines: list[bytes], size: int) -> None:
    """Send a whole journal in batches of `size` lines, as one of several senders who do not know of each other."""
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    at = 0
    while at < len(lines):
        batch = lines[at : at + size]
        try:
            stood = store.append(journal, starts[at], b"".join(batch))
        except OffsetMismatch as ahead:
            stood = ahead.expected
        at = starts.index(stood)


EVERYTHING = RunQuery(limit=None)


def answers(store: Backend) -> Json:
    """All that a store says of its runs, in plain data."""
    runs = store.runs(EVERYTHING)
    return {
        "runs": runs,
        "each": [store.run(run.id) for run in runs],
        "events": {run.id: store.events(run.id) for run in runs},
        "logs": {run.id: [log.to_json() for log in store.logs(LogQuery(run.id))] for run in runs},
        "summaries": store.summarize(EVERYTHING),
        "processes": store.processes(open_only=False),
        "open": store.processes(),
        "transitions": [
            (t.run_id, t.at, t.from_state, t.to_state, t.condition, t.reason) for t in outbox(store)
        ],
    }


def outbox(store: Backend) -> list[Any]:
    """All transitions, read page by page as the alerting side does."""
    found: list[Any] = []
    while page := store.transitions(found[-1].seq if found else 0, limit=7):
        found += page
    return found


def ids(store: Backend, **query: Any) -> list[str]:
    return [run.id for run in store.runs(RunQuery(**query))]


# --- processes -----------------------------------------------------------------------------------------------


def child(work: Callable[[], object]) -> int:
    """Fork a process that does `work` and exits 0, or 1 after an error, which it prints. Its pid."""
    with warnings.catch_warnings():  # other tests may have left threads, which a child does not use
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:  # it must never run on into the test runner
            sys.__stderr__.write(f"child: {error!r}\n")  # type: ignore[union-attr]
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """Wait for a child; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def running(work: Callable[[], object]) -> Iterator[int]:
    """A child that is killed at the end, if it is not over by then."""
    pid = child(work)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)
