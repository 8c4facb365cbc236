"""The outbox: one Registry document per alert and channel, changed by compare-and-set only.

A document's `state` is `waiting` until it is decided how it is told, `held` in quiet hours. Then it is `pending` until
its channel took it (`sent`) or nobody did (`undelivered`), or a `digest` tells of it, which is itself `gathering`
before. An alert about a snoozed job or host is recorded as `snoozed` and never sent. `route` is the channel that it
goes to now: its own `channel`, or the `fallback` after that one failed. `open` is true while the trouble that it tells
of lasts.

What is neither pending nor open moves to a second kind, so that a look at the outbox costs what there is to do, not
what was ever said.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import frozen

from ...backends.clock import SYSTEM, Clock, rfc3339
from .message import exception_line

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...backends.records import Document, Json

ALERT = "alert"  # kinds of documents: what is to be done,
TOLD = "told"  # and what was
CHANNEL = "channel"
SNOOZE = "snooze"
UNTOLD = ("waiting", "held")
UNDONE = (*UNTOLD, "gathering", "pending")
# Seconds for which an undelivered alert stays among what is to be done: its channel is alarmed.
ALARMED = 3600.0
IN_ORDER = 6 * 3600.0  # seconds of failing for which an alert keeps later ones of its job waiting
KEEP = 30 * 86400.0  # seconds that a document stays after its alert


@frozen
class Order:
    """What collecting decides about an alert: `channel` and `fallback` (names), `seq` of the transition that caused
    it, `kind` of the run, whether it stays `open`, whether to tell of its recovery (`recovered`), seconds between
    reminders (`remind`, None for none), since when the trouble lasts (`since`, Unix seconds) and the `quiet` hours of
    its rule (see `quiet.kept`)."""

    channel: str
    seq: int
    kind: str
    since: float
    fallback: str | None = None
    open: bool = False
    recovered: bool = False
    remind: float | None = None
    quiet: Json | None = None


def key_of(dedupe_key: str, channel: str) -> str:
    """The document's key: the same alert on the same channel is the same document."""
    return quote(f"{dedupe_key}~{channel}".replace(":", "~"), safe="")


def draft(alert: Json, order: Order, now: float, state: str = "waiting", facts: Json | None = None) -> Json:
    """A new document: not in the store yet. `told` is whether people hear of this trouble at all; `facts` is what its
    text is made of when it goes out."""
    return {
        "alert": alert,
        "facts": facts,
        "state": state,
        "told": state == "waiting",
        "channel": order.channel,
        "fallback": order.fallback,
        "route": order.channel,
        "kind": order.kind,
        "seq": order.seq,
        "since": order.since,
        "open": order.open,
        "recovered": order.recovered,
        "remind": order.remind,
        "quiet": order.quiet,
        "created_at": now,
        "queued_at": now,
        "next_at": now,
        "attempts": 0,
        "history": [],
    }


def post(backend: Backend, doc: Json) -> tuple[str, Json]:
    """Put a document into the outbox unless its alert is or was there; the key and what is there. Idempotent."""
    key = key_of(doc["alert"]["dedupe_key"], doc["channel"])
    held = backend.get(TOLD, key)
    if held is None and (made := backend.put(ALERT, key, doc, 0)) is not None:
        held = backend.get(TOLD, key)  # told and moved away between our look and our put
        if held is not None:
            backend.delete(ALERT, key, made)
    elif held is None:
        held = backend.get(ALERT, key) or backend.get(TOLD, key)
    return key, held.value if held else doc


def update(backend: Backend, kind: str, key: str, change: Callable[[Json], Json | None]) -> bool:
    """Replace a document's value ({} where there is none) by `change(value)`; False where that is None.

    Losing a race is normal: the value is read again and `change` decides again.
    """
    while True:
        held = backend.get(kind, key)
        value = change(dict(held.value) if held else {})
        if value is None:
            return False
        if backend.put(kind, key, value, held.version if held else 0) is not None:
            return True


def file_away(backend: Backend, key: str) -> None:
    """Move a document that needs nothing more. A death in between leaves it in both places until `tidy`."""
    held = backend.get(ALERT, key)
    if held is not None and held.value["state"] not in (*UNDONE, "undelivered") and not held.value["open"]:
        _move(backend, key, held)


def _move(backend: Backend, key: str, held: Document) -> None:
    backend.put(TOLD, key, held.value, 0)
    backend.delete(ALERT, key, held.version)


def still_open(backend: Backend) -> dict[str, Json]:
    """The documents of trouble that lasts, by key."""
    return {key: held.value for key, held in backend.list(ALERT) if held.value.get("open")}


def pending(backend: Backend) -> list[tuple[str, Document]]:
    """What waits for delivery, oldest first: a recovery never overtakes the alert before it."""
    waiting = [(key, held) for key, held in backend.list(ALERT) if held.value["state"] == "pending"]
    return sorted(waiting, key=lambda item: (item[1].value["created_at"], item[1].value["seq"]))


def stands_in_front(doc: Json, now: float) -> bool:
    """Whether later alerts of its job wait for this one, which is on its way."""
    since: float | None = doc.get("failing_since")
    return since is None or now < since + IN_ORDER


