"""Which records: the questions that a store answers, and what it is told to forget."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from attrs import frozen

from .states import STALE, STATES

if TYPE_CHECKING:
    from .records import Run


@frozen
class RunQuery:
    """Which runs. Everything that is given must hold; None or () means "any".

    `job` and `host` are shell patterns (`nightly-*`); case matters.
    `states` takes states and conditions. `since` <= created_at < `until` (Unix seconds). `roots` keeps runs
    without parent. `prefix` matches the beginning of an id. Newest first, at most `limit`, after `offset` rows.
    """

    project: str | None = None
    job: str | None = None
    kinds: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    host: str | None = None
    since: float | None = None
    until: float | None = None
    roots: bool = False
    root_id: str | None = None
    parent_id: str | None = None
    journal: str | None = None
    prefix: str | None = None
    limit: int | None = 50
    offset: int = 0

    def plain_states(self) -> tuple[str, ...]:
        """The states among `states`, in the store's spelling."""
        return tuple(name.upper() for name in self.states if name.upper() in STATES)

    def plain_conditions(self) -> tuple[str, ...]:
        """The conditions among `states`; `stale` stands for its three."""
        names = [name.lower() for name in self.states if name.upper() not in STATES]
        return tuple(sorted({each for name in names for each in (STALE if name == "stale" else (name,))}))


@frozen
class LogQuery:
    """Which lines: those of `run_id` (and, with `tree`, of its descendants) with `after` < seq < `before`.

    `text` searches words, `levels` (as written, `ERROR`) keeps lines of these; `last` keeps the last `limit` lines
    instead of the first. Always in seq order.
    """

    run_id: str
    tree: bool = True
    after: int = 0
    before: int | None = None
    levels: tuple[str, ...] = ()
    limit: int | None = None
    last: bool = False
    text: str | None = None


@frozen
class Retention:
    """What to forget: ended root runs (with their descendants, lines and transitions) created before `runs_before`,
    but failures only when created before `failures_before`; lines before `logs_before` of ended root runs created
    before it; closed journals not heard of since `runs_before` that no run is left of. Unix seconds. Root runs of which
    any part is live stay, and so does the last failed run of each job."""

    runs_before: float
    failures_before: float
    logs_before: float


def matches(query: RunQuery, run: Run) -> bool:
    """Whether a run is among those that the query asks for, its `limit` aside."""
    states, conditions = query.plain_states(), query.plain_conditions()
    return all(
        (
            query.project is None or run.project == query.project,
            query.job is None or fnmatchcase(run.name, query.job),
            not query.kinds or run.kind in query.kinds,
            not query.states or run.state in states or bool(set(conditions) & set(run.conditions)),
            set(query.tags) <= set(run.tags),
            query.host is None or fnmatchcase(run.host or "", query.host),
            query.since is None or run.created_at >= query.since,
            query.until is None or run.created_at < query.until,
            not query.roots or run.parent_id is None,
            query.root_id is None or run.root_id == query.root_id,
            query.parent_id is None or run.parent_id == query.parent_id,
            query.journal is None or run.journal == query.journal,
            query.prefix is None or run.id.startswith(query.prefix),
        )
    )
