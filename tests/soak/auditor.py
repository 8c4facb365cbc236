"""Reads the store while it is written, as a dashboard does, and notes how every run ended before it is forgotten."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from holter.backends.base import Backend
from holter.backends.clock import root_of, time_of
from holter.backends.errors import StorageError
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.records import Run, Transition
from holter.backends.states import ENDINGS

from .truth import Seen, Step

PAGE = 1000
EVERY = 0.3  # seconds between looks when there was nothing new
MARGIN = 5.0  # seconds before a run may be forgotten in which it is not looked at any more


class Auditor(threading.Thread):
    """`seen` are the runs that ended and were looked at, by id, `open` counts those that have not, `late` those that
    were forgotten before, `lag` is (when, seconds) from an ending to its being stored. `kept_for`: seconds of
    retention. `strays` is what should not have happened."""

    def __init__(self, open_store: Callable[[], Backend], kept_for: float, every: float = EVERY) -> None:
        super().__init__(daemon=True)
        self._open_store, self._kept_for, self._every = open_store, kept_for, every
        self.seen: dict[str, Seen] = {}
        self.late: list[str] = []
        self.strays: list[str] = []
        self.lag: list[tuple[float, float]] = []
        self.events = 0
        self._after = 0
        self._told: dict[str, dict[str, list[str]]] = {}
        self._ended: dict[str, float] = {}  # and when the store had it
        self._over = threading.Event()

    @property
    def open(self) -> int:
        return len(self._told)

    def created(self) -> dict[str, float]:
        return {run: time_of(run) or 0.0 for run in self.seen}

    def finish(self) -> None:
        self._over.set()
        self.join(30.0)

    def run(self) -> None:
        store = self._open_store()
        while not self._over.is_set():
            more = False
            with suppress(StorageError):  # the collector is being restarted: the same again
                more = self.look(store)
            if not more:
                self._over.wait(self._every)
        store.close()

    def look(self, store: Backend) -> bool:
        """One page of what happened, and all runs that had ended by then; whether there may be more."""
        page = store.transitions(self._after, PAGE)
        for row in page:
            self._take(row)
            self._after = row.seq
        # Of a transaction, in which a root run comes before what is below it, all is read first.
        if len(page) == PAGE:
            return True
        for root, stored_at in list(self._ended.items()):
            self._audit(store, root, stored_at)
            del self._ended[root]
        return False

    def _take(self, row: Transition) -> None:
        root = root_of(row.run_id)
        if root in self.seen:
            self.strays.append(f"{row.run_id}: {_words(row)} after its root run had ended")
            return
        self._told.setdefault(root, {}).setdefault(row.run_id, []).append(_words(row))
        if row.run_id == root and row.condition is None and row.to_state in ENDINGS:
            self._ended.setdefault(root, row.at)

    def _audit(self, store: Backend, root: str, stored_at: float) -> None:
        runs = store.runs(RunQuery(root_id=root, limit=None))
        lines = [(line.run_id, line.text) for line in store.logs(LogQuery(root))]
        events = Counter(str(event["event"]) for event in store.events(root))
        told = self._told[root]
        age = time.time() - (time_of(root) or 0.0)
        if age > self._kept_for - MARGIN:
            self.late.append(root)
        elif not runs:
            self.strays.append(f"{root}: forgotten at the age of {age:.0f} s")
        else:
            self.seen[root] = seen_as(root, runs, lines, events, told)
            self.events += sum(events.values()) + len(lines) + 2 * (len(runs) - 1)
            self.lag += [
                (stored_at, stored_at - run.ended_at) for run in runs if run.id == root and run.ended_at
            ]
        del self._told[root]


def _words(row: Transition) -> str:
    return row.condition or row.to_state


def seen_as(
    root: str,
    runs: list[Run],
    lines: list[tuple[str, str]],
    events: Counter[str],
    told: dict[str, list[str]],
) -> Seen:
    """The run with all that is below it, as the store answered."""
    states, count = {run.id: run.state for run in runs}, Counter(run for run, _ in lines)
    steps = {f"{root}.{number}": f"line {number}" for number in range(1, len(runs))}
    odd = (
        [f"has the runs {sorted(states)}"] if {root, *steps} != set(states) or len(states) < len(runs) else []
    )
    odd += [f"{run} has the line {text!r}" for run, text in lines if steps.get(run) != text]
    if (
        sorted(events) not in (["end", "start"], ["judge", "start"], ["end", "judge", "start"])
        or max(events.values()) > 1
    ):
        odd.append(f"has the events {dict(events)}")
    for run, state in states.items():
        if told.get(run) not in ([state], ["RUNNING", state]):  # of what arrives together the outcome is told
            odd.append(f"{run} is {state}, and it was told: {told.get(run)}")
    own = next((run for run in runs if run.id == root), runs[0])
    done = tuple(Step(states.get(each, "missing"), count[each]) for each in steps)
    return Seen(own.name, own.pid, states.get(root, "missing"), done, tuple(odd))
