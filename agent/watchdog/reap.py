"""Leases of shared limits that ran out, or whose process is gone by proof, taken out so that nobody waits for them."""

from __future__ import annotations

from attrs import define, field

from ...backends.base import Registry
from ...backends.clock import Clock
from ...backends.records import Json
from ..leases import KIND, Sight, boot, dead, sweep

EVERY = 2.0  # seconds between looks


@define
class Reaper:
    """Looks at all shared limits of the store. Expiry is what it has itself observed: see `leases`."""

    clock: Clock
    _sights: dict[str, Sight] = field(factory=dict)

    def reap(self, store: Registry) -> list[str]:
        """Take out whoever is over; one line for each holder that is. Who is faster with the document wins, and the
        next look sees what is left to do."""
        said = []
        for limit, document in store.list(KIND):
            sight = self._sights.setdefault(limit, Sight(boot()))
            now = self.clock.monotonic()
            sight.look(document.value, now)
            before = list(document.value["holders"])
            changed = sweep(document.value, sight, now)
            if changed and store.put(KIND, limit, document.value, document.version) is not None:
                kept = {entry["id"] for entry in document.value["holders"]}
                said += [_line(limit, entry) for entry in before if entry["id"] not in kept]
        return said


def _line(limit: str, entry: Json) -> str:
    why = "its process is gone" if dead(entry) else "its lease ran out"
    who = f"pid {entry.get('pid')} on {entry.get('host')}"
    return f"limit {limit}: freed the slots of {who} (token {entry.get('token')}): {why}"
