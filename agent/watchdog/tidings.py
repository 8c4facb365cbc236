"""Incidents into alerts: what set in is told, what ended is closed and, where wanted, its recovery told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import evolve

from ...backends.records import Json
from ..settings import Rule
from . import outbox
from .incidents import Incident, handled, news, open_incidents
from .message import Facts
from .quiet import kept
from .readable import last_run, run_of
from .rules import FACTS, INCIDENT, RECOVERED, WATCH_BROKEN, asks, misses_of, wants, wants_recovery

if TYPE_CHECKING:
    from .desk import Desk

BROKEN = "channel_broken"


def take(desk: Desk, channels: tuple[str, ...]) -> bool:
    """Alerts for the incidents that set in, and the end of those that are over; whether there were any.
    `channels`: all that there are.

    Each is marked as handled only when its documents are there: killed in between, it is simply taken again.
    """
    found = news(desk.backend)
    lasting = open_incidents(desk.backend) if found else []
    for each in found:
        if each.over_at is not None:
            _end(desk, each.incident, each.over_at, lasting)
            handled(desk.backend, each)
        elif _begin(desk, each.incident, lasting, channels):
            handled(desk.backend, each)
    return bool(found)


def _begin(desk: Desk, incident: Incident, lasting: list[Incident], channels: tuple[str, ...]) -> bool:
    """Whether that is all that there is to say: misses that are too few for a rule are looked at again."""
    last = last_run(desk.backend, incident.project, incident.job) if incident.job is not None else None
    misses = misses_of(incident, lasting)
    tags = last.tags if last else ()
    run = run_of(desk.backend, incident.run_id)
    if last and incident.host is None:  # where it should have been: a snooze of that host is about it too
        incident = evolve(incident, host=last.host)
    facts = _facts(incident, incident.event, incident.key, incident.since, incident.reason)
    for rule in _asking(desk, incident, tags, misses, lasting, channels):
        for channel in rule.to:
            order = outbox.Order(
                *(channel, desk.seq, INCIDENT, incident.since, rule.fallback),
                open=True,
                recovered=wants_recovery(rule) and incident.event not in FACTS,
                remind=None if incident.event in FACTS else rule.remind,
                quiet=kept(rule.quiet_hours),
            )
            desk.post(run, facts, order)
    return incident.event != "missed" or misses >= max(rule.after_missed for rule in desk.rules)


def _asking(
    desk: Desk,
    incident: Incident,
    tags: tuple[str, ...],
    misses: int,
    lasting: list[Incident],
    channels: tuple[str, ...],
) -> Iterator[Rule]:
    if incident.event != BROKEN:
        found = [rule for rule in desk.rules if asks(rule, incident, tags, misses)]
        if not found and incident.event == WATCH_BROKEN:
            found = [Rule(on=(WATCH_BROKEN,), to=channels)]
        yield from found
        return
    own = incident.details.get("channel")
    bad = {each.details.get("channel") for each in lasting if each.event == BROKEN}
    told = [rule.fallback for rule in desk.rules if own in rule.to and rule.fallback]
    for rule in [rule for rule in desk.rules if wants(rule, BROKEN)] or [Rule(on=(BROKEN,))]:
        places = (rule.to, told, channels)
        others = [
            tuple(dict.fromkeys(channel for channel in place if channel not in least))
            for least in (bad, {own})  # through what works, else through what is not the broken one itself
            for place in places
        ]
        fallback = None if rule.fallback == own else rule.fallback
        yield evolve(rule, to=next(filter(None, others), ()), fallback=fallback)


def _end(desk: Desk, incident: Incident, over_at: float, lasting: list[Incident]) -> None:
    open_docs = desk.open_of(incident.project, incident.job)
    over = {key: doc for key, doc in open_docs.items() if doc["alert"]["dedupe_key"] == incident.key}
    happened = incident.event in FACTS  # it does not end: what still waits is told as it was
    told = [] if happened else [doc for doc in desk.hush(over).values() if doc["recovered"]]
    if told and not _worse(incident, lasting):
        reason = f"before: {incident.event}, {incident.reason}"
        facts = _facts(incident, RECOVERED, f"{incident.key}:{RECOVERED}", over_at, reason)
        for doc in {doc["channel"]: doc for doc in told}.values():
            order = outbox.Order(
                doc["channel"], desk.seq, INCIDENT, over_at, doc["fallback"], quiet=doc.get("quiet")
            )
            desk.post(None, evolve(facts, since=incident.since), order)
    desk.close(over, over=not happened)


def _worse(incident: Incident, lasting: list[Incident]) -> bool:
    """A run that is late no more since it is missed by now did not recover."""
    about = (incident.project, incident.job)
    return incident.event == "late" and any(
        each.event == "missed" and (each.project, each.job) == about for each in lasting
    )


def _facts(incident: Incident, event: str, key: str, at: float, reason: str) -> Facts:
    return Facts(
        *(event, key, at, reason),
        job=incident.job,
        project=incident.project,
        host=incident.host,
        subject=_subject(incident.details),
    )


def _subject(details: Json) -> str | None:
    """Who is in trouble where that is no job and no host."""
    named = (f"{kind} {details[kind]}" for kind in ("channel", "limit") if details.get(kind))
    return next(named, None)
