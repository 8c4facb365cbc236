"""The watchdog's own sign of life, in the store, so that everybody who reads can tell whether anybody watches."""

from __future__ import annotations

import os
from typing import Any

from ...backends.base import Backend
from ...backends.clock import rfc3339
from ...backends.records import Json
from .. import identity

KIND = "pulse"
EVERY = 10.0  # seconds between pulses of a running watchdog
AFTER_ONCE = 900.0  # seconds for which a single pass (`watch --once` from cron) counts as watching


def beat(
    backend: Backend,
    now: float,
    *,
    started_at: float,
    once: bool = False,
    stopped: bool = False,
    interval: float = 0.0,
    about: Json | None = None,
) -> None:
    """Write this host's pulse; `about` is what else the watchdog has to say of itself, `interval` seconds lie between
    its passes. Losing the race to another watchdog of the host is fine: then that one is alive."""
    held = backend.get(KIND, identity.host())
    value = {
        "at": now,
        "host": identity.host(),
        "pid": os.getpid(),
        "started_at": started_at,
        "good_for": AFTER_ONCE if once else 3 * max(EVERY, interval),
        "stopped": stopped,
        **(about or {}),
    }
    backend.put(KIND, identity.host(), value, held.version if held else 0)


def mine(backend: Backend) -> dict[str, Any] | None:
    """The newest pulse of this host, or None if no watchdog ever ran here."""
    held = backend.get(KIND, identity.host())
    return held.value if held else None


def latest(backend: Backend) -> dict[str, Any] | None:
    """The newest pulse of any host, or None if no watchdog ever ran on this store."""
    return max(
        (document.value for _, document in backend.list(KIND)), key=lambda pulse: pulse["at"], default=None
    )


def stale(pulse: dict[str, Any], now: float) -> bool:
    """Whether the watchdog of this pulse does not watch any more."""
    return bool(pulse["stopped"] or now - pulse["at"] > pulse["good_for"])


def warning(backend: Backend, now: float) -> str | None:
    """The line for everybody who reads while nobody watches; None while somebody does."""
    pulse = latest(backend)
    if pulse is None:
        return "nobody watches, so nobody is alerted: start `holter watch`"
    if stale(pulse, now):
        return f"nobody watches since {str(rfc3339(pulse['at']))[:19]}Z: start `holter watch`"
    return None
