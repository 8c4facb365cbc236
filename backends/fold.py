"""A run is the fold of its events.

The fold works on plain dicts ("documents"), because it also runs at the end of every script, where the
attrs classes of `records` would cost more than the work itself. It is deterministic: events of one journal
come in order, events of different journals in any order, and the document comes out the same.

Own testimony outranks inference: the ending that the process wrote beats a `mark` by an operator, which beats
a verdict by proof. All three are kept. Only where a process is ended from outside because it ran too long (the verdict
TIMED_OUT) or a person cancelled it, what it says of its end afterwards is no more than the echo; that it completed all
the same still counts.
"""

from __future__ import annotations

from .clock import root_of
from .soundness import HEADER, fits, is_count, is_number
from .states import OPEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Doc = dict[str, Any]
    Event = dict[str, Any]

SAMPLES = 60  # of what a process used, in its record

_OWN = ("start", "attempt", "retry", "end")  # what only the process itself says
_WEIGHT = {"proof": 1, "cancel": 1, "mark": 2}  # a verdict's weight by who gave it


def apply(doc: Doc, event: Event, journal: str) -> None:
    """Fold one event of one journal into a run's document. Unknown events are kept out, not refused."""
    kind = event["event"]
    fold = _FOLDS.get(kind)
    if fold is not None:
        fold(doc, event)
        if kind in _OWN:
            own = event.get("journal") or journal  # of a copied event: the one that it was first written to
            doc["journal"] = max(doc.get("journal", ""), own)  # ids sort by time: the latest rotation
        if kind not in ("judge", "transition"):  # what others say of a run is no sign of life
            doc["active_at"] = max(doc.get("active_at", 0.0), event["at"])


def settle(doc: Doc) -> None:
    """Derive what readers see (`state`, `conditions`, `reason`, ending) from what the witnesses said."""
    own, verdict = doc.get("end"), doc.get("verdict")
    ending = verdict if own is None or _is_echo(own, verdict) else own
    if ending:
        doc["state"], doc["conditions"] = ending["state"], []
        doc["ended_at"] = ending["at"]
        doc["reason"] = ending.get("reason")
        seconds = ending.get("seconds")
        if seconds is None and doc.get("started_at") is not None:
            seconds = max(0.0, ending["at"] - doc["started_at"])
        doc["duration_seconds"] = seconds
        return
    doc["state"] = doc.get("phase", [0, "PENDING"])[1]
    flags = doc.get("flags", {})
    doc["conditions"] = sorted(name for name, flag in flags.items() if flag[1])
    doc["reason"] = "; ".join(flags[name][2] for name in doc["conditions"] if flags[name][2]) or None


def _is_echo(own: dict[str, Any], verdict: dict[str, Any] | None) -> bool:
    if verdict is None or not _is_sentence(verdict):
        return False
    return own["state"] not in ("COMPLETED", verdict["state"]) and own["at"] >= verdict["at"]


def _is_sentence(verdict: dict[str, Any]) -> bool:
    """Whether it was written before its process was ended from outside, and says why."""
    return verdict["by"] == "cancel" or bool(verdict["state"] == "TIMED_OUT" and verdict["by"] == "proof")


def transitions(before: tuple[str, list[str]] | None, doc: Doc, at: float) -> list[dict[str, Any]]:
    """Rows for what changed between `before` (state, conditions) and the settled document.

    `at` is when the store applied the change (its own clock, Unix seconds). A run whose start is still in
    another journal changes nothing yet.
    """
    if "kind" not in doc:
        return []
    state, conditions = before or (None, [])
    rows = []
    if doc["state"] != state:
        rows.append({"from": state, "to": doc["state"], "condition": None})
    if doc["state"] in OPEN:  # the end of a run ends its conditions without saying so one by one
        for name in doc["conditions"]:
            if name not in conditions:
                rows.append({"from": state, "to": doc["state"], "condition": f"+{name}"})
        for name in conditions:
            if name not in doc["conditions"]:
                rows.append({"from": state, "to": doc["state"], "condition": f"-{name}"})
    return [{**row, "run_id": doc["id"], "at": at, "reason": doc["reason"]} for row in rows]


# --- one small function per kind of event --------------------------------------------------------------------


def _start(doc: Doc, event: Event) -> None:
    for key in _STARTING:
        if key in event:
            doc[key] = event[key]
    root = root_of(doc["id"])
    doc["parent_id"] = event.get("parent", root if root != doc["id"] else None)
    doc["created_at"] = event["at"]
    if event.get("pending"):
        _advance(doc, 0, "PENDING")
    else:
        doc.setdefault("started_at", event["at"])
        _advance(doc, 2, "RUNNING")


def _attempt(doc: Doc, event: Event) -> None:
    number = event["attempt"]
    tries = doc.setdefault("tries", {})
    tries.setdefault(str(number), {})["started_at"] = event["at"]
    if number == 1:
        doc["started_at"] = event["at"]
    _advance(doc, 2 * number, "RUNNING")


def _retry(doc: Doc, event: Event) -> None:
    number = event["attempt"]
    entry = doc.setdefault("tries", {}).setdefault(str(number), {})
    entry.update(ended_at=event["at"], error=event.get("error"), delay_seconds=event.get("delay"))
    if event.get("reason"):
        entry["reason"] = event["reason"]
    _advance(doc, 2 * number + 1, "RETRYING")


