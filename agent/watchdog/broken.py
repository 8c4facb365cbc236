"""A channel that does not deliver is an incident, `channel_broken`: it is alarmed through the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import outbox
from .incidents import Board, Incident

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...backends.records import Document, Json

PATIENCE = 900.0  # seconds that a channel may fail in a row before it is alarmed
EVENT = "channel_broken"


def look(backend: Backend, alerts: dict[str, Document], now: float) -> None:
    """Settle which channels are broken: those that failed for longer than 15 minutes or with an error that trying again
    does not mend, and those that an alert was given up on within the last hour. `alerts`: what is to be done, by key.
    Level-triggered and idempotent.
    """
    wanted: dict[str, tuple[float, str]] = {}
    for _, held in backend.list(outbox.CHANNEL):
        if why := _failing(held.value, now):
            wanted[held.value["channel"]] = why
    for doc in (held.value for held in alerts.values()):
        if doc["state"] == "undelivered" and doc["undelivered_at"] > now - outbox.ALARMED:
            said = f"an alert was given up on: {doc.get('last_error')}"
            wanted.setdefault(doc["channel"], (doc["undelivered_at"], said))
    board = Board(backend)
    for scope in {f"channel:{name}" for name in wanted} | board.scopes("channel:"):
        name = scope.removeprefix("channel:")
        board.settle(scope, [_incident(board, scope, name, *wanted[name])] if name in wanted else [], now)


def _failing(health: Json, now: float) -> tuple[float, str] | None:
    """Since when and how a channel fails, where that is worth an alarm."""
    since = health.get("failing_since")
    if since is None or (health["next_at"] > 0 and now - since < PATIENCE):
        return None
    return since, str(health["last_error"])


def _incident(board: Board, scope: str, name: str, since: float, why: str) -> Incident:
    """The one that is open stays as it is: each error more is no news."""
    for each in board.open(scope).values():
        return each
    key = f"{scope}:{EVENT}:{int(since)}"
    return Incident(EVENT, key, why, since, details={"channel": name})
