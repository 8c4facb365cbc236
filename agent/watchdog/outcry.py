"""`watch_broken`: the watchdog cannot do its work, its store is away or its disk full, say. Told past the outbox, which
is in that store, straight through the channels; so nothing but this process's memory knows what was said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attrs import define, evolve, field, frozen
from loguru import logger

from ...backends.clock import SYSTEM, Clock
from ...backends.errors import ChannelError
from .. import identity
from ..settings import Rule, Settings
from .channels import open_channel
from .delivery import TIMEOUT
from .incidents import Incident
from .message import Facts, compose
from .metrics import failing
from .quiet import quiet_until
from .rules import RECOVERED, asks
from .steps import Half, Step

EVENT = "watch_broken"
EVERY = 30.0  # seconds between looks, and between tries of a channel that does not take it
PATIENCE = 300.0  # seconds that steps may fail for: a database that is restarted is nobody's business
_DOUBTS = 2  # deliveries of one message that may have arrived, at most


@frozen
class Place:
    """Who is told: a channel, who stands in where that one fails, and whether the end is told too."""

    channel: str
    fallback: str | None = None
    recovered: bool = True


@define
class _Trouble:
    """What fails and `why`, since when by both clocks, and which `places` know of it."""

    since: float
    at: float
    why: dict[str, str]
    over: bool = False
    places: dict[str, Place] = field(factory=dict)
    doubts: Counter[tuple[str, str]] = field(factory=Counter)


class Outcry(Half):
    """Tells of what fails in `halves` for longer than five minutes, once on each channel, and of the end of it.

    The rules that name the event say on which channels; where none does it is told on all of them. Not guaranteed: that
    a snooze holds it back (those are in the store), that a watchdog which is restarted meanwhile does not say it again.
    Of several hosts at one store each says it, about itself.
    """

    def __init__(self, settings: Settings, halves: Sequence[Half], *, clock: Clock = SYSTEM) -> None:
        super().__init__(settings, clock=clock)
        self.steps = [Step("telling that the watchdog fails", self._look, every=EVERY)]
        self._halves = halves
        self._trouble: _Trouble | None = None

    def _look(self) -> None:
        why, now, trouble = failing(self._halves), self.clock.monotonic(), self._trouble
        if not why:
            self._trouble = trouble if trouble is not None and not self._end(trouble) else None
            return
        if trouble is None or trouble.over:
            trouble = self._trouble = _Trouble(now, self.clock.wall(), why)
        trouble.why = why
        if now >= trouble.since + PATIENCE:
            self._tell(trouble)

    def _tell(self, trouble: _Trouble) -> None:
        facts = Facts(EVENT, _key(trouble), trouble.at, _reason(trouble))
        for place in places(self.settings, self.clock.wall()):
            if place.channel not in trouble.places and self._say(place, facts, trouble):
                trouble.places[place.channel] = place

    def _end(self, trouble: _Trouble) -> bool:
        """Whether all who know of it know that it is over."""
        trouble.over = True
        before, key = f"before: {_reason(trouble)}", f"{_key(trouble)}:{RECOVERED}"
        facts = Facts(RECOVERED, key, self.clock.wall(), before, since=trouble.at)
        for place in tuple(trouble.places.values()):
            if not place.recovered or self._say(place, facts, trouble):
                del trouble.places[place.channel]
        return not trouble.places

    def _say(self, place: Place, facts: Facts, trouble: _Trouble) -> bool:
        """Whether somebody took it, or it must not be sent again."""
        alert = compose(None, evolve(facts, host=identity.host(), subject="the watchdog"))
        for name in filter(None, (place.channel, place.fallback)):
            try:
                open_channel(self.settings.channels[name]).send(alert, TIMEOUT)
            except ChannelError as error:
                logger.warning("{} was not told: {}", name, error)
                trouble.doubts[name, facts.event] += error.ambiguous
            else:
                return True
        return trouble.doubts[place.channel, facts.event] >= _DOUBTS


def places(settings: Settings, now: float) -> list[Place]:
    """Who is told at `now` (Unix seconds): each channel once, none in the quiet hours of its rule. Pure."""
    event = Incident(EVENT, EVENT, "", now)
    rules = [rule for rule in settings.alerts if asks(rule, event, (), 0)] or [Rule(on=(EVENT,))]
    found: dict[str, Place] = {}
    for rule in rules:
        for channel in rule.to or settings.channels:
            if quiet_until(rule.quiet_hours, now) is None:
                found.setdefault(channel, Place(channel, rule.fallback, rule.recovered))
    return list(found.values())


def _key(trouble: _Trouble) -> str:
    return f"{EVENT}:{identity.host()}:{int(trouble.at)}"


def _reason(trouble: _Trouble) -> str:
    """The first error, and all that fails."""
    return f"{next(iter(trouble.why.values()))}; what fails: {', '.join(trouble.why)}"
