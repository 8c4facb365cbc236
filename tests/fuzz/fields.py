"""A journal in which every kind of event has every field, and all that can be written into a field instead."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from holter.backends.lines import encode

Json = dict[str, Any]
Place = tuple[int, tuple[str | int, ...]]  # which event, and the way to a member of it

NOON = 1_795_000_000.0
WRONG: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1e14,
        -1e14,
        1e-320,
        10**30,
        "",
        "0",
        "5m",
        "every 0.001s",
        "\x1b[31m\u202e<b>'\"",
        "61 * * * *",
    ),
    *("Europe/Berln", "x" * 5000, [], [None], [[1]], {}, {"a": {"b": []}}, [{"a": 1}, "b"]),
)
ERROR = {"type": "E", "message": "m", "traceback": "Traceback\n E: m", "fingerprint": "f1"}
CHECK = {
    "schedule": "0 2 * * *",
    "timezone": "Europe/Berlin",
    "grace": 300.0,
    "finish_by": "06:00",
    "max_duration": 60.0,
    "min_duration": 1.0,
    "max_runs_per": "3 per 1h",
    "max_times_median": 3.0,
    "median_of": 20,
    "fresh_within": 3600.0,
    "on_overdue": "alert",
    "stall_after": 60.0,
    "timeout_seconds": 60.0,
    "needs": ["other"],
    "on_unmet": "skip",
}


def specimen(run: str, name: str, at: float, state: str | None = "FAILED") -> list[Json]:
    """All that a process can say of a run; `state` None: it says no end."""
    header = {"host": "h1", "user": "u", "pid": 99, "project": "default", "argv": ["job.py"], "cwd": "/srv"}
    header |= {
        "boot": "b",
        "namespace": 1,
        "start_ticks": 5,
        "python": "3.12",
        "zone": "UTC",
        "utc_offset": 0,
    }
    code = {"file": "/srv/job.py", "git_commit": "0123456789abcdef", "crc": "00000000"}
    header |= {"store": "sqlite:///holter.db", "heartbeat": 10.0, "code": code}
    start = {
        "kind": "flow",
        "name": name,
        "run_name": "n1",
        "project": "default",
        "tags": ["a"],
        "cwd": "/srv",
    }
    start |= {"argv": ["job.py"], "code": code, "check": CHECK, "parameters": {"a": 1, "b": ["c"]}}
    start |= {"cause": {"rerun_of": "r0", "by": "ann", "alert": "k"}}
    usage = {"cpu_seconds": 1.5, "max_rss_bytes": 1e8}
    about = {"packages": {"attrs": "24.2"}, "environ": ["PATH"]}
    end = {
        "state": state,
        "seconds": 5.0,
        "reason": "because",
        "result": {"n": 1},
        "error": ERROR,
        "exit_code": 1,
    }
    end |= {"signal": "SIGTERM", "usage": usage, "about": about}
    events: list[Json] = [
        {"event": "process", "journal": f"j-{run}", **header},
        {"event": "start", **start},
        {"event": "attempt", "attempt": 1},
        {"event": "retry", "attempt": 1, "delay": 1.0, "reason": "again", "error": ERROR},
        {"event": "attempt", "attempt": 2},
        {"event": "log", "level": "ERROR", "stream": "log", "text": "a line"},
        {"event": "progress", "done": 3, "total": 10, "text": "reading"},
        {"event": "artifact", "key": "rows", "type": "table", "description": "d", "data": [{"a": 1}]},
        {"event": "artifact", "key": "text", "type": "markdown", "description": "d", "data": "*a*"},
        {
            "event": "artifact",
            "key": "site",
            "type": "link",
            "description": "d",
            "data": "https://example.org",
        },
        {"event": "artifact", "key": "seen", "type": "image", "description": "d", "data": {"file": "a.png"}},
        {"event": "slot", "limit": "db", "occupy": 1, "waited": 0.5, "held": 2.0},
        {"event": "drop", "lines": 3, "bytes": 300},
        {"event": "beat", "seq": 1, "rss": 1e6, "cpu": 0.5},
        {"event": "judge", "condition": "stalled", "on": True, "reason": "no progress", "by": "proof"},
    ]
    if state is not None:
        events.append({"event": "end", **end})
    events.append({"event": "judge", "state": "CRASHED", "reason": "gone", "by": "proof"})
    events.append({"event": "close"})
    for number, event in enumerate(events):
        event["at"] = at + number
        if event["event"] not in ("process", "beat", "close"):
            event["run"] = run
    return events


def places(events: list[Json]) -> Iterator[Place]:
    """Every member of every event, however deep."""
    for number, event in enumerate(events):
        yield from ((number, way) for way in _ways(event) if way != ("event",))


def _ways(value: Any) -> Iterator[tuple[str | int, ...]]:
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        yield (key,)
        yield from ((key, *rest) for rest in _ways(member))


def changed(events: list[Json], place: Place, value: Any) -> list[Json]:
    """The same events with another value at this place."""
    out = deepcopy(events)
    number, way = place
    holder: Any = out[number]
    for key in way[:-1]:
        holder = holder[key]
    holder[way[-1]] = value
    return out


def tape(events: list[Json]) -> bytes:
    return b"".join(encode(event) for event in events)
