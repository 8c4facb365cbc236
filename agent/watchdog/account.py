"""The watchdog's account of itself: the gaps in which it did not watch, one summary after each, settings it refused.

The summary waits for one grace after the start, so that it can say what is unresolved by then instead of guessing: the
dead are adopted, the silent had their time, expected starts were judged. It is one message, however long the gap was.
"""

from __future__ import annotations

from ...backends.base import Backend
from ...backends.clock import Clock, rfc3339
from ...backends.queries import RunQuery
from ...backends.schedule import format_duration
from ...backends.states import CONDITIONS
from .. import identity, ledgers
from ..settings import Settings
from . import gaps
from .gaps import Gap
from .incidents import Board, Incident, open_incidents

EVERY = 1.0  # seconds between looks
DAY = 86400.0
GRACE_BEATS = 3
MANY = 1000  # runs that are counted one by one


def grace(settings: Settings) -> float:
    """Seconds after a gap in which what is found is not told yet: three heartbeats, a minute at most."""
    return float(min(60.0, GRACE_BEATS * settings.heartbeat))


class Account:
    """`look` is the step."""

    def __init__(self, clock: Clock, *, once: bool = False) -> None:
        self._clock, self._once = clock, once
        self._spoke = True  # as far as we know, of an earlier process

    def look(self, store: Backend, settings: Settings, refused: str = "") -> None:
        """Note the gap that ends now, and say what is to be said of this watchdog. Before the first pulse. `refused`
        says why the settings as they are in the file do not hold."""
        now, me = self._clock.wall(), identity.host()
        gaps.note(store, now)
        news = [each for each in gaps.of_host(store, me) if not each.told and not each.first]
        if not (news or refused or self._spoke):
            return
        board, scope = Board(store), f"watchdog:{me}"
        wanted = self._summary(store, settings, board, scope, news)
        wanted += _refusal(refused, board, scope, now)
        board.settle(scope, wanted, now)
        self._spoke = bool(wanted)

    def _summary(
        self, store: Backend, settings: Settings, board: Board, scope: str, news: list[Gap]
    ) -> list[Incident]:
        """One incident about the newest gap, once the grace is over, until it was told, or for a day."""
        for each in news[:-1]:
            gaps.done_with(store, each)
        if not news:
            return []
        gap, now = news[-1], self._clock.wall()
        key = f"{scope}:watch_gap:{int(gap.start)}"
        if key in board.told(scope) or now - gap.end > DAY:
            gaps.done_with(store, gap)
            return []
        if not self._once and now < gap.end + grace(settings):
            return []
        said = board.open(scope).get(key)
        details = {"from": gap.start, "until": gap.end}
        return [
            said
            or Incident("watch_gap", key, summary(store, gap, scope), gap.end, host=gap.host, details=details)
        ]


def _refusal(refused: str, board: Board, scope: str, now: float) -> list[Incident]:
    if not refused:
        return []
    since = board.since(scope, "settings_refused", now)
    key = f"{scope}:settings_refused:{int(since)}"
    return [Incident("settings_refused", key, refused, since, host=identity.host())]


def summary(store: Backend, gap: Gap, scope: str) -> str:
    """The gap in words, and what is unresolved after it."""
    crashed = store.runs(RunQuery(states=("CRASHED",), limit=MANY))
    troubled = store.runs(RunQuery(states=CONDITIONS, limit=MANY))
    other = [each for each in open_incidents(store) if not each.key.startswith(scope)]
    counts = (
        (sum((run.ended_at or 0.0) >= gap.start for run in crashed), "run", "crashed since"),
        (len(troubled), "live run", "in trouble"),
        (len(other), "other incident", "open"),
        (_unknown(store, gap), "expected start", "unknown"),
    )
    found = [f"{count} {noun}{'s' * (count > 1)} {rest}" for count, noun, rest in counts if count]
    start, end = (str(rfc3339(each))[:19] + "Z" for each in (gap.start, gap.end))
    return (
        f"nobody watched from {start} to {end} ({format_duration(round(gap.end - gap.start))}); "
        f"{', '.join(found) or 'nothing is unresolved'}"
    )


def _unknown(store: Backend, gap: Gap) -> int:
    """How many expected starts that fell into the gap nobody can say anything of."""
    jobs = [key for key, _ in store.list(ledgers.HEAD) if key]
    entries = (each for key in jobs for each in ledgers.entries(store, key, gap.start, gap.end))
    return sum(each.outcome == "unknown" for each in entries)
