"""The alerting half of the watchdog: two steps that each do one unit of work and answer "is there more?".

`collect` turns new transitions and incidents into outbox documents, repeats what lasts and decides what goes out alone
and what in a digest; `deliver` sends it. They share nothing but the store, and each may be killed anywhere and
repeated: documents have stable keys, and the cursor moves on only after the documents are there. So an alert is sent at
least once, and rarely twice (with the same `dedupe_key`).
"""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from math import inf, nextafter
from typing import TYPE_CHECKING

from ...backends.clock import rfc3339
from ...backends.queries import RunQuery
from ...backends.records import Document
from ...backends.states import FAILURES
from . import broken, gather, outbox, reminders, tidings
from .delivery import deliver
from .desk import Desk
from .message import Facts
from .quiet import kept
from .readable import run_of, runs_of
from .rules import (
    RECOVERED,
    TROUBLE,
    Due,
    cleared,
    depth,
    due,
    event_of,
    good_news,
    resolves,
    rules_of,
    supersedes,
    wants_recovery,
)

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...backends.clock import Clock
    from ...backends.records import Json, Run, Transition
    from ..settings import Rule, Settings

__all__ = ["collect", "deliver"]

HINDSIGHT = 3600.0  # seconds: what happened earlier than this before the first pass is history, not news
_BATCH = 1000  # transitions per step
CURSOR = ("cursor", "alerts")


def collect(backend: Backend, clock: Clock, settings: Settings) -> bool:
    """Put what the next transitions, or all incidents and reminders, call for into the outbox; whether there may be
    more. When there is no more, what waits is let out: one by one, or in digests.

    Without channels nothing is collected and the cursor stays. The first pass on a store leaves out what happened
    more than an hour before it, so that a long history does not become a storm. Any number of watchdogs may collect;
    since the first one to see a transition goes by its own rules, those that share a store should have the same.
    Raises StorageError; then nothing is lost, and the step is to be repeated.
    """
    rules = rules_of(tuple(settings.alerts), tuple(settings.channels))
    if not rules:
        return False
    cursor = _cursor(backend, clock)
    rows = backend.transitions(cursor.value["seq"], _BATCH)
    desk = Desk(backend, rules, clock.wall(), cursor.value["seq"])
    for row in rows:
        if row.at >= cursor.value["since"]:
            _take(desk, row)
    handled = {
        "seq": rows[-1].seq if rows else cursor.value["seq"],
        "since": cursor.value["since"]
        if len(rows) == _BATCH
        else 0.0,  # from now on no host's clock hides news
    }
    if handled != cursor.value:  # losing this race is fine: the other watchdog put the same documents there
        backend.put(*CURSOR, handled, cursor.version)
    if len(rows) == _BATCH:
        return True
    alerts = dict(backend.list(outbox.ALERT))
    broken.look(backend, alerts, desk.now)
    changed = tidings.take(desk, tuple(settings.channels))
    changed = reminders.remind(desk, alerts) or changed
    if changed:
        alerts = dict(backend.list(outbox.ALERT))
    gather.gather(backend, alerts, desk.now, settings.watchdog.digest)
    return False


def _take(desk: Desk, row: Transition) -> None:
    """Alerts and recoveries that one transition calls for."""
    if event_of(row) is None and cleared(row) is None:
        return
    run = run_of(desk.backend, row.run_id)
    if run is None:  # pruned since
        return
    for item in due(row, run, history(desk.backend, desk.rules, run), desk.rules):
        for channel in item.rule.to:
            _post(desk, row, run, item, channel)
    _resolve(desk, row, run)


def _post(desk: Desk, row: Transition, run: Run, item: Due, channel: str) -> None:
    rule, facts = item.rule, Facts(item.event, item.dedupe_key, row.at, row.reason)
    trouble = item.event in TROUBLE
    new = {"channel": channel, "kind": run.kind, "seq": row.seq}
    new["alert"] = {"event": item.event, "project": run.project, "job": run.name}
    older: dict[str, Json] = {}
    if trouble:
        older = {key: doc for key, doc in desk.open_of(run.project, run.name).items() if supersedes(new, doc)}
    order = outbox.Order(
        *(
            channel,
            row.seq,
            run.kind,
            min([row.at, *(doc["since"] for doc in older.values())]),
            rule.fallback,
        ),
        open=trouble,
        recovered=wants_recovery(rule),
        remind=rule.remind if trouble else None,
        quiet=kept(rule.quiet_hours),
    )
    desk.post(run, facts, order, told=any(doc["told"] for doc in older.values()))
    desk.close(older, over=False)


def _resolve(desk: Desk, row: Transition, run: Run) -> None:
    over = {key: doc for key, doc in desk.open_of(run.project, run.name).items() if resolves(row, run, doc)}
    told = [doc for doc in desk.hush(over).values() if doc["recovered"]] if over else []
    if told and good_news(row, run):
        first = min(told, key=lambda doc: float(doc["since"]))
        before = first["alert"]
        reason = (
            f"before: {before['event']} (run {before['run_id']}, alert of {rfc3339(first['created_at'])})"
        )
        key = f"{run.id}:{RECOVERED}" + (f":{row.seq}" if cleared(row) else "")
        facts = Facts(RECOVERED, key, row.at, reason, since=first["since"])
        for doc in {doc["channel"]: doc for doc in told}.values():
            order = outbox.Order(
                doc["channel"], row.seq, run.kind, row.at, doc["fallback"], quiet=doc.get("quiet")
            )
            desk.post(run, facts, order)
    desk.close(over, over=True)


def history(backend: Backend, rules: Sequence[Rule], run: Run) -> list[Run]:
    """The runs that `due` needs to see."""
    wanted = depth(rules)
    if wanted <= 1 or run.state not in FAILURES:
        return [run]
    query = RunQuery(
        project=run.project,
        job=escape(run.name),
        kinds=(run.kind,),
        states=(*FAILURES, "COMPLETED"),
        until=nextafter(run.created_at, inf),
        roots=run.parent_id is None,
        limit=wanted,
    )
    return runs_of(backend, query) or [run]


def _cursor(backend: Backend, clock: Clock) -> Document:
    """How far transitions were collected, and since when they count; made by the first watchdog that has channels."""
    held = backend.get(*CURSOR)
    while held is None:
        backend.put(*CURSOR, {"seq": 0, "since": clock.wall() - HINDSIGHT}, 0)
        held = backend.get(*CURSOR)
    return held
