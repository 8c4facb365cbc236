"""Records of the fold as rows of a table: the same columns in every SQL store. Loaded in jobs."""

from __future__ import annotations

from json import JSONEncoder

from .clock import root_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .records import Json

as_json = JSONEncoder(separators=(",", ":")).encode  # made once: `dumps` would make one for each call
RUN_COLUMNS = (
    "id root_id parent_id kind name project state conditions tags host journal created_at ended_at "
    "duration_seconds doc"
).split()


def project_of(doc: Json, header: Json) -> str:
    return str(doc.get("project") or header.get("project") or "default")


def run_row(doc: Json, header: Json) -> tuple[Any, ...]:
    """A document and the header of its journal, in the order of `RUN_COLUMNS`. Conditions have a space round each, so
    that one is found by its name."""
    return (
        doc["id"],
        doc["root_id"],
        doc.get("parent_id"),
        doc.get("kind"),
        doc.get("name"),
        project_of(doc, header),
        doc["state"],
        "".join(f" {name} " for name in doc["conditions"]),
        as_json(doc.get("tags") or []),
        header.get("host"),
        doc.get("journal"),
        doc.get("created_at"),
        doc.get("ended_at"),
        doc.get("duration_seconds"),
        as_json(doc),
    )


def log_row(seq: int, run_id: str, event: Json) -> tuple[Any, ...]:
    """seq, root_id, run_id, at, level, stream, text."""
    return (
        seq,
        root_of(run_id),
        run_id,
        event["at"],
        str(event.get("level") or "INFO"),
        str(event.get("stream") or "log"),
        str(event.get("text") or ""),
    )


def transition_row(row: Json) -> tuple[Any, ...]:
    """seq, run_id, at, from, to, condition, reason; `row` is the fold's, with its `seq`."""
    return tuple([row[key] for key in ("seq", "run_id", "at", "from", "to", "condition", "reason")])


def body(event: Json) -> str:
    """An event as it is stored: without its checksum."""
    return as_json({key: value for key, value in event.items() if key != "c"} if "c" in event else event)
