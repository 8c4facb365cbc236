"""`watch_broken`: the watchdog cannot do its work; its store is away, say, or its disk full. Alerts wait in that store;
so this one waits in another, in the memory of this process, and goes from there the way of all alerts.
"""

from __future__ import annotations

from math import inf

from attrs import frozen

from ...backends.clock import SYSTEM, Clock, token
from ...backends.memory import MemoryBackend
from .. import identity
from ..settings import Settings
from .herald import Herald
from .incidents import Board, Incident
from .metrics import errors
from .rules import WATCH_BROKEN
from .steps import Half, Step

PATIENCE = 300.0  # seconds that steps may fail for: a database that is restarted is nobody's business
EVERY = 10.0  # seconds between looks
NAMED = 5  # steps that are named


@frozen
class _Trouble:
    """Steps that fail, by `names`, and since when (Unix seconds)."""

    since: float
    names: tuple[str, ...]


class Outcry(Herald):
    """Tells of steps of `halves` that have failed, or not come back, for five minutes, and of the end of it. Steps that
    begin to fail later are told of anew: a small trouble that lasts must not hide a great one.

    Not guaranteed: that snoozes hold it back (they are in the store); that a watchdog which is restarted meanwhile
    tells the end, or does not say it again. Each of several hosts at one store tells of itself.
    """

    def __init__(self, settings: Settings, *halves: Half, clock: Clock = SYSTEM) -> None:
        super().__init__(settings, clock=clock)
        self._backend = MemoryBackend(f"memory:{token(16)}", clock=clock)
        self.steps = [
            Step("looking at the watchdog itself", self._look, every=EVERY),
            Step("collecting alerts about it", self._collect),
            Step("delivering alerts about it", self._deliver),
        ]
        self._halves = halves
        self._turns: dict[
            Half, tuple[int, float]
        ] = {}  # the last one that was seen, and since when it is the last
        self._failing: dict[str, float] = {}  # since when
        self._troubles: list[_Trouble] = []
        self._looked = -inf

    def _look(self) -> None:
        now, wall = self.clock.monotonic(), self.clock.wall()
        why = self._stuck(now) | errors(self._halves)
        self._failing = {name: self._failing.get(name, now) for name in why}
        self._troubles = [each for each in self._troubles if not why.keys().isdisjoint(each.names)]
        told = {name for each in self._troubles for name in each.names}
        new = {name: since for name, since in self._failing.items() if name not in told}
        since = min(new.values(), default=inf)
        if now - since >= PATIENCE:
            self._troubles.append(_Trouble(wall - (now - since), tuple(new)))
        Board(self._store()).settle(WATCH_BROKEN, [_incident(each, why) for each in self._troubles], wall)

    def _stuck(self, now: float) -> dict[str, str]:
        """Steps that have not come back for so long. What we did not see, stopped ourselves, does not count."""
        if now - self._looked > 3 * EVERY:
            self._turns.clear()
        self._looked, stuck = now, {}
        for half in self._halves:
            turns, since = self._turns.get(half, (-1, now))
            if half.turns != turns:
                self._turns[half] = (half.turns, now)
            elif half.busy and now - since >= PATIENCE:
                stuck[half.busy] = "it does not come back"
                self._failing.setdefault(half.busy, since)
        return stuck


def _incident(trouble: _Trouble, why: dict[str, str]) -> Incident:
    failing = [name for name in trouble.names if name in why]
    more = f" and {len(failing) - NAMED} more" if len(failing) > NAMED else ""
    reason = f"{why[failing[0]]}; what fails: {', '.join(failing[:NAMED])}{more}"
    key = f"{WATCH_BROKEN}:{identity.host()}:{trouble.names[0]}:{int(trouble.since)}"
    return Incident(WATCH_BROKEN, key, reason, trouble.since, host=identity.host())