def _end(doc: Doc, event: Event) -> None:
    said = {key: event[key] for key in _ENDING if key in event}
    held = doc.get("end")
    if held is None or (said["at"], repr(said)) < (held["at"], repr(held)):  # the first ending stands
        doc["end"] = said


def _judge(doc: Doc, event: Event) -> None:
    if event.get("condition") is not None:
        flags = doc.setdefault("flags", {})
        name, said = event["condition"], [event["at"], bool(event.get("on")), event.get("reason") or ""]
        if name not in flags or said > flags[name]:
            flags[name] = said
        return
    verdict = {
        "state": event["state"],
        "at": event["at"],
        "reason": event.get("reason"),
        "by": event.get("by") or "proof",
    }
    held = doc.get("verdict")
    if held is None or _standing(verdict) > _standing(held):
        doc["verdict"] = verdict


def _standing(verdict: dict[str, Any]) -> tuple[int, bool, float, str, str]:
    return (
        _WEIGHT.get(verdict["by"], 0),
        _is_sentence(verdict),  # why it was ended says more than that it is gone
        -verdict["at"],
        verdict["state"],
        verdict["reason"] or "",
    )


def _progress(doc: Doc, event: Event) -> None:
    held = doc.get("progress")
    said = {key: event.get(key) for key in ("at", "done", "total", "text")}
    if held is None or _reached(said) >= _reached(held):
        doc["progress"] = said


def _reached(said: dict[str, Any]) -> tuple[float, float, str]:
    return said["at"], said["done"] if is_number(said["done"]) else 0, repr(said)


def _artifact(doc: Doc, event: Event) -> None:
    artifacts = doc.setdefault("artifacts", {})
    key = str(event.get("key"))
    said = {k: event.get(k) for k in ("key", "type", "at", "description", "data")}
    if key not in artifacts or (said["at"], repr(said)) >= (artifacts[key]["at"], repr(artifacts[key])):
        artifacts[key] = said


def _slot(doc: Doc, event: Event) -> None:
    doc.setdefault("slots", []).append({k: event.get(k) for k in ("limit", "occupy", "at", "waited", "held")})
    doc["slots"].sort(key=lambda slot: (slot["at"], repr(slot)))


def _log(doc: Doc, event: Event) -> None:
    doc["log_lines"] = doc.get("log_lines", 0) + 1


def _transition(doc: Doc, event: Event) -> None:
    """Changes nothing: it tells of a change."""


def _forgot(doc: Doc, event: Event) -> None:
    """Stands in a file for `lines` log lines that were pruned from it, the last of them at `at`."""
    doc["log_lines"] = doc.get("log_lines", 0) + event["lines"]


def _drop(doc: Doc, event: Event) -> None:
    for key in ("lines", "bytes"):
        doc.setdefault("dropped", {"lines": 0, "bytes": 0})[key] += int(event.get(key) or 0)


def _advance(doc: Doc, rank: int, state: str) -> None:
    """Events of a run may come from two journals after a rotation: the furthest phase wins, in any order."""
    if rank >= doc.get("phase", [-1])[0]:
        doc["phase"] = [rank, state]


def _process(process: Doc, event: Event) -> None:
    if fits(HEADER, event):
        process["header"] = {key: value for key, value in event.items() if key not in ("event", "c")}


def _beat(process: Doc, event: Event) -> None:
    if is_number(event.get("at")) and is_count(event.get("seq")):
        process["beat_at"] = event["at"]
        process["beats"] = event["seq"]
        _sample(process, event)


def _sample(process: Doc, event: Event) -> None:
    """Keep at most SAMPLES beats that say what the process used; where they become more, every other one goes."""
    said = [event["at"], event.get("rss"), event.get("cpu")]
    if said[1:] == [None, None] or not all(each is None or is_number(each) for each in said):
        return
    rows = process.setdefault("samples", [])
    if rows and said[0] - rows[-1][0] < process.get("sample_every", 0.0):
        return
    rows.append(said)
    if len(rows) > SAMPLES:
        process["sample_every"] = 2 * (said[0] - rows[0][0]) / SAMPLES  # no less than twice what it was
        del rows[1::2]


def _close(process: Doc, event: Event) -> None:
    process["closed_at"] = event["at"] if is_number(event.get("at")) else 0.0


def _moved(process: Doc, event: Event) -> None:
    if isinstance(event.get("to"), str):
        process["moved_to"] = event["to"]


_STARTING = (
    *("kind", "name", "run_name", "project", "tags", "parameters"),
    *("code", "check", "cause", "argv", "cwd"),
)
_ENDING = ("state", "at", "seconds", "reason", "result", "error", "exit_code", "signal", "usage", "about")
_FOLDS: dict[str, Callable[[Doc, Event], None]] = {
    "start": _start,
    "attempt": _attempt,
    "retry": _retry,
    "end": _end,
    "judge": _judge,
    "progress": _progress,
    "artifact": _artifact,
    "slot": _slot,
    "log": _log,
    "drop": _drop,
    "forgot": _forgot,
    "transition": _transition,
}
OF_PROCESS: dict[str, Callable[[Doc, Event], None]] = {
    "process": _process,
    "beat": _beat,
    "moved": _moved,
    "close": _close,
}
