"""From the outbox to the channels: claim, send, record.

A document is claimed by compare-and-set before it is sent, so two watchdogs send one alert twice only where one of
them died in between (or was suspended for longer than its claim holds). A channel that fails is left alone for a
while that doubles up to five minutes, with full jitter; then one alert tries it, and the others follow once it works.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import define
from loguru import logger

from ...backends.clock import token
from ...backends.errors import ChannelError
from . import outbox
from .channels import open_channel

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...backends.clock import Clock
    from ...backends.records import Document, Json
    from ..settings import Settings

TIMEOUT = 10.0  # seconds for one delivery
GIVE_UP = 24 * 3600.0  # seconds of failing after which an alert goes to the fallback
_SLOWEST = 300.0  # seconds between two tries, at most
_CLAIM = 30.0  # seconds that a claim holds beyond the time for its delivery
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

    Channels that work come before those that failed last time, then older alerts before newer ones. `only` names
    the one channel to serve: with a thread for each, one that hangs delays no other. Every try ends within
    `timeout` seconds. `environ` fills `${NAME}` in channels; `dice` gives the jitter, from 0 to 1.
    Raises StorageError; an alert whose delivery could not be recorded is sent again when its claim has run out.
    """
    health = {held.value["channel"]: held.value for _, held in backend.list(outbox.CHANNEL)}
    rounds = _Round(backend, clock, settings, environ, timeout, dice, health)
    waiting = [item for item in outbox.pending(backend) if only in (None, item[1].value["route"])]
    waiting.sort(key=lambda item: rounds.failing(item[1].value) is not None)
    tried = 0
    for key, held in waiting:
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

    def failing(self, doc: Json) -> float | None:
        """Since when (Unix seconds) the alert's channel has failed, if it does."""
        since: float | None = self.health.get(doc["route"], {}).get("failing_since")
        return since

    def serve(self, key: str, held: Document) -> bool:
        """Send one alert if it is due and nobody else has it; whether it was ours to send."""
        doc, now = held.value, self.clock.wall()
        known = self.health.get(doc["route"], {})
        resting = known.get("next_at", 0.0) > now
        if doc["next_at"] > now or _claimed(doc, now) or (resting and not self._hopeless(doc, now)):
            return False
        claim = {"by": token(8), "until": now + self.timeout + _CLAIM}
        if self.backend.put(outbox.ALERT, key, {**doc, "claim": claim}, held.version) is None:
            return False  # somebody was faster
        if resting:  # hopeless: it is given up on what others found out
            error: ChannelError | None = ChannelError(known["last_error"])
        else:
            error = self._send(doc)
            self.health[doc["route"]] = self._note(doc["route"], error)
        self._record(key, claim["by"], error, self.failing(doc))
        return True

    def _hopeless(self, doc: Json, now: float) -> bool:
        """Whether both the alert and its channel's failing are older than the time after which one gives up."""
        since = self.failing(doc)
        return since is not None and now - max(since, doc["queued_at"]) >= GIVE_UP

    def _send(self, doc: Json) -> ChannelError | None:
        channel = self.settings.channels.get(doc["route"])
        if channel is None:
            hint = "add it to channels in holter.yaml"
            return ChannelError(f"there is no channel {doc['route']}", permanent=True, hint=hint)
        try:
            open_channel(channel, self.environ).send(worded(doc), self.timeout)
        except ChannelError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a plugin's own fault; its text may hold the channel's secrets
            return ChannelError(f"the channel's code raised {type(error).__name__}")
        return None

    def _record(self, key: str, claim: str, error: ChannelError | None, failing: float | None) -> None:
        """Write the outcome, unless the claim ran out and somebody else took the document."""
        now, chance = self.clock.wall(), self.dice()

        def change(doc: Json) -> Json | None:
            if (doc.get("claim") or {}).get("by") != claim:
                return None
            return after_try(doc, error, now, failing, chance)

        if outbox.update(self.backend, outbox.ALERT, key, change) and error:
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
    doc: Json, error: ChannelError | None, now: float, failing: float | None, chance: float
) -> Json:
    """The document after a delivery that succeeded (`error` None) or failed. Pure.

    `failing` (Unix seconds) is when its channel began to fail; `chance` (0..1) is the jitter.
    """
    said = str(error) if error else None
    tries = [*doc["history"], {"at": now, "channel": doc["route"], "error": said}]
    doc = {**doc, "claim": None, "attempts": doc["attempts"] + 1, "history": tries[-_HISTORY:]}
    if error is None:
        return {**doc, "state": "sent", "sent_at": now, "alert": _slim(doc["alert"])}
    since = max(doc["queued_at"], min(doc.get("failing_since") or now, failing or now))
    doc |= {"last_error": said, "failing_since": since}
    if not error.permanent and now - since < GIVE_UP:
        return {**doc, "next_at": now + _back_off(doc["attempts"], chance)}
    if doc["fallback"] and doc["route"] != doc["fallback"]:
        fresh = {"queued_at": now, "next_at": now, "attempts": 0, "failing_since": None}
        return {**doc, **fresh, "route": doc["fallback"]}
    return {**doc, "state": "undelivered", "undelivered_at": now}


def worded(doc: Json) -> Json:
    """The alert as its present route gets it: a fallback is told whom it stands in for, and why."""
    alert: Json = doc["alert"]
    if doc["route"] == doc["channel"]:
        return alert
    said = next((each["error"] for each in reversed(doc["history"]) if each["channel"] == doc["channel"]), "")
    return {**alert, "body": f"Channel {doc['channel']} did not take this alert: {said}\n\n{alert['body']}"}


def _health(held: Json, error: ChannelError | None, now: float, chance: float) -> Json:
    """How a channel does after a try. A permanent error is no reason to rest: it comes at once, and the alert goes
    to the fallback or is reported as undelivered."""
    if error is None:
        return {"failing_since": None, "failures": 0, "next_at": 0.0, "last_error": None, "ok_at": now}
    failures = held.get("failures", 0) + 1
    return {
        "failing_since": held.get("failing_since") or now,
        "failures": failures,
        "next_at": 0.0 if error.permanent else now + _back_off(failures, chance),
        "last_error": str(error),
        "ok_at": held.get("ok_at"),
    }


def _claimed(doc: Json, now: float) -> bool:
    return bool(doc.get("claim")) and doc["claim"]["until"] > now


def _back_off(failures: int, chance: float) -> float:
    """Full jitter: anything up to 1, 2, 4 ... 300 seconds."""
    return float(chance * min(_SLOWEST, 2.0 ** min(failures - 1, 30)))


def _slim(alert: Json) -> Json:
    """What stays of a delivered alert: it was said, and `holter show` has the rest."""
    return {name: value for name, value in alert.items() if name not in ("error", "log_tail", "body")}
