"""The gap ledger: when no watchdog ran, so that nobody takes for missed what nobody looked at.

Whoever starts to watch, or was asleep, compares the clock with the last pulses and writes one document: from when until
when this host had no watchdog, and the part of it in which the whole store had none. Stopped on purpose, killed or
asleep: for what was not watched it makes no difference.
"""

from __future__ import annotations

from attrs import evolve, frozen

from ...backends.base import Registry
from ...backends.records import Json
from .. import identity
from . import pulse

KIND = "gap"
KEEP = 100  # gaps of each host


@frozen
class Gap:
    """Nobody watched on `host` from `start` until `end` (Unix seconds), and nobody on the whole store from
    `unwatched_from` on (None: somebody elsewhere did). `first`: no watchdog ran on the host before. `told`: its
    summary is done with."""

    host: str
    start: float
    end: float
    unwatched_from: float | None = None
    first: bool = False
    told: bool = False

    @property
    def key(self) -> str:
        return f"{self.host}~{int(self.start * 1000):014d}"

    def to_json(self) -> Json:
        value: Json = {"host": self.host, "from": self.start, "until": self.end}
        return {**value, "unwatched_from": self.unwatched_from, "first": self.first, "told": self.told}

    @classmethod
    def from_json(cls, value: Json) -> Gap:
        return cls(
            value["host"],
            value["from"],
            value["until"],
            value["unwatched_from"],
            value["first"],
            value["told"],
        )


def note(store: Registry, now: float) -> Gap | None:
    """Write the gap that ends now, if there is one. Before the first pulse: that one hides it. Idempotent."""
    gap = find([held.value for _, held in store.list(pulse.KIND)], identity.host(), now)
    if gap is None:
        return None
    held = store.get(KIND, gap.key)
    store.put(KIND, gap.key, gap.to_json(), held.version if held else 0)
    for old in of_host(store, gap.host)[:-KEEP]:
        forget(store, old)
    return gap


def find(pulses: list[Json], host: str, now: float) -> Gap | None:
    """The gap of this host that ends `now`, by the pulses of all hosts. Pure."""
    if not pulses:
        return None
    newest = max(pulses, key=lambda each: float(each["at"]))
    mine = next((each for each in pulses if each["host"] == host), None)
    last = mine or newest
    if now - last["at"] <= last["good_for"]:
        return None
    alone = now - newest["at"] > newest["good_for"]
    return Gap(host, last["at"], now, newest["at"] if alone else None, first=mine is None)


def of_host(store: Registry, host: str) -> list[Gap]:
    """The gaps of a host, the oldest first."""
    found = [Gap.from_json(held.value) for _, held in store.list(KIND)]
    return sorted((each for each in found if each.host == host), key=lambda each: each.start)


def ended_since(store: Registry, now: float, seconds: float) -> bool:
    """Whether a gap of this host ends now, or ended in the last `seconds`."""
    me = identity.host()
    ends_now = find([held.value for _, held in store.list(pulse.KIND)], me, now)
    ended = of_host(store, me)
    return ends_now is not None or (bool(ended) and now - ended[-1].end < seconds)


def unwatched(store: Registry, now: float) -> list[tuple[float, float]]:
    """When no watchdog at all looked at this store: pairs of Unix seconds in order, none touching the next; the last
    one ends `now` where nobody watches now. Of the time before the first watchdog nothing is said."""
    found = [Gap.from_json(held.value) for _, held in store.list(KIND)]
    pairs = [(each.unwatched_from, each.end) for each in found if each.unwatched_from is not None]
    going = find([held.value for _, held in store.list(pulse.KIND)], "", now)
    if going is not None:
        pairs.append((going.start, now))
    merged: list[tuple[float, float]] = []
    for start, end in sorted(pairs):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def done_with(store: Registry, gap: Gap) -> None:
    """Its summary was told, or nobody wants it any more."""
    held = store.get(KIND, gap.key)
    if held is not None and not held.value["told"]:
        store.put(KIND, gap.key, evolve(gap, told=True).to_json(), held.version)


def forget(store: Registry, gap: Gap) -> bool:
    held = store.get(KIND, gap.key)
    return held is not None and store.delete(KIND, gap.key, held.version)
