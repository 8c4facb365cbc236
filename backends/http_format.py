"""Records and questions as they cross the wire, both ways. Times are Unix seconds: text would lose digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from attrs import asdict, fields

from .queries import LogQuery, RunQuery
from .records import Document, Json

RUNS_AT_MOST = 1000  # in one answer, and so on
LINES_AT_MOST = 10_000
TRANSITIONS_AT_MOST = 1000
EACH_AT_MOST = 1000

T = TypeVar("T", bound=Any)


class Params(Protocol):
    """The query of a request, where a name may stand several times."""

    def get(self, key: str) -> str | None: ...
    def getlist(self, key: str) -> list[str]: ...


def plain(record: Any) -> Json:
    """A record as JSON: its fields by name."""
    return asdict(record, recurse=False)


def of(kind: type[T], said: Mapping[str, Any]) -> T:
    """The record again. What a newer collector adds is left out; a missing field has its default."""
    known = {each.name: each for each in fields(kind)}
    record: T = kind(
        **{
            name: tuple(value) if isinstance(value, list) and "tuple" in str(known[name].type) else value
            for name, value in said.items()
            if name in known
        }
    )
    return record


def run_params(query: RunQuery) -> list[tuple[str, str]]:
    """A question as the query of a URL; `limit` None is left out."""
    pairs: list[tuple[str, str]] = []
    for each in fields(RunQuery):
        value = getattr(query, each.name)
        if isinstance(value, tuple):
            pairs += [(each.name, item) for item in value]
        elif value is not None and value is not False:
            pairs.append((each.name, "true" if value is True else str(value)))
    return pairs


def run_query(params: Params) -> RunQuery:
    """The question again, for at most RUNS_AT_MOST runs. Raises ValueError, which says what is wrong."""
    return RunQuery(
        project=params.get("project"),
        job=params.get("job"),
        kinds=tuple(params.getlist("kinds")),
        states=tuple(params.getlist("states")),
        tags=tuple(params.getlist("tags")),
        host=params.get("host"),
        since=number(params, "since", None),
        until=number(params, "until", None),
        roots=flag(params, "roots", False),
        root_id=params.get("root_id"),
        parent_id=params.get("parent_id"),
        journal=params.get("journal"),
        prefix=params.get("prefix"),
        limit=count(params, "limit", 50, RUNS_AT_MOST),
        offset=count(params, "offset", 0),
    )


def log_params(query: LogQuery) -> list[tuple[str, str]]:
    pairs = [("run_id", query.run_id), ("after", str(query.after))]
    pairs += [("tree", "false")] if not query.tree else []
    pairs += [("last", "true")] if query.last else []
    pairs += [("before", str(query.before))] if query.before is not None else []
    pairs += [("levels", level) for level in query.levels]
    pairs += [("text", query.text)] if query.text is not None else []
    return pairs + ([("limit", str(query.limit))] if query.limit is not None else [])


def log_query(params: Params) -> LogQuery:
    """As `run_query`, for at most LINES_AT_MOST lines."""
    return LogQuery(
        params.get("run_id") or "",
        tree=flag(params, "tree", True),
        after=count(params, "after", 0),
        before=count(params, "before", 0) if params.get("before") is not None else None,
        levels=tuple(params.getlist("levels")),
        limit=count(params, "limit", LINES_AT_MOST, LINES_AT_MOST),
        last=flag(params, "last", False),
        text=params.get("text"),
    )


def number(params: Params, name: str, default: T) -> float | T:
    value = params.get(name)
    if value is None:
        return default
    try:
        found = float("nan" if "_" in value else value)  # 1_000 is a number to Python only
    except ValueError:
        found = float("nan")
    if not -1e15 < found < 1e15:
        raise ValueError(f"{name}={value[:50]!r} is no number")
    return found


def count(params: Params, name: str, default: int, at_most: int = 2**53) -> int:
    value = params.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise ValueError(f"{name}={value[:50]!r} is no whole number")
    return min(int(value), at_most)


def flag(params: Params, name: str, default: bool) -> bool:
    value = params.get(name)
    if value is None:
        return default
    if value not in ("true", "false"):
        raise ValueError(f"{name}={value[:50]!r} is neither true nor false")
    return value == "true"


def documents(found: Sequence[tuple[str, Document]]) -> list[Json]:
    return [{"key": key, **plain(each)} for key, each in found]
