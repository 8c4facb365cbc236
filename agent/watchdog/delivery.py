"""From the outbox to the channels: claim, send, record.

A document is claimed by compare-and-set before it is sent, so two watchdogs send one alert twice only where one of
them died in between (or was suspended for longer than its claim holds). How long a claim holds is counted by the clock
of the host that asks, from when that host first saw it: clocks of hosts differ.

A channel that fails rests for a while that doubles up to five minutes, with full jitter. Then the alert that was tried
least tries it, and the others follow once it works: so neither a dead channel nor one alert that its receiver cannot
digest holds up the rest. Alerts of one job arrive in order unless the first of them has failed for six hours.

Nothing arrives more than twice. Where nobody can say whether a delivery was the last word (no answer to what was said
whole, a watchdog that died between sending and recording), it is made once more, five minutes later, when the other
side is seen to be in order; and then no more: the alert goes to the fallback, or is reported as undelivered.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import define
from loguru import logger

from ...backends.clock import rfc3339, token
from ...backends.errors import ChannelError
from .. import identity
from . import outbox
from .channels import Answering, open_channel

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...backends.clock import Clock
    from ...backends.records import Document, Json
    from ..settings import Settings

TIMEOUT = 10.0  # seconds for one delivery
GIVE_UP = 24 * 3600.0  # seconds of failing, and of being tried, after which an alert goes to the fallback
_SLOWEST = 300.0  # seconds between two tries, at most
_BETWEEN = 3600.0  # seconds between two tries that count as trying, at most: a host that slept tried nothing
_NEW = 30.0  # seconds that an alert which was never tried waits for a resting channel, at most
_DOUBTS = 2  # deliveries that may have arrived, at most
_NOT_SURE = 300.0  # seconds between them
_CLAIM = 30.0  # seconds that a claim holds beyond the time for its delivery, from when it was seen
_STRANGE = 600.0  # seconds for which an alert to a channel unknown here is left to another host's watchdog
_AT_ONCE = 50  # alerts per step
_HISTORY = 20  # tries that a document remembers


def deliver(
    backend: Backend,
    clock: Clock,
    settings: Settings,
    *,
    only: str | None = None,
    environ: Mapping[str, str] = os.environ,
    timeout: float = TIMEOUT,
    dice: Callable[[], float] = random.random,
) -> bool:
    """Send what is due, at most 50 alerts; whether anything was tried, so that there may be more.

    Channels that work come before those that failed last time. `only` names the one channel to serve: with a thread
    for each, one that hangs delays no other. Every try ends within `timeout` seconds. `environ` fills `${NAME}` in
    channels; `dice` gives the jitter, from 0 to 1.
    Raises StorageError; an alert whose delivery could not be recorded is sent again when its claim has run out.
    """
    health = {held.value["channel"]: held.value for _, held in backend.list(outbox.CHANNEL)}
    rounds = _Round(backend, clock, settings, environ, timeout, dice, health)
    waiting = [item for item in outbox.pending(backend) if only in (None, item[1].value["route"])]
    tried = 0
    for key, held in rounds.in_turn(waiting):
        tried += rounds.serve(key, held)
        if tried == _AT_ONCE:
            break
    return tried > 0


@define
class _Round:
    """One look at the outbox. `health`: what the store knows of each channel, kept up to date."""

    backend: Backend
    clock: Clock
    settings: Settings
    environ: Mapping[str, str]
    timeout: float
    dice: Callable[[], float]
    health: dict[str, Json]

    def in_turn(self, waiting: list[tuple[str, Document]]) -> list[tuple[str, Document]]:
        """What may be sent now, in the order in which it is to be tried. `waiting`: oldest first."""
        ahead: set[tuple[str, str, str]] = set()
        now = self.clock.wall()
        turn = []
        for key, held in waiting:
            doc = held.value
            self._see(key, held)
            line = (doc["route"], doc["alert"]["project"], doc["alert"]["job"])
            if self._due(doc, now) and line not in ahead:
                turn.append((key, held))
            if outbox.stands_in_front(doc, now):
                ahead.add(line)
        return sorted(turn, key=lambda item: self._place(item[1].value))

    def _place(self, doc: Json) -> int:
        """Channels that work come first; on a failing one, what was tried least."""
        return 0 if self.failing(doc) is None else 1 + int(doc["attempts"])

    def _due(self, doc: Json, now: float) -> bool:
        if (claim := doc.get("claim")) and self._holds(claim, now):
            return False
        if doc["route"] not in self.settings.channels and now < doc["queued_at"] + _STRANGE:
            return False
        waits = _waits(doc["next_at"], now, _SLOWEST) or self._resting(doc, now)
        return self._hopeless(doc, now) or not waits

    def _holds(self, claim: Json, now: float) -> bool:
        """Whether whoever claimed it may still be at it: so it is until the claim was seen here for long enough."""
        hold, since = self.timeout + _CLAIM, claim["seen"].get(identity.host())
        return since is None or _waits(since + hold, now, hold)

    def _see(self, key: str, held: Document) -> None:
        """Note when this host first saw a claim of another."""
        claim, host = held.value.get("claim"), identity.host()
        if claim and host not in claim["seen"]:
            seen = {**claim, "seen": {**claim["seen"], host: self.clock.wall()}}
            self.backend.put(outbox.ALERT, key, {**held.value, "claim": seen}, held.version)

    def _resting(self, doc: Json, now: float) -> bool:
        """Whether the alert's channel failed lately and is left alone."""
        known = self.health.get(doc["route"])
        if known is None or not _waits(known["next_at"], now, _SLOWEST):
            return False
        return bool(doc["attempts"] > 0 or now < known["failed_at"] + _NEW)

    def _hopeless(self, doc: Json, now: float) -> bool:
        """Whether both the alert and its channel's failing are older than the time after which one gives up."""
        since = self.failing(doc)
        return since is not None and min(now - max(since, doc["queued_at"]), self.tried(doc)) >= GIVE_UP

    def tried(self, doc: Json) -> float:
        """For how long (seconds) the alert's channel has been tried in vain."""
        known = self.health.get(doc["route"], {})
        return _tried(known) if known.get("failing_since") else 0.0

    def failing(self, doc: Json) -> float | None:
        """Since when (Unix seconds) the alert's channel has failed, if it does."""
        since: float | None = self.health.get(doc["route"], {}).get("failing_since")
        return since

    def serve(self, key: str, held: Document) -> bool:
        """Send one alert if its channel still answers and nobody else has it; whether it was ours to send."""
        doc, now = held.value, self.clock.wall()
        if not self._due(doc, now):
            return False
        resting = self._resting(doc, now)  # and hopeless: it is given up on what others found out
        mine = token(8)
        doubts = doc.get("doubts", 0) + bool(doc.get("claim"))  # whoever claimed it did not come back
        doc = {**doc, "doubts": doubts, "claim": {"by": mine, "seen": {identity.host(): now}}}
        if self.backend.put(outbox.ALERT, key, doc, held.version) is None:
            return False  # somebody was faster
        if resting:
            error: ChannelError | None = ChannelError(self.health[doc["route"]]["last_error"])
        elif doubts >= _DOUBTS:
            error = ChannelError("the watchdog was stopped while it delivered this, twice", permanent=True)
        else:
            error = self._send(doc)
            self.health[doc["route"]] = self._note(doc["route"], error)
        self._record(key, mine, error, doc)
        return True

    def _send(self, doc: Json) -> ChannelError | None:
        channel = self.settings.channels.get(doc["route"])
        if channel is None:
            hint = "add it to channels in holter.yaml"
            return ChannelError(f"there is no channel {doc['route']}", permanent=True, hint=hint)
        try:
            sender = open_channel(channel, self.environ)
            if doc["doubts"] and isinstance(sender, Answering) and not sender.answers(self.timeout):
                return ChannelError("it gives no answer, so what may have arrived is not sent again yet")
            sender.send(worded(doc), self.timeout)
        except ChannelError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a plugin's own fault; its text may hold the channel's secrets
            return ChannelError(f"the channel's code raised {type(error).__name__}")
        return None

    def _record(self, key: str, claim: str, error: ChannelError | None, sent: Json) -> None:
        """Write the outcome, unless the claim ran out and somebody else took the document."""
        now, chance = self.clock.wall(), self.dice()
        failing, tried = self.failing(sent), self.tried(sent)

        def change(doc: Json) -> Json | None:
            if (doc.get("claim") or {}).get("by") != claim:
                return None
            return after_try(doc, error, now, failing, tried, chance)

        if outbox.update(self.backend, outbox.ALERT, key, change):
            outbox.file_away(self.backend, key)
        if error:
            logger.warning("alert {} was not delivered: {}", key, error)

    def _note(self, channel: str, error: ChannelError | None) -> Json:
        """Remember how the channel did; every reader of the store can tell which ones are broken."""
        now, chance = self.clock.wall(), self.dice()
        noted: Json = {}

        def change(held: Json) -> Json | None:
            nonlocal noted
            if error is None and held and held["failing_since"] is None and now - held["ok_at"] < 60:
                noted = held  # it works, and that was written down lately
                return None
            noted = {"channel": channel, **_health(held, error, now, chance)}
            return noted

        outbox.update(self.backend, outbox.CHANNEL, quote(channel, safe=""), change)
        return noted


