"""From what waits to what is sent: alone, with its last lines and figures, or together in a digest.

A digest is put together in steps that may each be repeated: a document that lists its members, the members marked one
by one by compare-and-set, then its text. So every alert is told in exactly one message, whoever dies in between.
"""

from __future__ import annotations

from glob import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import asdict, evolve
from loguru import logger

from ...backends.clock import token
from ...backends.queries import LogQuery, RunQuery
from ...backends.records import Json
from ..causes import FIRST
from ..why import notes_of, why
from . import outbox
from .digest import Group, Item, Spoken, name_of, plan, worded
from .message import TAIL, Facts, compose
from .quiet import held_back
from .readable import is_away, run_of
from .rules import INCIDENT

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...backends.records import Document

_EXPLAINED = ("failed", "crashed", "timed_out")
PACE = "pace"  # kind of document: what a channel was told lately


def gather(backend: Backend, alerts: dict[str, Document], now: float, size: int) -> None:
    """Let out what of `alerts` may be told now; the rest waits or is held. `size`: see `digest.plan`."""
    for key, document in alerts.items():
        if document.value["state"] == "gathering":
            _finish(backend, key, now)
    quiet = outbox.snoozes(backend, now)
    waiting: dict[str, list[Item]] = {}
    for key, document in alerts.items():
        doc = document.value
        if doc["state"] not in outbox.UNTOLD or (doc["state"] == "held" and held_back(doc, now) is not None):
            continue
        if outbox.is_snoozed(quiet, doc["alert"]["job"], doc["alert"].get("host")):
            _hush(backend, key)
        else:
            waiting.setdefault(doc["channel"], []).append(Item(key, doc))
    for channel, items in waiting.items():
        items.sort(key=lambda item: (item.doc["created_at"], item.doc["seq"]))
        _let_out(backend, channel, items, [each.value for each in alerts.values()], now, size)


def _let_out(
    backend: Backend, channel: str, items: list[Item], docs: list[Json], now: float, size: int
) -> None:
    ahead = [
        doc
        for doc in docs
        if doc["channel"] == channel
        and doc["state"] in ("pending", "gathering")
        and outbox.stands_in_front(doc, now)
    ]
    if any(doc["alert"]["event"] == "digest" for doc in ahead):
        return
    place = quote(channel, safe="")
    pace = backend.get(PACE, place)
    spoken = [Spoken(**each) for each in pace.value["spoken"]] if pace else []
    groups = plan(items, spoken, now, size)
    busy = {(doc["alert"]["project"], doc["alert"]["job"]) for doc in ahead}
    groups = [_behind(group, busy) if len(group) > 1 else group for group in groups]
    groups = [group for group in groups if group]
    if not groups:
        return
    if size and not _reserve(backend, place, pace, groups, spoken, now):
        return  # another watchdog is at it
    for group in groups:
        if len(group) == 1:
            _alone(backend, group[0], now)
        else:
            _together(backend, channel, group, now)


def _behind(group: Group, busy: set[tuple[str, str | None]]) -> Group:
    """Without the alerts of jobs that have one on its way alone, which a digest must not overtake."""
    return tuple(item for item in group if item.job not in busy)


def _reserve(
    backend: Backend, place: str, pace: Document | None, groups: list[Group], spoken: list[Spoken], now: float
) -> bool:
    """Write down first what will have been said: a watchdog that dies in between has said too little, never too
    much."""
    said = {each.key: each for each in spoken if now - 3600 < each.at <= now + 60}
    for group in groups:
        jobs = {item.job for item in group}
        said.setdefault(
            group[0].key, Spoken(group[0].key, now, name_of(jobs.pop()) if len(jobs) == 1 else None)
        )
    value = {"spoken": [asdict(each) for each in said.values()]}
    return backend.put(PACE, place, value, pace.version if pace else 0) is not None


def _hush(backend: Backend, key: str) -> None:
    """Somebody snoozed it while it waited."""
    outbox.update(
        *(backend, outbox.ALERT, key),
        lambda doc: {**doc, "state": "snoozed", "told": False} if _untold(doc) else None,
    )
    outbox.file_away(backend, key)


def _untold(doc: Json) -> bool:
    return doc.get("state") in outbox.UNTOLD


