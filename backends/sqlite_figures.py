"""Counts and percentiles per job in the SQLite store: three questions to one moment of it.

An index holds all that they look at, in the order of the jobs, so that half a million runs take half a second; window
functions took twice as long.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from .figures import figures
from .sqlite_where import is_plain, where_of

if TYPE_CHECKING:
    from .records import JobSummary, RunQuery
    from .sqlite import SqliteBackend

_JOB = "project, name, kind"
_NEWEST = "id, state, conditions, created_at, duration_seconds"
_TIMED = "state='COMPLETED' AND duration_seconds IS NOT NULL"


def summarize(store: SqliteBackend, query: RunQuery) -> list[JobSummary]:
    where, values = where_of(query)
    runs = "runs INDEXED BY runs_figures" if _is_covered(query) else "runs"
    with store._moment():
        counts = store._rows(
            f"SELECT {_JOB}, state, count(*), count(CASE WHEN {_TIMED} THEN 1 END) FROM {runs} WHERE {where}"
            f" GROUP BY {_JOB}, state ORDER BY {_JOB}, state",
            *values,
        )
        durations = store._rows(
            f"SELECT duration_seconds FROM {runs} WHERE {where} AND {_TIMED} ORDER BY {_JOB}", *values
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
    percentiles = {}
    each = (seconds for (seconds,) in durations)
    for *job, _, _, timed in counts:
        if timed:
            ordered = sorted(islice(each, timed))
            for percent in (50, 95):
                percentiles[*job, percent] = ordered[(timed * percent + 99) // 100 - 1]  # nearest rank
    return figures([row[:5] for row in counts], percentiles, newest)


def _is_covered(query: RunQuery) -> bool:
    """Whether the index has every column that the question looks at, and no other one leads to fewer runs."""
    others = (query.host, query.journal, query.root_id, query.parent_id, query.prefix)
    return not query.tags and others == (None,) * 5 and (query.job is None or not is_plain(query.job))
