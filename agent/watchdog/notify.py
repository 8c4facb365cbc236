"""The alerting half of the watchdog: two steps that each do one unit of work and answer "is there more?".

`collect` turns new transitions into outbox documents and repeats what lasts; `deliver` sends them. They share nothing
but the store, and each may be killed anywhere and repeated: documents have stable keys, and the cursor moves on only
after the documents are there. So an alert is sent at least once, and rarely twice (with the same `dedupe_key`).
"""

from __future__ import annotations

from glob import escape
from math import inf, nextafter
from typing import TYPE_CHECKING

from attrs import evolve
from loguru import logger

from ...backends.clock import rfc3339
from ...backends.errors import HolterError
from ...backends.records import Document, LogQuery, RunQuery
from . import outbox
from .delivery import deliver
from .message import TAIL, Facts, compose
from .rules import (
    FAILURES,
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
    from collections.abc import Sequence

    from ...backends.base import Backend
    from ...backends.clock import Clock
    from ...backends.records import Json, Run, Transition
    from ..settings import Rule, Settings

__all__ = ["collect", "deliver"]

HINDSIGHT = 3600.0  # seconds: what happened earlier than this before the first pass is history, not news
_BATCH = 100  # transitions per step
CURSOR = ("cursor", "alerts")


def collect(backend: Backend, clock: Clock, settings: Settings) -> bool:
    """Put what the next transitions call for, or one reminder, into the outbox; whether there may be more.

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
    desk = _Desk(backend, rules, clock.wall())
    for row in rows:
        if row.at >= cursor.value["since"]:
            desk.take(row)
    handled = {
        "seq": rows[-1].seq if rows else cursor.value["seq"],
        "since": cursor.value["since"] if len(rows) == _BATCH else 0.0,  # from now on no host's clock hides news
    }
    if handled != cursor.value:  # losing this race is fine: the other watchdog put the same documents there
        backend.put(*CURSOR, handled, cursor.version)
    return len(rows) == _BATCH or _remind_of_one(backend, clock)


def _remind_of_one(backend: Backend, clock: Clock) -> bool:
    """Alert again about one trouble that lasts longer than its rule's `remind` says; whether one was found.

    Not about snoozed jobs, acknowledged alerts, and alerts that were not delivered yet.
    """
    now = clock.wall()
    quiet = outbox.snoozes(backend, now)
    for key, doc in outbox.still_open(backend).items():
        last = doc.get("reminded_at") or doc["created_at"]
        if (
            not doc["remind"]
            or now - last < doc["remind"]
            or doc["state"] == "pending"
            or doc.get("acked_at")
        ):
            continue
        run = backend.run(doc["alert"]["run_id"])
        if run is not None and not outbox.is_snoozed(quiet, run.name):
            _remind(backend, key, doc, run, now)
            return True
    return False


def _remind(backend: Backend, key: str, doc: Json, run: Run, now: float) -> None:
    again = doc.get("reminded", 0) + 1
    alert = doc["alert"]
    dedupe_key = f"{alert['dedupe_key']}:reminder-{again}"
    facts = Facts(
        alert["event"], dedupe_key, now, run.reason or alert["reason"], since=doc["since"], again=again
    )
    order = outbox.Order(doc["channel"], doc["seq"], doc["kind"], doc["since"], doc["fallback"])
    outbox.post(backend, outbox.draft(_compose(backend, run, facts), order, now, snoozed=False))

    def note(held: Json) -> Json | None:
        if not held or held.get("reminded", 0) >= again:
            return None
        return {**held, "reminded": again, "reminded_at": now, "told": True}

    outbox.update(backend, outbox.ALERT, key, note)


class _Desk:
    """One batch's work: the alerts that are open are read once, and only when a transition may concern them."""

    def __init__(self, backend: Backend, rules: Sequence[Rule], now: float) -> None:
        self._backend = backend
        self._rules = rules
        self._now = now
        self._quiet = outbox.snoozes(backend, now)
        self._opened: dict[str, Json] | None = None

    def take(self, row: Transition) -> None:
        """Alerts and recoveries that one transition calls for."""
        if event_of(row) is None and cleared(row) is None:
            return
        run = self._backend.run(row.run_id)
        if run is None:  # pruned since
            return
        self._alert(row, run)
        self._resolve(row, run)

    def _alert(self, row: Transition, run: Run) -> None:
        alerts: dict[str, Json] = {}
        for item in due(row, run, self._history(run), self._rules):
            if item.dedupe_key not in alerts:
                facts = Facts(item.event, item.dedupe_key, row.at, row.reason)
                alerts[item.dedupe_key] = _compose(self._backend, run, facts)
            for channel in item.rule.to:
                self._post(row, run, alerts[item.dedupe_key], item, channel)

    def _post(self, row: Transition, run: Run, alert: Json, item: Due, channel: str) -> None:
        rule = item.rule
        order = outbox.Order(
            channel, row.seq, run.kind, row.at, rule.fallback, recovered=wants_recovery(rule)
        )
        if item.event not in TROUBLE:
            outbox.post(self._backend, self._draft(alert, order, run))
            return
        new = self._draft(alert, evolve(order, open=True, remind=rule.remind), run)
        older = {key: doc for key, doc in self._open().items() if supersedes(new, doc)}
        for doc in older.values():
            new["since"], new["told"] = min(new["since"], doc["since"]), new["told"] or doc["told"]
        key, doc = outbox.post(self._backend, new)
        self._close(older, over=False)
        if doc["open"]:
            self._open()[key] = doc

    def _resolve(self, row: Transition, run: Run) -> None:
        over = {key: doc for key, doc in self._open().items() if resolves(row, run, doc)}
        told = [doc for doc in over.values() if doc["recovered"] and doc["told"]]
        if told and good_news(row, run):
            gone = cleared(row)
            first = min(told, key=lambda doc: float(doc["since"]))
            before = first["alert"]
            reason = (
                f"before: {before['event']} (run {before['run_id']}, alert of {rfc3339(first['created_at'])})"
            )
            key = f"{run.id}:{RECOVERED}" + (f":{row.seq}" if gone else "")
            facts = Facts(RECOVERED, key, row.at, reason, since=first["since"])
            alert = _compose(self._backend, run, facts)
            for channel, fallback in {doc["channel"]: doc["fallback"] for doc in told}.items():
                order = outbox.Order(channel, row.seq, run.kind, row.at, fallback)
                outbox.post(self._backend, self._draft(alert, order, run))
        self._close(over, over=True)

    def _draft(self, alert: Json, order: outbox.Order, run: Run) -> Json:
        return outbox.draft(alert, order, self._now, snoozed=outbox.is_snoozed(self._quiet, run.name))

    def _close(self, docs: dict[str, Json], *, over: bool) -> None:
        for key in docs:
            outbox.resolve(self._backend, key, self._now, over=over)
            del self._open()[key]

    def _open(self) -> dict[str, Json]:
        if self._opened is None:
            self._opened = outbox.still_open(self._backend)
        return self._opened

    def _history(self, run: Run) -> list[Run]:
        wanted = depth(self._rules)
        if wanted <= 1 or run.state not in FAILURES:
            return [run]
        return self._backend.runs(
            RunQuery(
                project=run.project,
                job=escape(run.name),
                kinds=(run.kind,),
                states=(*FAILURES, "COMPLETED"),
                until=nextafter(run.created_at, inf),
                roots=run.parent_id is None,
                limit=wanted,
            )
        )


def _compose(backend: Backend, run: Run, facts: Facts) -> Json:
    """The alert with the run's last lines and its job's usual duration; without them rather than not at all."""
    try:
        lines = backend.logs(LogQuery(run.id, limit=TAIL, last=True))
        figures = backend.summarize(RunQuery(project=run.project, job=escape(run.name), kinds=(run.kind,)))
    except HolterError:
        raise
    except Exception as error:  # noqa: BLE001 - one run that cannot be read must not hold up the alerts of all others
        logger.error("alert {}: no log lines, {}: {}", facts.dedupe_key, type(error).__name__, error)
        lines, figures = [], []
    usual = figures[0].duration_p50_seconds if figures else None
    return compose(run, evolve(facts, tail=tuple(line.text for line in lines), usual=usual))


def _cursor(backend: Backend, clock: Clock) -> Document:
    """How far transitions were collected, and since when they count; made by the first watchdog that has channels."""
    held = backend.get(*CURSOR)
    while held is None:
        backend.put(*CURSOR, {"seq": 0, "since": clock.wall() - HINDSIGHT}, 0)
        held = backend.get(*CURSOR)
    return held
