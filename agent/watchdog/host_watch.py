"""The step that looks at the host: incidents for what is wrong with it, and one document with its figures.

The document (kind `host`, by host) is for whoever tells of a crash: `notes` says what the host went through.
"""

from __future__ import annotations

from urllib.parse import quote

from ...backends.base import Backend
from ...backends.clock import Clock
from ...backends.records import Json
from .. import identity
from ..settings import HostSettings
from . import host_signals
from .host_signals import KILLED_FOR, Reading, Signal
from .incidents import Board, Incident

KIND = "host"
WRITE_EVERY = 30.0  # seconds between writes of figures that say nothing new
DAY = 86400.0


class HostWatch:
    """Looks at this host. `proc` is another folder than /proc in tests."""

    def __init__(self, home: str, clock: Clock, proc: str = "") -> None:
        self._home, self._clock, self._proc = home, clock, proc
        self._done_with = 0  # restarted runs that were told

    def look(self, store: Backend, settings: HostSettings, restarted: int = 0) -> int:
        """Bring the host's incidents and its document up to date; how many incidents changed. `restarted` runs of an
        earlier boot were found since this watchdog started."""
        now, me = self._clock.wall(), identity.host()
        reading = host_signals.read((self._home, *settings.paths), self._proc)
        held = store.get(KIND, key_of(me))
        before = held.value if held else {}
        kills = _kills(before, reading, now)
        board, scope = Board(store), f"host:{me}"
        lasting = {(each.event, each.details.get("about", "")): each for each in board.open(scope).values()}
        signals = host_signals.judge(reading, settings, lasting, kills["killed"])
        wanted = [_incident(each, lasting.get((each.event, each.about)), now, me) for each in signals]
        wanted += self._restart(lasting.get(("host_restarted", "")), board.told(scope), restarted, now)
        changed = board.settle(scope, wanted, now)
        notes = [each.text for each in signals]
        document = {**_figures(reading), **kills, "at": now, "host": me, "notes": notes}
        if _is_news(before, document):
            store.put(KIND, key_of(me), document, held.version if held else 0)
        return changed

    def _restart(self, before: Incident | None, told: set[str], runs: int, now: float) -> list[Incident]:
        """The restart that took `runs` with it; until it was told, or for a day."""
        me, fresh = identity.host(), runs - self._done_with
        booted = host_signals.booted_at(self._proc) or now
        said = f"the host was restarted: {fresh} run{'s' * (fresh != 1)} that were open are gone"
        new = Incident(
            "host_restarted", f"host:{me}:host_restarted:{int(booted)}", said, booted, host=me,
            details={"about": "", "runs": fresh},
        )  # fmt: skip
        one = new if fresh else before
        if one is None or one.key in told or now - one.since > DAY:
            self._done_with = runs
            return []
        return [one]


def key_of(host: str) -> str:
    return quote(host, safe="")


def _kills(before: Json, reading: Reading, now: float) -> Json:
    """The kernel's count of processes that it killed for want of memory, and how many of them are news."""
    killed = before.get("killed", 0) if now - before.get("killed_at", 0.0) <= KILLED_FOR else 0
    at = before.get("killed_at", 0.0)
    count, boot = reading.oom_kills, identity.boot_id()
    known = before.get("oom_kills") if before.get("boot") == boot else None
    if count is not None and known is not None and count > known:
        killed, at = killed + count - known, now
    return {"oom_kills": count, "boot": boot, "killed": killed, "killed_at": at}


def _incident(signal: Signal, before: Incident | None, now: float, me: str) -> Incident:
    since = before.since if before else now
    key = f"host:{me}:{signal.event}:{signal.about}:{int(since)}"
    return Incident(signal.event, key, signal.text, since, host=me, details={"about": signal.about})


def _figures(reading: Reading) -> Json:
    return {
        "disk_free": {path: free for path, (free, _) in reading.disks.items()},
        "memory_available": reading.memory[0] if reading.memory else None,
        "memory_pressure": reading.pressure,
        "load": reading.load,
    }


def _is_news(before: Json, document: Json) -> bool:
    said = ("notes", "oom_kills", "killed", "boot")
    return document["at"] - before.get("at", 0.0) >= WRITE_EVERY or any(
        before.get(name) != document[name] for name in said
    )
