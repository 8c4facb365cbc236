"""How each job of a report did over time, as read from the store."""

from __future__ import annotations

from glob import escape

from attrs import evolve, frozen

from ...backends.base import Ledger
from ...backends.queries import RunQuery
from ...backends.states import FAILURES
from ..reports import Report

CELLS = 12  # spans of time, and newest runs
MOST = 100  # jobs that are asked for their counts over time: each is a question of its own

Key = tuple[str, str, str]  # project, name, kind


@frozen
class Trend:
    """`counts` are runs created in each of CELLS equal spans of the report's time, `bad` those of them that failed;
    both empty where the job was not asked for. `newest` are the states of the newest runs, oldest first."""

    counts: tuple[int, ...] = ()
    bad: tuple[int, ...] = ()
    newest: tuple[str, ...] = ()


def trends(store: Ledger, query: RunQuery, found: Report) -> dict[Key, Trend]:
    """By job; `query` is the report's, with `since` and `until`. Raises StorageError."""
    newest = {
        (each.project, each.name, each.kind): tuple(run["state"] for run in reversed(each.runs))
        for each in store.newest(query, CELLS)
    }
    out = {}
    for number, each in enumerate(job.figures for job in found.jobs):
        key = (each.project, each.name, each.kind)
        asked = _over_time(store, query, key) if number < MOST else ((), ())
        out[key] = Trend(*asked, newest.get(key, ()))
    return out


def _over_time(store: Ledger, query: RunQuery, key: Key) -> tuple[tuple[int, ...], tuple[int, ...]]:
    project, name, kind = key
    since, until = query.since or 0.0, query.until or 0.0
    every = max((until - since) / (CELLS - 1), 1e-3)  # spans begin at the epoch: one more than fits is cut
    first = int(since // every)
    counts, bad = [0] * CELLS, [0] * CELLS
    of_job = evolve(query, project=project, job=escape(name), kinds=(kind,))
    for bucket in store.timeline(of_job, every):
        cell = min(CELLS - 1, max(0, round(bucket.at / every) - first))
        counts[cell] += sum(bucket.by_state.values())
        bad[cell] += sum(count for state, count in bucket.by_state.items() if state in FAILURES)
    return tuple(counts), tuple(bad)