def _alone(backend: Backend, item: Item, now: float) -> None:
    alert = _whole(backend, item.doc)

    def out(doc: Json) -> Json | None:
        if not _untold(doc):
            return None
        told = {"state": "pending", "told": True, "queued_at": now, "next_at": now, "facts": _kept(doc)}
        return {**doc, **told, "alert": alert}

    outbox.update(backend, outbox.ALERT, item.key, out)


def _together(backend: Backend, channel: str, group: Group, now: float) -> None:
    first = group[0].doc
    # A name that never comes again: another watchdog may still be about to finish one that was in vain.
    dedupe_key = f"digest:{channel}:{first['alert']['dedupe_key']}:{token(8)}"
    fallback = next((item.doc["fallback"] for item in group if item.doc["fallback"]), None)
    order = outbox.Order(channel, first["seq"], "digest", first["since"], fallback)
    alert = compose(None, Facts("digest", dedupe_key, now))
    doc = outbox.draft(alert, order, now, "gathering")
    doc |= {"created_at": first["created_at"], "members": [item.key for item in group]}
    key, _ = outbox.post(backend, doc)
    _finish(backend, key, now)


def _finish(backend: Backend, key: str, now: float) -> None:
    """Mark the members, then write the text. Whoever comes second finds the members marked, and the text written."""
    held = backend.get(outbox.ALERT, key)
    if held is None or held.value["state"] != "gathering":
        return
    members = held.value["members"]
    marked = {member: _mark(backend, member, key) for member in members}
    docs = [doc for doc in marked.values() if doc is not None]
    if not docs:
        backend.delete(outbox.ALERT, key, held.version)
        return
    alert = worded(held.value["channel"], held.value["alert"]["dedupe_key"], docs, now)
    done = {name: value for name, value in held.value.items() if name != "members"}
    done |= {"state": "pending", "told": True, "alert": alert, "queued_at": now, "next_at": now}
    if backend.put(outbox.ALERT, key, done, held.version) is not None:
        for member, each in marked.items():
            if each is not None and not each["open"]:
                outbox.file_away(backend, member)


def _mark(backend: Backend, key: str, digest: str) -> Json | None:
    """The member as it is told through the digest; None where it is told otherwise."""
    marked: Json | None = None

    def mark(doc: Json) -> Json | None:
        nonlocal marked
        marked = doc if doc.get("digest") == digest else None
        if not _untold(doc):
            return None
        marked = {**doc, "state": "digest", "digest": digest, "told": True, "facts": _kept(doc)}
        return marked

    outbox.update(backend, outbox.ALERT, key, mark)
    if marked is None and (told := backend.get(outbox.TOLD, key)) and told.value.get("digest") == digest:
        return dict(told.value)
    return marked


def _kept(doc: Json) -> Json | None:
    """The facts that a reminder will need: where there is a run, it has them."""
    facts: Json | None = doc["facts"] if doc["kind"] == INCIDENT else None
    return facts


def _whole(backend: Backend, doc: Json) -> Json:
    """The alert with the run's last lines and its job's usual duration; without them rather than not at all."""
    facts = Facts(**doc["facts"])
    alert: Json = doc["alert"]
    run = run_of(backend, alert["run_id"])
    if run is None:  # there is none, or it was pruned since
        return {**compose(None, facts), **{name: value for name, value in alert.items() if value}}
    try:
        lines = backend.logs(LogQuery(run.id, limit=TAIL, last=True))
        figures = backend.summarize(RunQuery(project=run.project, job=escape(run.name), kinds=(run.kind,)))
        notes = notes_of(backend, run) if alert["event"] == "crashed" else ()
        causes = why(backend, run).causes[:FIRST] if alert["event"] in _EXPLAINED else ()
    except Exception as error:
        if is_away(error):
            raise
        logger.error("alert {}: no log lines, {}: {}", facts.dedupe_key, type(error).__name__, error)
        lines, figures, notes, causes = [], [], (), ()
    usual = figures[0].duration_p50_seconds if figures else None
    return compose(
        run, evolve(facts, tail=tuple(line.text for line in lines), usual=usual, notes=notes, causes=causes)
    )
