"""Counts and percentiles per job in the SQLite store: three questions to one moment of it.

An index holds all that they look at, in the order of the jobs, so that half a million runs take half a second; window
functions took twice as long.
"""

from __future__ import annotations

from itertools import islice
from json import dumps
from typing import TYPE_CHECKING, Any

from attrs import evolve

from .figures import buckets, figures, job_runs
from .sqlite_where import is_plain, where_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .queries import RunQuery
    from .records import Bucket, JobRuns, JobSummary
    from .sqlite import SqliteBackend

_JOB = "project, name, kind"
_NEWEST = "id, state, conditions, created_at, duration_seconds"
_ANY: Any = {"states": (), "tags": (), "since": None, "until": None} | dict.fromkeys(
    ("host", "root_id", "parent_id", "journal", "prefix")
)
_TIMED = "state='COMPLETED' AND duration_seconds IS NOT NULL"


def summarize(store: SqliteBackend, query: RunQuery) -> list[JobSummary]:
    if query.root_id is not None or query.parent_id is not None:
        return _of_family(store, query)
    where, values = where_of(query)
    with store._moment():
        counts = _counts(store, query)
        durations = store._rows(
            f"SELECT duration_seconds FROM {_runs(query)} WHERE {where} AND {_TIMED} ORDER BY {_JOB}", *values
        )
        newest = [
            (*job, *found)
            for job in dict.fromkeys(row[:3] for row in counts)
            for found in store._rows(
                f"SELECT {_NEWEST} FROM runs WHERE project=? AND name=? AND kind=? AND {where}"
                " ORDER BY created_at DESC, id DESC LIMIT 1",
                *job,
                *values,
            )
        ]
    percentiles: dict[tuple[Any, ...], float] = {}
    each = (seconds for (seconds,) in durations)
    for *job, _, _, timed in counts:
        percentiles |= _ranked(job, list(islice(each, timed)))
    return figures([row[:5] for row in counts], percentiles, newest)


def _counts(store: SqliteBackend, query: RunQuery) -> list[tuple[Any, ...]]:
    """Project, name, kind, state, runs, and how many of them are timed. What completed, most of them, is counted in the
    order of the index: to sort all runs by their state takes twice as long as the rest of it."""
    where, values = where_of(query)
    runs = f"FROM {_runs(query)} WHERE {where}"
    return store._rows(
        f"SELECT {_JOB}, state, count(*), count(duration_seconds) {runs} AND state='COMPLETED' GROUP BY {_JOB}"
        f" UNION ALL SELECT {_JOB}, state, count(*), 0 {runs} AND state<>'COMPLETED' GROUP BY {_JOB}, state"
        " ORDER BY 1, 2, 3, 4",
        *values,
        *values,
    )


def _of_family(store: SqliteBackend, query: RunQuery) -> list[JobSummary]:
    """One scan of the family: where its jobs have far more runs elsewhere, to look for their newest ones by their names
    would take longer than all the rest. Few columns: of 100,000 rows, each one more costs 15 ms."""
    where, values = where_of(query)
    spent: dict[tuple[str, str, str, str], list[float | None]] = {}
    last: dict[tuple[str, str, str, str], int] = {}
    with store._moment():
        for project, name, kind, state, seconds, rowid in store._each(
            f"SELECT {_JOB}, state, duration_seconds, rowid FROM runs WHERE {where} ORDER BY created_at, id",
            *values,
        ):
            key = project, name, kind, state
            if key not in spent:
                spent[key] = []
            spent[key].append(seconds)
            last[key] = rowid
        latest = store._rows(
            f"SELECT {_JOB}, {_NEWEST} FROM runs WHERE rowid IN (SELECT value FROM json_each(?))"
            " ORDER BY created_at, id",
            dumps(list(last.values())),
        )
    percentiles: dict[tuple[Any, ...], float] = {}
    for (*job, state), took in spent.items():
        if state == "COMPLETED":
            percentiles |= _ranked(job, [each for each in took if each is not None])
    return figures(sorted((*key, len(took)) for key, took in spent.items()), percentiles, latest)


def _ranked(job: list[Any], seconds: list[float]) -> dict[tuple[Any, ...], float]:
    """Nearest ranks, by project, name, kind and percent."""
    seconds.sort()
    return {
        (*job, percent): seconds[(len(seconds) * percent + 99) // 100 - 1] for percent in (50, 95) if seconds
    }


def newest(store: SqliteBackend, query: RunQuery, each: int) -> list[JobRuns]:
    """From job to job in the index, a step each, and there the newest few: what lies between is never looked at."""
    where, values = where_of(query)
    with store._moment():
        rows = [
            (*job, *found)
            for job in _jobs(store, query)
            for found in store._rows(
                f"SELECT {_NEWEST} FROM {_runs(query)} WHERE project=? AND name=? AND kind=? AND {where}"
                " ORDER BY created_at DESC, id DESC LIMIT ?",
                *job,
                *values,
                each,
            )
        ]
    return job_runs(rows)


def _jobs(store: SqliteBackend, query: RunQuery) -> Iterator[tuple[str, str, str]]:
    """Every job that the query names by its project, name and kind, in this order; whatever else it asks for."""
    where, values = where_of(evolve(query, **_ANY))
    index = "runs_root_jobs" if query.roots else "runs_figures"
    sql = (
        f"SELECT {_JOB} FROM runs INDEXED BY {index} WHERE ({_JOB}) > (?, ?, ?) AND {where}"
        f" ORDER BY {_JOB} LIMIT 1"
    )
    job = ("", "", "")
    while found := store._rows(sql, *job, *values):
        [job] = found
        yield job


def timeline(store: SqliteBackend, query: RunQuery, every: float) -> list[Bucket]:
    where, values = where_of(query)
    rows = store._rows(
        f"SELECT CAST(created_at / ? AS INTEGER) AS span, state, count(*) FROM {_runs(query)} WHERE {where}"
        " GROUP BY span, state ORDER BY span, state",
        float(every),
        *values,
    )
    return buckets(rows, every)


def _runs(query: RunQuery) -> str:
    index = "runs_root_jobs" if query.roots else "runs_figures"
    return f"runs INDEXED BY {index}" if _is_covered(query) else "runs"


def _is_covered(query: RunQuery) -> bool:
    """Whether the index has every column that the question looks at, and no other one leads to fewer runs."""
    others = (query.host, query.journal, query.root_id, query.parent_id, query.prefix)
    return not query.tags and others == (None,) * 5 and (query.job is None or not is_plain(query.job))
