"""Alerts as they would be, of trouble that nobody is in: for trying what a receiver makes of each kind. Pure."""

from __future__ import annotations

from difflib import get_close_matches

from ...backends.errors import SettingsError
from ...backends.records import Json, Run
from ...backends.states import CONDITIONS, ENDINGS
from ..setting_types import EVENTS
from . import digest
from .message import Facts, compose

JOB = "holter-test"
_STATES = {state.lower(): state for state in ENDINGS}
_HOSTS = ("disk", "memory", "load", "host_restarted", "watch_gap", "settings_refused", "watch_broken")
_REASONS = {
    "crashed": "killed by signal 9",
    "timed_out": "not done within 1 h 00 min",
    "cancelled": "cancelled by somebody",
    "overdue": "runs longer than 1 h 00 min",
    "unresponsive": "no heartbeat for 15 s",
    "stalled": "no progress for 10 min 0 s",
    "lost": "nothing heard of its process for 1 min 0 s",
    "recovered": "before: failed",
    "late": "expected at 02:00, not seen by 02:15",
    "missed": "expected at 02:00, not seen until the next time",
    "unfinished": "not completed by 06:00",
    "short": "took 0.2 s, expected at least 5 s",
    "not_fresh": "no good run for 26 h",
    "unjudged": "there is no time zone 'Europe/Berlim' (did you mean Europe/Berlin?)",
    "slot_wait": "waits 10 min for a slot of database",
    "slot_hold": "holds a slot of database for 2 h",
    "disk": "/var has 1% left (0.4 GB)",
    "memory": "2% of the memory are left",
    "load": "load 12.0 per core",
    "channel_broken": "does not deliver since 15 min",
    "watch_broken": "the store cannot be reached",
}
_ERROR = {"type": "ConnectionError", "message": "warehouse:5432 refused the connection", "traceback": None}
_TAIL = ("reading orders of yesterday", "12,480 orders", "writing to warehouse")


def sample(event: str, channel: str, at: float) -> Json:
    """A whole alert of the kind `event` (one of EVENTS, or `digest`) about the job `holter-test`: its title begins with
    `TEST`, its body says so, and its JSON has `test: true`. Raises SettingsError where there is no such event."""
    known = (*EVENTS, "digest")
    if event not in known:
        near = get_close_matches(event, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise SettingsError(f"no event {event!r}", path="--as", hint=hint)
    key = f"test:{event}:{channel}:{int(at * 1000)}"
    if event == "digest":
        kinds = ("crashed", "failed", "failed", "late", "disk")
        alert = digest.worded(channel, key, [{"alert": _one(kind, key, at)} for kind in kinds], at)
    else:
        alert = _one(event, key, at)
    body = f"This is a test by `holter alerts test`: nothing happened.\n\n{alert['body']}"
    return {**alert, "title": f"TEST: {alert['title']}", "body": body, "test": True}


def _one(event: str, key: str, at: float) -> Json:
    began = at - 42.0
    facts = Facts(event, key, at, _REASONS.get(event), host="holter-test-host")
    if event in _HOSTS:
        return compose(None, facts)
    if event == "channel_broken":
        return compose(None, Facts(event, key, at, _REASONS[event], subject="channel holter-test"))
    if event not in (*_STATES, *CONDITIONS, "stale", "recovered"):
        return compose(None, Facts(event, key, at, _REASONS.get(event), job=JOB))
    bad = event in ("failed", "timed_out", "crashed")
    run = Run(
        id="holter-test-run",
        kind="flow",
        name=JOB,
        root_id="holter-test-run",
        state=_STATES.get(event, "COMPLETED" if event == "recovered" else "RUNNING"),
        conditions=(event,) if event in CONDITIONS else (),
        host="holter-test-host",
        created_at=began,
        started_at=began,
        ended_at=at if event in (*_STATES, "recovered") else None,
        error=_ERROR if event == "failed" else None,
    )
    told = Facts(event, key, at, _REASONS.get(event), tail=_TAIL if bad else (), usual=184.0)
    return compose(run, told)
