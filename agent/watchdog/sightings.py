"""How long something has been silent, as this watchdog itself observed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf

from attrs import define, field

from ...backends.clock import Clock
from .adopt import Live

JUMP = 5.0  # seconds by which wall and monotonic clock may disagree between two passes


@define
class Sightings:
    """When each journal was last seen to grow, on our own monotonic clock (seconds); the clocks at the last pass, for
    each of which `mind` is to be called."""

    grown: dict[str, tuple[int, float]] = field(factory=dict)
    _wall: float | None = None
    _monotonic: float = 0.0
    _slow: bool = False  # whether the last pass was late too

    def look(self, live: Iterable[Live], clock: Clock, at: float | None = None) -> dict[str, float]:
        """Seconds of silence by journal, `at` the moment (monotonic seconds) at which their sizes began to be read: a
        store that was locked may have held us up since. After a sleep of the host, a step of the clock or a pause of
        this watchdog everybody starts anew."""
        return self.silence({each.journal: each.size for each in live}, clock, at)

    def silence(self, marks: dict[str, int], clock: Clock, at: float | None = None) -> dict[str, float]:
        """The same for anything that has a name and a number that changes when it is heard."""
        self.mind(clock)
        now = clock.monotonic() if at is None else at
        held, self.grown = self.grown, {}
        for name, mark in marks.items():
            before, since = held.get(name, (-1, now))
            self.grown[name] = (mark, now if mark != before else since)
        return {name: now - since for name, (_, since) in self.grown.items()}

    def mind(self, clock: Clock) -> None:
        """A pass, whether or not it looks: what happened while there was none is nobody's silence."""
        if self._jumped(clock):
            self.grown.clear()
        self._wall, self._monotonic = clock.wall(), clock.monotonic()

    def _jumped(self, clock: Clock) -> bool:
        if self._wall is None:
            return False
        slept = clock.monotonic() - self._monotonic
        # One late pass is a pause; one after another are our pace.
        before, self._slow = self._slow, slept > JUMP
        paused = slept > 3 * JUMP or (self._slow and not before)
        return paused or abs((clock.wall() - self._wall) - slept) > JUMP


@define
class Ages:
    """How old things are: what the wall clock says when one is first seen, but no older than it can be, and from then
    on our own monotonic clock. So a clock that is set, or a host that sleeps, makes nothing older."""

    _seen: dict[str, tuple[float, float]] = field(factory=dict)

    def look(
        self, since: Mapping[str, float], clock: Clock, at_most: Callable[[str], float] = lambda name: inf
    ) -> dict[str, float]:
        """Seconds by name; `since` are Unix seconds, which may be of before the clock was set, and `at_most` is asked
        about what is new. What is not in `since` is forgotten."""
        now, wall = clock.monotonic(), clock.wall()
        held, self._seen = self._seen, {}
        for name, began in since.items():
            self._seen[name] = held.get(name) or (now, min(max(0.0, wall - began), at_most(name)))
        return {name: before + now - seen for name, (seen, before) in self._seen.items()}
