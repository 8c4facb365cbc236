"""Trouble that lasts is told again: as often as its rule says, and not for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from . import outbox
from .message import Facts
from .quiet import held_back
from .readable import run_of
from .rules import INCIDENT

if TYPE_CHECKING:
    from ...backends.records import Document, Json
    from .desk import Desk

AT_MOST = 20  # reminders of one alert


def remind(desk: Desk, alerts: dict[str, Document]) -> bool:
    """Alert again about what of `alerts` lasts longer than its rule's `remind` says; whether there was any.

    Not about snoozed jobs, in quiet hours, about acknowledged alerts, and about those that were not delivered yet.
    """
    due = {key: held.value for key, held in alerts.items() if _due(held.value, desk.now)}
    due = {key: doc for key, doc in due.items() if not desk.snoozed(doc["alert"])}
    for key, doc in due.items():
        _remind(desk, key, doc)
    return bool(due)


def _due(doc: Json, now: float) -> bool:
    last = doc.get("reminded_at") or doc["created_at"]
    return (
        bool(doc["open"] and doc["remind"])
        and now - last >= doc["remind"]
        and doc["state"] not in outbox.UNDONE
        and not doc.get("acked_at")
        and doc.get("reminded", 0) < AT_MOST
        and held_back(doc, now) is None
    )


def _remind(desk: Desk, key: str, doc: Json) -> None:
    again, alert = doc.get("reminded", 0) + 1, doc["alert"]
    dedupe_key = f"{alert['dedupe_key']}:reminder-{again}"
    run = run_of(desk.backend, alert["run_id"])
    if doc["kind"] == INCIDENT:
        facts = evolve(Facts(**doc["facts"]), dedupe_key=dedupe_key, at=desk.now)
    elif run is None:  # pruned since
        return
    else:
        facts = Facts(alert["event"], dedupe_key, desk.now, run.reason or alert["reason"])
    order = outbox.Order(
        doc["channel"], doc["seq"], doc["kind"], doc["since"], doc["fallback"], quiet=doc.get("quiet")
    )
    desk.post(run, evolve(facts, since=doc["since"], again=again), order)

    def note(held: Json) -> Json | None:
        if not held or held.get("reminded", 0) >= again:
            return None
        return {**held, "reminded": again, "reminded_at": desk.now, "told": True}

    outbox.update(desk.backend, outbox.ALERT, key, note)
