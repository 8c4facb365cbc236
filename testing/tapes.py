"""Tapes to send, and answers to compare."""

from __future__ import annotations

from typing import Any

from ..backends.base import Backend
from ..backends.errors import OffsetMismatch
from ..backends.lines import encode
from ..backends.queries import LogQuery, RunQuery
from ..backends.records import Json
from .places import NOON, Place


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


def send_all(place: Place, tape: Tape, size: int) -> None:
    """`push` through a handle of its own, as another process does."""
    push(place.open(), tape.journal, tape.lines, size)


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
        "newest": store.newest(EVERYTHING, 2),
        "timeline": store.timeline(EVERYTHING, 60.0),
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
