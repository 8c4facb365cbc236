"""What is found that is no run: a job that did not come, a limit that is stuck, a host that fills up, a broken channel.

An incident is one Registry document, open while it lasts. Detection is level-triggered: each pass says, for one scope,
which incidents should be open (`Board.settle`), and the difference is written by compare-and-set. Alerting reads them
from the store (`news`) and notes what it has handled (`handled`); the two never call each other. An incident that
ended before anybody was told goes without a word.

Not guaranteed: that an incident which comes and goes between two passes is seen at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from attrs import asdict, define, field, frozen

from ...backends.base import Registry
from ...backends.records import Json

KIND = "incident"


@frozen
class Incident:
    """One fact that lasts. `event` is its name in rules (`late`), `key` its dedupe key: the same however often it is
    found. `since` is when it became true (Unix seconds), `reason` says it for people. `job`, `host` and `run_id` where
    it is about one. `details` is what a program may want to know of it."""

    event: str
    key: str
    reason: str
    since: float
    project: str = "default"
    job: str | None = None
    host: str | None = None
    run_id: str | None = None
    details: Json = field(factory=dict)


@frozen
class News:
    """What alerting has not handled: `incident` set in (`over_at` None), or is over since (Unix seconds). `told` is
    whether its beginning was handled: without that, its end is no news to anybody."""

    document: str
    incident: Incident
    over_at: float | None
    told: bool
    version: int


@define
class Board:
    """The incidents of one store as they were when the board was made; one for each pass."""

    store: Registry
    _held: dict[str, tuple[Json, int]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._held = {name: (held.value, held.version) for name, held in self.store.list(KIND)}

    def open(self, scope: str) -> dict[str, Incident]:
        """The open incidents of a scope, by key."""
        return {
            value["incident"]["key"]: Incident(**value["incident"])
            for value, _ in self._held.values()
            if value["scope"] == scope and value["over_at"] is None
        }

    def since(self, scope: str, event: str, now: float) -> float:
        """Since when the scope has an open incident of that event; `now` where it has none."""
        return next((each.since for each in self.open(scope).values() if each.event == event), now)

    def told(self, scope: str) -> set[str]:
        """The keys of its open incidents whose beginning alerting has handled."""
        return {
            value["incident"]["key"]
            for value, _ in self._held.values()
            if value["scope"] == scope and value["over_at"] is None and value["told"]
        }

    def scopes(self, prefix: str = "") -> set[str]:
        """The scopes that begin with `prefix` and have an open incident."""
        found = {value["scope"] for value, _ in self._held.values() if value["over_at"] is None}
        return {scope for scope in found if scope.startswith(prefix)}

    def settle(self, scope: str, wanted: Iterable[Incident], now: float) -> int:
        """Exactly the `wanted` incidents are open in this scope from now on; how many changed. Idempotent; whoever
        loses a race finds the difference in the next pass. The text of one that stays open is brought up to date."""
        due = {_name(scope, each.key): each for each in wanted}
        changed = 0
        for name, each in due.items():
            changed += self._open(name, scope, each)
        for name, (value, version) in list(self._held.items()):
            if value["scope"] == scope and value["over_at"] is None and name not in due:
                changed += self._write(name, {**value, "over_at": now}, version)
        return changed

    def _open(self, name: str, scope: str, incident: Incident) -> int:
        value, version = self._held.get(name, ({}, 0))
        if value and value["over_at"] is None and value["incident"] == asdict(incident):
            return 0
        told = value.get("told", False)
        new = not value or value["over_at"] is not None
        written = self._write(
            name, {"scope": scope, "incident": asdict(incident), "over_at": None, "told": told}, version
        )
        return int(written and new)

    def _write(self, name: str, value: Json, version: int) -> bool:
        now_at = self.store.put(KIND, name, value, version)
        if now_at is not None:
            self._held[name] = (value, now_at)
        return now_at is not None


def news(store: Registry) -> list[News]:
    """What set in or ended since it was last `handled`, the oldest first."""
    found = [
        News(
            name, Incident(**held.value["incident"]), held.value["over_at"], held.value["told"], held.version
        )
        for name, held in store.list(KIND)
        if held.value["over_at"] is not None or not held.value["told"]
    ]
    return sorted(found, key=lambda each: (each.over_at or each.incident.since, each.document))


def handled(store: Registry, each: News) -> bool:
    """Alerting is done with it; one that is over is forgotten. False where it changed meanwhile: look again."""
    held = store.get(KIND, each.document)
    if held is None or held.version != each.version:
        return False
    if (held.value["incident"], held.value["over_at"]) != (asdict(each.incident), each.over_at):
        return False  # forgotten meanwhile and set in anew: versions began again
    if each.over_at is not None:
        return store.delete(KIND, each.document, each.version)
    return store.put(KIND, each.document, {**held.value, "told": True}, each.version) is not None


def open_incidents(store: Registry) -> list[Incident]:
    """All that lasts, for readers, by the time when it set in."""
    found = [
        Incident(**held.value["incident"]) for _, held in store.list(KIND) if held.value["over_at"] is None
    ]
    return sorted(found, key=lambda each: each.since)


def _name(scope: str, key: str) -> str:
    return quote(f"{scope}~{key}".replace(":", "~"), safe="")
