"""What is done to whom, and when: a storm, in which everything is killed, then a calm, in which only writers are.

What is judged to be flat is measured in the calm, since memory begins anew with each process. It ends with one more
kill of the collector and of each watchdog, under load and after a long life.
"""

from __future__ import annotations

import random
from typing import NamedTuple

WATCHDOGS = ("watchdog 0", "watchdog 1")
ROUNDS = 4  # in which everything is killed once
LAST = 12.0  # seconds: the end, with its kills


class Act(NamedTuple):
    """At so many seconds `do` (kill, start, prune) something to `whom`."""

    at: float
    do: str
    whom: str


class Plan(NamedTuple):
    """The acts in order, and the calm (from, until), in seconds since the beginning."""

    acts: list[Act]
    calm: tuple[float, float]
    seconds: float


def make(seconds: float, kill_every: float, prune_every: float, seed: int = 1) -> Plan:
    """A storm of a third, then the calm. `seconds`: the whole."""
    chance = random.Random(seed)
    storm, end = seconds / 3, seconds - LAST
    acts = [Act(at, "kill", "writer") for at in _every(kill_every, seconds)]
    acts += [Act(at, "prune", "store") for at in _every(prune_every, end)]
    for turn in range(ROUNDS):
        for place, whom in enumerate(("collector", *WATCHDOGS)):
            at = storm * (turn + (place + 1) / 4) / ROUNDS
            acts += [Act(at, "kill", whom), Act(at + chance.uniform(0.2, 3.0), "start", whom)]
    for place, whom in enumerate((*WATCHDOGS, "collector")):
        acts += [Act(end + place, "kill", whom), Act(end + place + 2.5, "start", whom)]
    return Plan(sorted(acts), (storm + 5, end - 1), seconds)


def _every(gap: float, until: float) -> list[float]:
    return [gap * number for number in range(1, int(until / gap))]