def after_try(
    doc: Json, error: ChannelError | None, now: float, failing: float | None, tried: float, chance: float
) -> Json:
    """The document after a delivery that succeeded (`error` None) or failed. Pure.

    `failing` (Unix seconds) is when its channel began to fail, `tried` for how many seconds it was tried since;
    `chance` (0..1) is the jitter.
    """
    said = str(error) if error else None
    doubts = doc.get("doubts", 0) + bool(error and error.ambiguous)
    tries = [*doc["history"], {"at": now, "channel": doc["route"], "error": said}]
    doc = {**doc, "claim": None, "attempts": doc["attempts"] + 1, "history": tries[-_HISTORY:]}
    doc["doubts"] = doubts
    if error is None:
        return {**doc, "state": "sent", "sent_at": now, "alert": _slim(doc["alert"])}
    since = max(doc["queued_at"], min(doc.get("failing_since") or now, failing or now))
    doc |= {"last_error": said, "failing_since": since}
    if not error.permanent and doubts < _DOUBTS and min(now - since, tried) < GIVE_UP:
        wait = _NOT_SURE if error.ambiguous else _back_off(doc["attempts"], chance)
        return {**doc, "next_at": now + wait}
    if doc["fallback"] and doc["route"] != doc["fallback"]:
        fresh = {"queued_at": now, "next_at": now, "attempts": 0, "failing_since": None, "doubts": 0}
        return {**doc, **fresh, "route": doc["fallback"]}
    return {**doc, "state": "undelivered", "undelivered_at": now}


