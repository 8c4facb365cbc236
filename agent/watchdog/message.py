"""What an alert says: the JSON for programs, and a title and a text for people. Pure."""

from __future__ import annotations

import shlex
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
    "missed": "did not run",
    "unfinished": "did not finish in time",
    "short": "ended suspiciously soon",
    "frequent": "runs too often",
    "not_fresh": "has no recent good run",
    "unjudged": "cannot be judged",
    "zone_mismatch": "seems to run in another time zone",
    "slot_wait": "waits long for a slot",
    "slot_hold": "holds a slot for long",
    "disk": "runs out of disk space",
    "memory": "runs out of memory",
    "load": "has a high load",
    "host_restarted": "was restarted",
    "watch_gap": "was not watched for a while",
    "channel_broken": "does not deliver",
    "watch_broken": "has a watchdog that cannot do its work",
    "settings_refused": "keeps its old settings: the new ones are wrong",
}
_SEE = {"slot_wait": "holter slots", "slot_hold": "holter slots"}


@frozen
class Facts:
    """What `compose` puts into words. `event` and `dedupe_key` as the rules give them; `at` when it happened
    (Unix seconds); `reason` in words; `tail` the run's last lines, oldest first; `usual` the median duration of
    the job's completed runs (seconds); `since` when the trouble began, where that is not `at`; `again` counts the
    reminders, 0 for the alert itself; `notes` what the host said meanwhile, `causes` why it probably happened. `job`,
    `project`, `host` and `subject` (who is in trouble where that is no job) are for what is no run's own."""

    event: str
    dedupe_key: str
    at: float
    reason: str | None = None
    tail: tuple[str, ...] = ()
    usual: float | None = None
    since: float | None = None
    again: int = 0
    notes: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    job: str | None = None
    project: str = "default"
    host: str | None = None
    subject: str | None = None


def compose(run: Run | None, facts: Facts) -> Json:
    """The alert as channels get it. Times are RFC 3339, durations seconds (of a live run: until `at`)."""
    duration = run.duration_seconds if run else None
    if run and duration is None and run.started_at is not None:
        duration = max(0.0, facts.at - run.started_at)
    alert = {
        "event": facts.event,
        "dedupe_key": facts.dedupe_key,
        "job": run.name if run else facts.job,
        "project": run.project if run else facts.project,
        "run_id": run.id if run else None,
        "state": run.state if run else None,
        "conditions": list(run.conditions) if run else [],
        "host": run.host if run else facts.host,
        "at": rfc3339(facts.at),
        "reason": facts.reason,
        "error": run.error if run else None,
        "log_tail": [_cut(line) for line in facts.tail],
        "duration_seconds": duration,
        "usual_duration_seconds": facts.usual,
    }
    return {**alert, "title": _title(alert, facts), "body": _body(alert, facts, duration)}


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


def job_name(job: str, project: str) -> str:
    """`etl`, or `billing/etl` outside the default project."""
    return job if project == "default" else f"{project}/{job}"


def said(event: str) -> str:
    """An event in words: `timed out`."""
    return _SAID.get(event, event.replace("_", " "))


def _title(alert: Json, facts: Facts) -> str:
    name = facts.subject or alert["host"] or "holter"
    if alert["job"]:
        name = job_name(alert["job"], alert["project"])
    where = f" on {alert['host']}" if alert["host"] and alert["host"] != name else ""
    again = f" (reminder {facts.again})" if facts.again else ""
    return f"{name} {said(facts.event)}{where}{again}"


def _body(alert: Json, facts: Facts, duration: float | None) -> str:
    since = f" Since {rfc3339(facts.since)}." if facts.since is not None else ""
    when = f"At {rfc3339(facts.at)}{_took(facts, duration)}.{since}"
    lines = [line for line in (exception_line(alert["error"]), facts.reason, when) if line]
    lines += [f"{alert['host']}: {_cut(note)}" for note in facts.notes]
    if facts.causes:
        lines += ["", "Probably because:", *(f"  {_cut(cause)}" for cause in facts.causes)]
    if facts.tail:
        lines += ["", "Last lines:", *(f"  {_cut(line)}" for line in facts.tail)]
    return "\n".join([*lines, "", f"See more: {_see(alert)}"])


def _see(alert: Json) -> str:
    """The command that shows more."""
    if alert["event"] in _SEE:
        return _SEE[alert["event"]]
    if alert["run_id"]:
        return f"holter show {alert['run_id']}"
    return f"holter status --job {quoted(alert['job'])}" if alert["job"] else "holter doctor"


def quoted(name: str) -> str:
    """A name as a shell takes it."""
    return shlex.quote(name)


def _took(facts: Facts, duration: float | None) -> str:
    if duration is None:
        return ""
    usual = f" (usually {duration_text(facts.usual)})" if facts.usual is not None else ""
    return f", after {duration_text(duration)}{usual}"


def exception_line(error: Any) -> str:
    """`ValueError: no rows`; "" where there is none."""
    if not isinstance(error, dict):  # a journal may come from anywhere
        return ""
    kind, message = str(error.get("type") or ""), str(error.get("message") or "").strip()
    return _cut(f"{kind}: {message}" if kind and message else kind or message)


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}..."
