"""How many runs of each job ended how, and how long they took, counted for ever: what a store has of runs is pruned,
and a counter must never go back.

Each job's counts are one document, changed by compare-and-set, which says up to which transition it has counted; the
cursor moves on only when the documents are there. So any number of watchdogs, collectors and commands may count at the
same time, and each ending is counted once. Whoever shows the counts brings them up to date first.

Counting begins when somebody asks for the first time. A run that ended twice (it was given up, and came back) counts as
it ended first.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from urllib.parse import quote

from attrs import asdict, define, field

from ...backends.base import Backend
from ...backends.records import Json, Run, Transition
from ...backends.states import ENDINGS
from . import outbox
from .readable import run_of

KIND = "counted"  # kind of document
CURSOR = ("cursor", "counted")
BOUNDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0)
JOBS = 500  # that are told apart; those that come later are counted together
_PAGE, _PAGES = 2000, 200  # transitions per read, and reads per call;
_RUNS = 4000  # runs that are looked up in a call, at about half a millisecond


@define
class Ended:
    """What ended of one job: how often each way (`states`), how many of the completed ones fell into each span of
    BOUNDS (`spans`) and how many seconds those took. `since` is when counting began, `at` the last time (Unix seconds),
    `seq` the last transition that is in it."""

    project: str
    job: str
    kind: str
    since: float
    at: float = 0.0
    seq: int = 0
    states: dict[str, int] = field(factory=dict)
    spans: list[int] = field(factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def add(self, row: Transition, run: Run) -> None:
        self.states[row.to_state] = self.states.get(row.to_state, 0) + 1
        if row.to_state == "COMPLETED" and run.duration_seconds is not None:
            self.spans[bisect_left(BOUNDS, run.duration_seconds)] += 1
            self.seconds = round(self.seconds + run.duration_seconds, 6)
        self.seq, self.at = row.seq, max(self.at, row.at)


def count(store: Backend, now: float) -> list[Ended]:
    """Count what ended since the last time, and give all counts. A long backlog is worked off over several calls.

    Raises StorageError; then nothing is lost, and nothing counted twice."""
    cursor = store.get(*CURSOR)
    if cursor is None:
        store.put(*CURSOR, {"seq": 0, "since": now}, 0)
        cursor = store.get(*CURSOR)
    seq, since = (cursor.value["seq"], cursor.value["since"]) if cursor else (0, now)
    names, looked = {key for key, _ in store.list(KIND)}, 0
    for _ in range(_PAGES):
        rows = store.transitions(seq, _PAGE)
        if not rows or looked >= _RUNS:
            break
        ends = [row for row in rows if row.at >= since and _ends(row)]
        _take(store, ends, since, names)
        seq, looked = rows[-1].seq, looked + len(ends)
        outbox.update(store, *CURSOR, partial(_forward, seq=seq))
    return counted(store)


def counted(store: Backend) -> list[Ended]:
    """All counts as they are."""
    return [Ended(**held.value) for _, held in store.list(KIND)]


def _ends(row: Transition) -> bool:
    """Whether a root run ended here, for the first time."""
    return (
        row.condition is None
        and row.to_state in ENDINGS
        and row.from_state not in ENDINGS
        and "." not in row.run_id
    )


def _forward(held: Json, seq: int) -> Json | None:
    return {**held, "seq": seq} if held["seq"] < seq else None


def _take(store: Backend, rows: list[Transition], since: float, names: set[str]) -> None:
    groups: dict[str, list[tuple[Transition, Run]]] = {}
    for row in rows:
        run = run_of(store, row.run_id)
        if run is None:  # pruned since
            continue
        key = "~".join(quote(each, safe="") for each in (run.project, run.name, run.kind))
        if key not in names and len(names) >= JOBS:
            key = "others"
        names.add(key)
        groups.setdefault(key, []).append((row, run))
    for key, found in groups.items():
        outbox.update(store, KIND, key, partial(_counted, key=key, found=found, since=since))


def _counted(doc: Json, key: str, found: list[tuple[Transition, Run]], since: float) -> Json | None:
    """The document with what is new to it; None where nothing is."""
    _, run = found[0]
    named = ("", "others", "") if key == "others" else (run.project, run.name, run.kind)
    ended = Ended(**doc) if doc else Ended(*named, since=since)
    fresh = [(row, run) for row, run in found if row.seq > ended.seq]
    for row, run in fresh:
        ended.add(row, run)
    return asdict(ended) if fresh else None