def worded(doc: Json) -> Json:
    """The alert as its present route gets it: late ones say what is over, a fallback for whom it stands in and why."""
    alert: Json = doc["alert"]
    notes = []
    if doc["route"] != doc["channel"]:
        said = next(
            (each["error"] for each in reversed(doc["history"]) if each["channel"] == doc["channel"]), ""
        )
        notes.append(f"Channel {doc['channel']} did not take this alert: {said}")
    if doc.get("over_at"):
        notes.append(f"This is over since {rfc3339(doc['over_at'])}.")
    return {**alert, "body": "\n".join([*notes, "", alert["body"]])} if notes else alert


def _health(held: Json, error: ChannelError | None, now: float, chance: float) -> Json:
    """How a channel does after a try. A permanent error is no reason to rest: it comes at once, and the alert goes
    to the fallback or is reported as undelivered."""
    if error is None:
        return {"failing_since": None, "failures": 0, "next_at": 0.0, "last_error": None, "ok_at": now}
    failures, since = held.get("failures", 0) + 1, held.get("failing_since")
    return {
        "failing_since": since or now,
        "tried_for": _tried(held) + min(max(0.0, now - held["failed_at"]), _BETWEEN) if since else 0.0,
        "failures": failures,
        "failed_at": now,
        "next_at": 0.0 if error.permanent else now + _back_off(failures, chance),
        "last_error": str(error),
        "ok_at": held.get("ok_at"),
    }


def _tried(health: Json) -> float:
    """How long a channel that fails has been tried; versions that did not count it are taken to have tried."""
    return float(health.get("tried_for", health["failed_at"] - health["failing_since"]))


def _waits(until: float, now: float, most: float) -> bool:
    """Whether `until` is still to come. One further away than any wait may be is of a clock that was set back."""
    return now < until <= now + most


def _back_off(failures: int, chance: float) -> float:
    """Full jitter: anything up to 1, 2, 4 ... 300 seconds."""
    return float(chance * min(_SLOWEST, 2.0 ** min(failures - 1, 30)))


def _slim(alert: Json) -> Json:
    """What stays of a delivered alert: it was said, and `holter show` has the rest."""
    return {
        name: value for name, value in alert.items() if name not in ("error", "log_tail", "body", "members")
    }
