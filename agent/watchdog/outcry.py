"""`watch_broken`: the watchdog cannot do its work; its store is away, say, or its disk full. Alerts wait in that store;
so this one waits in another, in the memory of this process, and goes from there the way of all alerts.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from attrs import evolve, frozen

from ...backends.clock import SYSTEM, Clock, token
from ...backends.memory import MemoryBackend
from .. import identity
from ..settings import Settings
from . import outbox
from .gather import PACE
from .herald import Herald
from .incidents import KIND, Board, Incident, news
from .metrics import errors
from .rules import WATCH_BROKEN
from .steps import Half, Step

PATIENCE = 300.0  # seconds that steps may fail for: a database that is restarted is nobody's business
EVERY = 10.0  # seconds between looks
NAMED = 5  # steps that are named


@frozen
class _Trouble:
    """Steps that fail, by `names`, since when (Unix seconds), and the dedupe key."""

    key: str
    since: float
    names: tuple[str, ...]


class Outcry(Herald):
    """Tells of steps of `halves` that have failed for five minutes (and three passes), and of the end of it. Steps that
    begin to fail later are told of anew: a small trouble that lasts must not hide a great one.

    Not guaranteed: that a step which never returns is seen (systemd sees that, and whoever gets the pings); that a
    snooze holds it back (those are in the store); that a watchdog which is restarted meanwhile tells the end, or does
    not say it again. Each of several hosts at one store tells of itself.
    """

    def __init__(self, settings: Settings, *halves: Half, clock: Clock = SYSTEM) -> None:
        super().__init__(settings, clock=clock)
        self._name = f"{WATCH_BROKEN}:{identity.host()}:{token(8)}"
        self._backend = MemoryBackend(f"memory:{self._name}", clock=clock)
        self.steps = [
            Step("looking at the watchdog itself", self._look, every=EVERY),
            Step("collecting alerts about it", self._collect),
            Step("delivering alerts about it", self._deliver),
        ]
        self._halves = halves
        self._failing: dict[str, float] = {}  # since when
        self._troubles: list[_Trouble] = []
        self._looked = inf

    def _look(self) -> None:
        now, wall, why = self.clock.monotonic(), self.clock.wall(), errors(self._halves)
        unseen = max(0.0, now - self._looked - 3 * EVERY)  # in which we stood still, and what we look at
        self._looked = now
        self._failing = {name: self._failing.get(name, now) + unseen for name in why}
        self._troubles = list(_that_last(self._troubles, why))
        told = {name for each in self._troubles for name in each.names}
        new = {name: since for name, since in self._failing.items() if name not in told}
        lasts = now - min(new.values(), default=inf)
        if lasts >= max(PATIENCE, 3 * self.settings.watchdog.interval):
            since = wall - lasts
            self._troubles.append(_Trouble(f"{self._name}:{int(since)}:{len(told)}", since, tuple(new)))
        Board(self._store()).settle(WATCH_BROKEN, [_incident(each, why) for each in self._troubles], wall)
        if not self._troubles:
            self._forget()

    def _forget(self) -> None:
        """Where nothing lasts and nothing waits to be told, nothing is kept."""
        store = self._store()
        undone = any(held.value["state"] in outbox.UNDONE for _, held in store.list(outbox.ALERT))
        if self.settings.channels and (undone or news(store)):
            return
        for kind in (KIND, outbox.ALERT, outbox.TOLD, outbox.CHANNEL, PACE):
            for key, held in store.list(kind):
                store.delete(kind, key, held.version)


def _that_last(troubles: list[_Trouble], why: dict[str, str]) -> Iterator[_Trouble]:
    for each in troubles:
        if names := tuple(name for name in each.names if name in why):
            yield evolve(each, names=names)


def _incident(trouble: _Trouble, why: dict[str, str]) -> Incident:
    names, first = trouble.names, why[trouble.names[0]]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    reason = f"{first}; what fails: {', '.join(names[:NAMED])}{more}"
    return Incident(WATCH_BROKEN, trouble.key, reason, trouble.since, host=identity.host())