def resolve(backend: Backend, key: str, now: float, *, over: bool, untold: bool = False) -> bool:
    """The trouble is over, or (`over` false) a later alert tells of it. `untold`: only if nobody was told of it.
    Whether it was open until now."""

    def close(doc: Json) -> Json | None:
        closed = {**doc, "open": False, "resolved_at": now, "over_at": now if over else None}
        return closed if doc.get("open") and not (untold and doc["told"]) else None

    closed = update(backend, ALERT, key, close)
    if closed:
        file_away(backend, key)
    return closed


def list_alerts(backend: Backend) -> list[Json]:
    """Every alert that the store remembers, newest first, as `holter alerts --json` prints it (times RFC 3339)."""
    found = {key: _shown(held.value) for kind in (TOLD, ALERT) for key, held in backend.list(kind)}
    return sorted(found.values(), key=lambda item: str(item["created_at"]), reverse=True)


def broken_channels(backend: Backend) -> list[Json]:
    """The channels whose last delivery failed: `channel, failing_since, failures, last_error` (times RFC 3339)."""
    return [
        {
            "channel": held.value["channel"],
            "failing_since": rfc3339(held.value["failing_since"]),
            "failures": held.value["failures"],
            "last_error": held.value["last_error"],
        }
        for _, held in backend.list(CHANNEL)
        if held.value.get("failing_since") is not None
    ]


def snooze(
    backend: Backend, job: str | None, until: float, by: str | None = None, host: str | None = None
) -> None:
    """Send no alert about jobs that match the pattern `job`, on hosts that match `host` (None: all), before `until`
    (Unix seconds). They are still recorded.

    A later snooze of the same patterns replaces the earlier one; `until` in the past ends it.
    """
    about = {name: pattern for name, pattern in (("job", job), ("host", host)) if pattern is not None}
    names = [job or ""] if host is None else [job or "", host]
    key = "~host~".join(quote(name, safe="").replace("~", "%7E") for name in names)
    update(backend, SNOOZE, key, lambda _: {**about, "until": until, "by": by})


def snoozes(backend: Backend, now: float) -> list[Json]:
    """The snoozes that hold at `now`: `job` and `host` (patterns, where given), `until` (Unix seconds), `by`."""
    return [held.value for _, held in backend.list(SNOOZE) if held.value["until"] > now]


def is_snoozed(held: list[Json], job: str | None, host: str | None = None) -> bool:
    return any(_about(job, each.get("job")) and _about(host, each.get("host")) for each in held)


def _about(name: str | None, pattern: str | None) -> bool:
    return pattern is None or (name is not None and fnmatchcase(name, pattern))


def ack(
    backend: Backend,
    job: str | None,
    by: str | None = None,
    clock: Clock = SYSTEM,
    host: str | None = None,
) -> int:
    """Somebody knows of the open trouble of jobs that match `job`, on hosts that match `host`: no reminders of it. How
    many alerts that were.

    Its recovery is still told, and so is the next failure.
    """
    now = clock.wall()
    return sum(
        update(
            backend,
            ALERT,
            key,
            lambda doc: {**doc, "acked_at": now, "acked_by": by} if doc.get("open") else None,
        )
        for key, doc in still_open(backend).items()
        if _about(doc["alert"]["job"], job) and _about(doc["alert"].get("host"), host)
    )


def tidy(backend: Backend, clock: Clock = SYSTEM) -> int:
    """Forget alerts (pending ones aside) older than 30 days and snoozes that ended. How many documents that were."""
    now = clock.wall()
    for key, held in backend.list(ALERT):
        if held.value["state"] != "undelivered":
            file_away(backend, key)
        elif not held.value["open"] and held.value["undelivered_at"] < now - ALARMED:
            _move(backend, key, held)
    old = [
        (kind, key, held.version)
        for kind in (ALERT, TOLD)
        for key, held in backend.list(kind)
        if held.value["state"] not in UNDONE and held.value["created_at"] < now - KEEP
    ]
    old += [(SNOOZE, key, held.version) for key, held in backend.list(SNOOZE) if held.value["until"] <= now]
    return sum(backend.delete(kind, key, version) for kind, key, version in old)


def _about_what(doc: Json) -> str | None:
    """Whom an alert is about that is about no job: `12 alerts`, `channel ops`, a host."""
    if count := doc["alert"].get("count"):
        return f"{count} alerts"
    subject = (doc.get("facts") or {}).get("subject") or doc["alert"].get("host")
    return str(subject) if subject else None


def _shown(doc: Json) -> Json:
    alert = doc["alert"]
    shown = {
        name: alert.get(name)
        for name in ("event", "dedupe_key", "job", "project", "host", "run_id", "title", "at")
    }
    shown |= {
        name: doc.get(name)
        for name in ("state", "channel", "fallback", "open", "attempts", "last_error", "digest")
    }
    shown["about"] = alert.get("job") or _about_what(doc)
    shown["reason"] = exception_line(alert.get("error")) or alert.get("reason")
    shown["via"] = doc["route"] if doc["state"] == "sent" else None
    for name in ("created_at", "sent_at", "resolved_at", "acked_at"):
        shown[name] = rfc3339(doc.get(name))
    shown["next_at"] = rfc3339(doc["next_at"]) if doc["state"] == "pending" else None
    return shown
