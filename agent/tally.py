"""Do two stores hold the same history? Counts, and checksums over all that readers can see of it."""

from __future__ import annotations

import hashlib
from json import dumps

from attrs import asdict, define, fields, frozen

from ..backends.base import Backend
from ..backends.clock import root_of
from ..backends.queries import LogQuery, RunQuery
from ..backends.records import Json, Run

_FIELDS = tuple(each.name for each in fields(Run))


@frozen
class Tally:
    """What one store holds of a history: counts, and a checksum over runs, events, lines and transitions."""

    runs: int
    events: int
    lines: int
    transitions: int
    checksum: str


@frozen
class Copied:
    """What a copy did. `runs`: how many were new, or lacked something; `source`, `target`: what each side holds of the
    source's runs; `differ`: root runs that are not the same; `live`: how many of the others are live, and may go on."""

    runs: int
    source: Tally
    target: Tally
    differ: tuple[str, ...]
    live: int

    @property
    def ok(self) -> bool:
        return not self.differ

    def to_json(self) -> Json:
        return {**asdict(self), "ok": self.ok}


@define
class _Side:
    store: Backend
    runs: int = 0
    events: int = 0
    lines: int = 0
    transitions: int = 0
    checksum: int = 0

    def take(self, root: str) -> tuple[int, bool]:
        """Count in a root run with all that belongs to it; its checksum, and whether any part of it is live."""
        runs = sorted(self.store.runs(RunQuery(root_id=root, limit=None)), key=lambda run: run.id)
        events = [self.store.events(run.id) for run in runs]
        lines = [
            (each.run_id, each.at, each.level, each.stream, each.text)
            for each in self.store.logs(LogQuery(root))
        ]
        self.runs += len(runs)
        self.events += sum(map(len, events))
        self.lines += len(lines)
        value = _sum([[[getattr(run, name) for name in _FIELDS] for run in runs], events, lines])
        self.checksum = (self.checksum + value) % 2**128
        return value, any(not run.ended for run in runs)

    def take_transitions(self, mine: set[str]) -> None:
        after = 0
        while rows := self.store.transitions(after, 5000):
            after = rows[-1].seq
            for row in rows:
                if root_of(row.run_id) in mine:
                    said = [row.run_id, row.at, row.from_state, row.to_state, row.condition, row.reason]
                    self.transitions += 1
                    self.checksum = (self.checksum + _sum(said)) % 2**128

    def tally(self) -> Tally:
        return Tally(self.runs, self.events, self.lines, self.transitions, f"{self.checksum:032x}")


def _sum(value: object) -> int:
    text = dumps(value, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])


class Tallies:
    """Both sides, one root run after the other. Sums do not depend on the order."""

    def __init__(self, source: Backend, target: Backend) -> None:
        self._sides = (_Side(source), _Side(target))
        self._seen: set[str] = set()
        self._differ: list[str] = []
        self._live = 0

    def compare(self, root: str) -> None:
        (here, live), (there, _) = (side.take(root) for side in self._sides)
        self._seen.add(root)
        self._live += live
        if here != there and not live:
            self._differ.append(root)

    def result(self, runs: int) -> Copied:
        for side in self._sides:
            side.take_transitions(self._seen)
        source, target = (side.tally() for side in self._sides)
        return Copied(runs, source, target, tuple(self._differ), self._live)
