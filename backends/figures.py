"""Rows of counts, percentiles and newest runs, as an SQL store finds them, put together to figures per job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .records import Bucket, JobRuns, JobSummary, Json

if TYPE_CHECKING:
    from collections.abc import Iterable

    Key = tuple[str, str, str]


def figures(
    counts: Iterable[tuple[Any, ...]],
    percentiles: dict[tuple[Any, ...], float],
    newest: Iterable[tuple[Any, ...]],
) -> list[JobSummary]:
    """`counts`: project, name, kind, state, count, in the order of the answer. `percentiles`: by project, name, kind
    and 50 or 95. `newest`: project, name, kind, then id, state, conditions, created_at, duration_seconds."""
    by_state: dict[Key, dict[str, int]] = {}
    for project, name, kind, state, count in counts:
        by_state.setdefault((project, name, kind), {})[state] = count
    last = {row[:3]: row[3:] for row in newest}
    return [
        JobSummary(
            project=key[0],
            name=key[1],
            kind=key[2],
            runs=sum(states.values()),
            by_state=states,
            duration_p50_seconds=percentiles.get((*key, 50)),
            duration_p95_seconds=percentiles.get((*key, 95)),
            last=brief(last[key]),
        )
        for key, states in by_state.items()
    ]


def job_runs(rows: Iterable[tuple[Any, ...]]) -> list[JobRuns]:
    """`rows`: project, name, kind, then what `brief` takes; job by job, newest first."""
    jobs: dict[Key, list[Json]] = {}
    for row in rows:
        jobs.setdefault(row[:3], []).append(brief(row[3:]))
    return [JobRuns(*key, tuple(runs)) for key, runs in jobs.items()]


def buckets(rows: Iterable[tuple[int, str, int]], every: float) -> list[Bucket]:
    """`rows`: number of the span, state, count; in the order of the spans."""
    spans: dict[int, dict[str, int]] = {}
    for span, state, count in rows:
        spans.setdefault(span, {})[state] = count
    return [Bucket(span * every, states) for span, states in spans.items()]


def brief(row: tuple[Any, ...]) -> Json:
    """`row`: id, state, conditions (names in one text), created_at, duration_seconds."""
    run_id, state, conditions, created_at, seconds = row
    return {
        "id": run_id,
        "state": state,
        "conditions": conditions.split(),
        "created_at": created_at,
        "duration_seconds": seconds,
    }
