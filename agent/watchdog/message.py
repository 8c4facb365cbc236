"""What an alert says: the JSON for programs, and a title and a text for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from ...backends.clock import rfc3339

if TYPE_CHECKING:
    from ...backends.records import Json, Run

TAIL = 20  # lines of the log in an alert
_WIDTH = 500  # characters of one of them
_SAID = {
    "failed": "failed",
    "crashed": "crashed",
    "timed_out": "timed out",
    "cancelled": "was cancelled",
    "skipped": "was skipped",
    "completed": "completed",
    "overdue": "is overdue",
    "unresponsive": "is unresponsive",
    "stalled": "is stalled",
    "lost": "is lost",
    "recovered": "recovered",
}


@frozen
class Facts:
    """What `compose` puts into words. `event` and `dedupe_key` as the rules give them; `at` when it happened
    (Unix seconds); `reason` in words; `tail` the run's last lines, oldest first; `usual` the median duration of
    the job's completed runs (seconds); `since` when the trouble began, where that is not `at`; `again` counts the
    reminders, 0 for the alert itself."""

    event: str
    dedupe_key: str
    at: float
    reason: str | None = None
    tail: tuple[str, ...] = ()
    usual: float | None = None
    since: float | None = None
    again: int = 0


def compose(run: Run, facts: Facts) -> Json:
    """The alert as channels get it. Times are RFC 3339, durations seconds (of a live run: until `at`)."""
    duration = run.duration_seconds
    if duration is None and run.started_at is not None:
        duration = max(0.0, facts.at - run.started_at)
    alert = {
        "event": facts.event,
        "dedupe_key": facts.dedupe_key,
        "job": run.name,
        "project": run.project,
        "run_id": run.id,
        "state": run.state,
        "conditions": list(run.conditions),
        "host": run.host,
        "at": rfc3339(facts.at),
        "reason": facts.reason,
        "error": run.error,
        "log_tail": [_cut(line) for line in facts.tail],
        "duration_seconds": duration,
        "usual_duration_seconds": facts.usual,
    }
    return {**alert, "title": _title(run, facts), "body": _body(run, facts, duration)}


def test_alert(channel: str, at: float) -> Json:
    """What `holter alerts test` sends through a channel: a whole alert, so that a receiver can be tried on it."""
    return {
        "event": "test",
        "dedupe_key": f"test:{channel}:{int(at * 1000)}",
        "job": "holter-test",
        "project": "default",
        "run_id": None,
        "state": None,
        "conditions": [],
        "host": None,
        "at": rfc3339(at),
        "reason": "somebody ran `holter alerts test`",
        "error": None,
        "log_tail": [],
        "duration_seconds": None,
        "usual_duration_seconds": None,
        "title": f"holter test: channel {channel} works",
        "body": "This is a test. No job is in trouble.\nSee more: holter alerts",
    }


def duration_text(seconds: float | None) -> str:
    """`0.4 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`; "" for None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def _title(run: Run, facts: Facts) -> str:
    job = run.name if run.project == "default" else f"{run.project}/{run.name}"
    said = _SAID.get(facts.event, facts.event)
    where = f" on {run.host}" if run.host else ""
    return f"{job} {said}{where}" + (f" (reminder {facts.again})" if facts.again else "")


def _body(run: Run, facts: Facts, duration: float | None) -> str:
    since = f" Since {rfc3339(facts.since)}." if facts.since is not None else ""
    when = f"At {rfc3339(facts.at)}{_took(facts, duration)}.{since}"
    lines = [line for line in (_exception_line(run.error), facts.reason, when) if line]
    if facts.tail:
        lines += ["", "Last lines:", *(f"  {_cut(line)}" for line in facts.tail)]
    return "\n".join([*lines, "", f"See more: holter show {run.id}"])


def _took(facts: Facts, duration: float | None) -> str:
    if duration is None:
        return ""
    usual = f" (usually {duration_text(facts.usual)})" if facts.usual is not None else ""
    return f", after {duration_text(duration)}{usual}"


def _exception_line(error: Any) -> str:
    if not isinstance(error, dict):  # a journal may come from anywhere
        return ""
    kind, message = str(error.get("type") or ""), str(error.get("message") or "").strip()
    return _cut(f"{kind}: {message}" if kind and message else kind or message)


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}..."
