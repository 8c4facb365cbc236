"""A question about runs as the WHERE of a statement of SQLite's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .queries import RunQuery

_OPEN = "('PENDING', 'RUNNING', 'RETRYING')"


def is_plain(pattern: str) -> bool:
    """Whether a shell pattern means nothing but itself."""
    return not set(pattern) & set("*?[")


def where_of(query: RunQuery) -> tuple[str, list[Any]]:
    """The WHERE of a run query. A run is seen once its start has arrived, which brings its kind."""
    clauses: list[str] = ["runs.kind IS NOT NULL"]
    values: list[Any] = []

    def add(clause: str, *given: Any) -> None:
        clauses.append(clause)
        values.extend(given)

    for column in ("project", "root_id", "parent_id", "journal"):
        if (wanted := getattr(query, column)) is not None:
            add(f"runs.{column}=?", wanted)
    for column, pattern in (("name", query.job), ("host", query.host)):
        if pattern is not None and is_plain(pattern):
            add(f"runs.{column}=?", pattern)
        elif pattern is not None:
            add(f"runs.{column} GLOB ?", pattern.replace("[!", "[^"))
    if query.prefix is not None:
        add("runs.id >= ? AND runs.id < ?", query.prefix, f"{query.prefix}\x7f")  # ids are ASCII
    if query.kinds:
        add(f"runs.kind IN ({','.join('?' * len(query.kinds))})", *query.kinds)
    if query.states:
        plain, conditions = query.plain_states(), query.plain_conditions()
        # Most runs are COMPLETED, and to collect these by their state would cost more than to walk back in time.
        column = "+runs.state" if len(plain) > 1 and "COMPLETED" in plain else "runs.state"
        either = [f"{column} IN ({','.join('?' * len(plain))})"]
        if conditions:  # only live runs have some
            any_of = " OR ".join(["instr(runs.conditions, ?)"] * len(conditions))
            either.append(f"{column} IN {_OPEN} AND ({any_of})")
        add(f"({' OR '.join(either)})", *plain, *(f" {name} " for name in conditions))
    for tag in query.tags:
        add("EXISTS (SELECT 1 FROM json_each(runs.tags) WHERE value=?)", tag)
    if query.since is not None:
        add("runs.created_at >= ?", query.since)
    if query.until is not None:
        add("runs.created_at < ?", query.until)
    if query.roots:
        add("runs.parent_id IS NULL")
    return " AND ".join(clauses), values
