"""Rows of counts, percentiles and newest runs, as an SQL store finds them, put together to figures per job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .records import JobSummary

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
            last={
                "id": last[key][0],
                "state": last[key][1],
                "conditions": last[key][2].split(),
                "created_at": last[key][3],
                "duration_seconds": last[key][4],
            },
        )
        for key, states in by_state.items()
    ]
