"""What readers rely on in the objects that a client writes into its events: `check`, `error`, `usage` and the like.

The fold looks at an event's own fields; what is inside of them may come from any client of any version. A member
that is not of the type that it should be is left out, as if it had not been written: the record stays.
"""

from __future__ import annotations

from .errors import ScheduleError
from .schedule import check_syntax, parse_deadline, parse_duration, parse_rate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Json = dict[str, Any]
    Shape = Mapping[str, Callable[[Any], Any]]


def fitting(value: Any, shape: Shape) -> Json | None:
    """The object without members that do not fit; None for what is no object. Members that `shape` does not name stay,
    those of a `check` go: a reader could only misunderstand them."""
    if not isinstance(value, dict):
        return None
    out = {}
    for key, member in value.items():
        look = shape.get(key)
        if look is None:
            if shape is not CHECK:
                out[key] = member
        else:
            try:
                out[key] = look(member)
            except ValueError:
                continue
    return out


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else _wrong(value)


def _text_or_none(value: Any) -> Any:
    """Of what is always there, also as None: a command's error has no traceback, and says so."""
    return None if value is None else _text(value)


def _number(value: Any) -> Any:
    return value if type(value) in (int, float) and -1e15 < value < 1e15 else _wrong(value)


def _count(value: Any) -> Any:
    return value if type(value) is int and 0 < value < 2**31 else _wrong(value)


def _total(value: Any) -> Any:
    # So that done / total is a number.
    return value if value == 0 or _number(value) >= 1e-6 else _wrong(value)


def _times(value: Any) -> Any:
    return value if 0 < _number(value) <= 1000 else _wrong(value)


def _texts(value: Any) -> Any:
    return (
        value if isinstance(value, list) and all(isinstance(each, str) for each in value) else _wrong(value)
    )


def _texts_by_name(value: Any) -> Any:
    return value if isinstance(value, dict) and _texts([*value.values()]) is not None else _wrong(value)


def _schedule(value: Any) -> Any:
    check_syntax(value)
    return _text(value)


def _rate(value: Any) -> Any:
    parse_rate(value)
    return _text(value)


def _wrong(value: Any) -> Any:
    raise ScheduleError(f"{value!r:.60} is of another type")


CHECK: Shape = {
    **dict.fromkeys(("grace", "max_duration", "min_duration", "fresh_within"), parse_duration),
    **dict.fromkeys(("stall_after", "timeout_seconds"), parse_duration),
    **dict.fromkeys(("timezone", "on_overdue", "on_unmet"), _text),
    "schedule": _schedule,
    "finish_by": parse_deadline,
    "max_runs_per": _rate,
    "max_times_median": _times,
    "median_of": _count,
    "needs": _texts,
}
ERROR: Shape = {**dict.fromkeys(("type", "message", "fingerprint"), _text), "traceback": _text_or_none}
USAGE: Shape = dict.fromkeys(("cpu_seconds", "max_rss_bytes"), _number)
CODE: Shape = dict.fromkeys(("file", "git_commit"), _text)
CAUSE: Shape = dict.fromkeys(("rerun_of", "by", "alert"), _text)
PROGRESS: Shape = {"at": _number, "done": _number, "total": _total, "text": _text}
ABOUT: Shape = {"packages": _texts_by_name, "environ": _texts}
