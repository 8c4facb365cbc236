"""What is known and expected of each job, read from a store: the same for the watchdog, `holter status` and reports.

Expectations have three sources, later wins, name by name: the decorator's keywords (a run's `check`), `checks:` in the
settings, and what `holter checks` wrote into the store (documents of kind `check`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import escape
from typing import Any
from urllib.parse import quote

from attrs import asdict, evolve, field, frozen

from ..backends.base import Backend, Registry
from ..backends.errors import ScheduleError
from ..backends.expected import Expectation
from ..backends.queries import RunQuery
from ..backends.records import Json, Run
from ..backends.schedule import parse_rate
from ..backends.states import ENDINGS, OPEN
from ..backends.verdicts import JobRecord, Span
from ..backends.zones import SEEN, Start, mismatch, off_turn
from .setting_types import Settings

CHECK = "check"  # kind of document: what `holter checks` says of a job
SAYING = tuple(state for state in ENDINGS if state != "SKIPPED")  # endings that say how a job is
RECENT = 10  # newest runs of a job that are looked at, at least
PAUSES = 50  # that are remembered of each job
FOREVER = float("inf")


@frozen
class Registered:
    """What `holter checks` says of a job: `check` overrules all else, `since` (Unix seconds) it holds; `pauses` are
    pairs of Unix seconds, the last one open (None) while it lasts. What runs up to `forgotten_at` declared is void."""

    job: str
    project: str = "default"
    check: Json = field(factory=dict)
    since: float = 0.0
    pauses: tuple[tuple[float, float | None], ...] = ()
    forgotten_at: float = 0.0

    @classmethod
    def from_json(cls, value: Json) -> Registered:
        return cls(**{**value, "pauses": tuple((start, end) for start, end in value["pauses"])})

    @property
    def key(self) -> str:
        return key_of(self.project, self.job)

    def spans(self) -> tuple[Span, ...]:
        return tuple((start, FOREVER if end is None else end) for start, end in self.pauses)


def key_of(project: str, job: str) -> str:
    return f"{quote(project, safe='')}~{quote(job, safe='')}"


def registered(store: Registry) -> dict[str, Registered]:
    """All that `holter checks` wrote, by key."""
    return {key: Registered.from_json(held.value) for key, held in store.list(CHECK)}


def register(store: Registry, new: Registered) -> None:
    """Write it, whoever else writes at the same time: the last word counts."""
    while True:
        held = store.get(CHECK, new.key)
        kept = evolve(new, pauses=new.pauses[-PAUSES:])
        if store.put(CHECK, new.key, asdict(kept), held.version if held else 0) is not None:
            return


def expectation(last: Run | None, configured: object, said: Registered | None) -> Expectation:
    """What is expected of a job whose newest run is `last`. Raises ScheduleError where it does not parse."""
    declared = last.check if last else None
    if last is not None and said is not None and last.created_at <= said.forgotten_at:
        declared = None
    return Expectation.of(declared, configured, said.check if said else None)


def usable(last: Run | None, configured: object, said: Registered | None) -> tuple[Expectation, str]:
    """As `expectation`, for who shows many jobs: a schedule or zone that a client declared and that does not parse
    counts for nothing, and what is wrong with it is said ("": nothing)."""
    try:
        return expectation(last, configured, said), ""
    except ScheduleError as error:
        if last is None or not last.check:
            raise
        left = {key: value for key, value in last.check.items() if key not in ("schedule", "timezone")}
        return expectation(evolve(last, check=left), configured, said), str(error)


def query_of(project: str, name: str) -> Json:
    """Fields of a RunQuery for the runs of a job."""
    return {"project": project, "job": escape(name), "roots": True}


def newest_of(project: str, name: str) -> RunQuery:
    return RunQuery(**query_of(project, name), limit=1)


def declared_since(settings: Settings, name: str, said: Registered | None, now: float) -> float:
    """When what is expected of a job was written down, by `holter checks` or else in the settings (Unix seconds)."""
    if said is not None and said.since:
        return said.since
    if name not in settings.checks or not settings.config:
        return now
    try:
        return os.stat(settings.config).st_mtime
    except OSError:  # it was taken away since
        return now


def record_of(
    backend: Backend,
    project: str,
    name: str,
    expected: Expectation,
    said: Registered | None,
    since: float = 0.0,
    **of: Any,
) -> JobRecord:
    """What the store has of a job; one that never ran is expected from `since` on. `of`: more fields of a RunQuery."""
    mine = {**query_of(project, name), **of}
    most = parse_rate(expected.max_runs_per)[0] + 1 if expected.max_runs_per else 0
    recent = backend.runs(RunQuery(**mine, limit=max(RECENT, 2 * most)))
    ended, completed = (_newest(backend, recent, mine, states) for states in (SAYING, ("COMPLETED",)))
    live = backend.runs(RunQuery(**mine, states=OPEN, limit=None)) if recent else []
    spent = durations(backend, mine, expected)
    first = _first(backend, mine) if recent and completed is None and expected.fresh_within else None
    holds = max(since, said.since if said else 0.0)
    return JobRecord(
        *(name, project),
        last=recent[0] if recent else None,
        ended=ended,
        completed=completed,
        live=tuple(live),
        since=holds if first is None else max(holds, first.created_at),
        recent=tuple(recent),
        durations=spent,
        pauses=said.spans() if said else (),
        mismatch=mismatch(expected, _starts(backend, recent, expected)),
    )


def _newest(backend: Backend, recent: list[Run], mine: Json, states: tuple[str, ...]) -> Run | None:
    found = next((run for run in recent if run.state in states), None)
    if found is not None or len(recent) < RECENT:
        return found
    return next(iter(backend.runs(RunQuery(**mine, states=states, limit=1))), None)


def _first(backend: Backend, mine: Json) -> Run | None:
    count = sum(figures.runs for figures in backend.summarize(RunQuery(**mine)))
    return next(iter(backend.runs(RunQuery(**mine, limit=1, offset=max(0, count - 1)))), None)


def durations(backend: Backend, mine: Json, expected: Expectation) -> tuple[float, ...]:
    """Seconds of the last completed runs, the newest first, as far as the expectation asks for them."""
    if expected.max_times_median is None:
        return ()
    runs = backend.runs(RunQuery(**mine, states=("COMPLETED",), limit=expected.median_of))
    return tuple(run.duration_seconds for run in runs if run.duration_seconds is not None)


def _starts(backend: Backend, recent: Iterable[Run], expected: Expectation) -> list[Start]:
    """The newest starts that did something, with what their hosts said of their zones; [] where nobody has to ask."""
    runs = [run for run in recent if run.state != "SKIPPED"][:SEEN]
    if not runs or not off_turn(expected, runs[0].created_at):
        return []
    journals = {run.journal for run in runs if run.journal}
    headers = {each.journal: each.header for each in backend.processes(open_only=False, journals=journals)}
    return [
        Start(run.created_at, run.host, header.get("zone"), header.get("utc_offset"))
        for run in runs
        for header in [headers.get(run.journal or "", {})]
    ]
