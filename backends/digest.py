"""What one batch of a journal's lines means to a store."""

from __future__ import annotations

from .clock import root_of
from .fold import OF_PROCESS, apply, settle, transitions
from .soundness import sound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Doc = dict[str, Any]
    Event = dict[str, Any]

_KEPT = ("start", "attempt", "retry", "end", "judge", "artifact", "slot", "drop")


class Digest:
    """What one batch means: the rows that a store has to write, computed without touching it.

    `docs`: changed run documents by id. `events`: (run id, position, event). `logs`: (run id, event).
    `transitions`: rows as `transitions()` gives them. `process`: the journal's record, changed in place.
    """

    __slots__ = ("docs", "events", "logs", "process", "transitions")

    def __init__(self, process: Doc) -> None:
        self.process = process
        self.docs: dict[str, Doc] = {}
        self.events: list[tuple[str, int, Event]] = []
        self.logs: list[tuple[str, Event]] = []
        self.transitions: list[dict[str, Any]] = []


def digest(
    journal: str,
    lines: Iterable[tuple[int, Event | None]],
    process: Doc,
    load: Callable[[list[str]], dict[str, Doc]],
    now: float,
) -> Digest:
    """Fold a batch. `process` is the journal's record so far ({} for a new one); `load` fetches the documents
    of runs by id; `now` is the store's clock (Unix seconds).

    A journal whose header names what it is a `copy_of` brings its transitions along; none are derived from it.
    """
    out = Digest(process)
    touched: dict[str, list[Event]] = {}
    for position, event in lines:
        if event is None:
            process["damaged"] = process.get("damaged", 0) + 1
        elif event["event"] in OF_PROCESS:
            OF_PROCESS[event["event"]](process, event)
        elif sound(event, touched):
            run_id = event["run"]
            touched.setdefault(run_id, []).append(event)
            if event["event"] == "log":
                out.logs.append((run_id, event))
            elif event["event"] in _KEPT:
                out.events.append((run_id, position, _without_journal(event)))
            elif event["event"] == "transition":
                out.transitions.append(_copied(event))
    process["received_at"] = now
    copied = "copy_of" in process.get("header", {})
    if not copied:
        out.transitions.clear()
    known = load(list(touched)) if touched else {}
    for run_id, events in touched.items():
        doc = known.get(run_id)
        before = (doc["state"], doc["conditions"]) if doc and "kind" in doc else None
        if doc is None:
            doc = {"id": run_id, "root_id": root_of(run_id)}
        for event in events:
            apply(doc, event, journal)
        settle(doc)
        out.docs[run_id] = doc
        if not copied:
            out.transitions += transitions(before, doc, now)
    return out


def _without_journal(event: Event) -> Event:
    return {key: value for key, value in event.items() if key != "journal"} if "journal" in event else event


def _copied(event: Event) -> dict[str, Any]:
    said = {key: event.get(key) for key in ("from", "to", "condition", "reason")}
    return {**said, "run_id": event["run"], "at": event["at"]}
