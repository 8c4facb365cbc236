"""Which events have the shape that the fold and readers rely on: a journal may come from anywhere, and one odd event
must not make a store unreadable. What is inside of an event's objects is for `shapes`.
"""

from __future__ import annotations

from .states import CONDITIONS, ENDINGS, KINDS, STATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any

    Event = dict[str, Any]
    Shape = dict[str, Callable[[Any], bool]]


def sound(event: Event, known: Container[str] = ()) -> bool:
    """Whether an event is about a run, and sound. `known`: ids of runs that were looked at before."""
    kind, run = event["event"], event.get("run")
    at: Any = event.get("at")
    if kind not in _SHAPES or not is_number(at) or not 0 <= at < 1e11:
        return False
    if not isinstance(run, str) or (run not in known and not _is_id(run)):
        return False
    if kind == "log":  # most lines are, and any text will do
        return True
    return fits(_SHAPES[kind], event) and _has(kind, event)


def _is_id(run: str) -> bool:
    if not (0 < len(run) <= 80 and run.isascii() and run[0] != "."):
        return False
    return run.replace(".", "").replace("-", "").isalnum()


def _has(kind: str, event: Event) -> bool:
    """What an event of this kind cannot do without."""
    if kind == "start":
        return event.get("kind") in KINDS and event.get("name") is not None
    if kind == "end":
        return event.get("state") in ENDINGS
    if kind == "transition":
        return event.get("to") in STATES and event.get("from") in (None, *STATES)
    if kind == "judge":
        condition = event.get("condition")
        return event.get("state") in ENDINGS if condition is None else condition in CONDITIONS
    return all(event.get(key) is not None for key in _NEEDED.get(kind, ()))


def fits(shape: Shape, event: Event) -> bool:
    """Whether the fields that `shape` names are missing, null or of their type."""
    for key, value in event.items():
        if value is not None and key in shape and not shape[key](value):
            return False
    return True


def is_number(value: Any) -> bool:
    """A number that arithmetic with times survives."""
    return type(value) in (int, float) and -1e15 < value < 1e15  # neither a bool nor NaN


def is_count(value: Any) -> bool:
    """A whole number that JSON keeps exactly."""
    return type(value) is int and 0 <= value < 2**53


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


_OF_JOURNAL: Shape = {"journal": _text}
_SHAPES: dict[str, Shape] = {
    "start": {
        **_OF_JOURNAL,
        **dict.fromkeys(("kind", "name", "run_name", "project", "parent", "cwd"), _text),
        **dict.fromkeys(("parameters", "code", "check", "cause"), _object),
        **dict.fromkeys(("tags", "argv"), _texts),
    },
    "attempt": {**_OF_JOURNAL, "attempt": is_count},
    "retry": {**_OF_JOURNAL, "attempt": is_count, "delay": is_number, "reason": _text, "error": _object},
    "end": {
        **_OF_JOURNAL,
        **dict.fromkeys(("state", "reason", "signal"), _text),
        **dict.fromkeys(("error", "usage"), _object),
        **dict.fromkeys(("seconds", "exit_code"), is_number),
    },
    "judge": dict.fromkeys(("state", "by", "condition", "reason"), _text),
    "progress": {"text": _text},
    "artifact": dict.fromkeys(("key", "type", "description"), _text),
    "slot": {"limit": _text, "waited": is_number, "held": is_number},
    "drop": {"lines": is_count, "bytes": is_count},
    "forgot": {"lines": is_count},
    "transition": dict.fromkeys(("from", "to", "condition", "reason"), _text),
    "log": {},
}
_NEEDED = {"attempt": ("attempt",), "retry": ("attempt",), "forgot": ("lines",)}
HEADER: Shape = {
    **dict.fromkeys(("host", "user", "project", "cwd", "boot", "python", "store", "zone"), _text),
    "heartbeat": is_number,
    "utc_offset": lambda value: is_number(value) and abs(value) <= 86400,
    **dict.fromkeys(("pid", "namespace", "start_ticks"), is_count),
    "argv": _texts,
    "code": _object,
}
