"""The ledger of expected times: each turn of a job has exactly one outcome. Pure.

* `on_time`, `late`: a run answered the turn, within the grace or after it.
* `skipped`: what answered it was a run that was skipped (its limit was busy), or the job was paused.
* `missed`: the turn is over, no run came, and somebody watched when its grace ended.
* `unknown`: the same, but nobody watched then, so nobody can say that it did not come.

An outcome is a function of what the store knows, not of who looks or when: evidence that arrives late (from a host that
was offline) corrects it, and the same evidence in any order leaves the same ledger. What a run has answered stays
answered when the run is forgotten.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from attrs import frozen

from .expected import Expectation, Turn, median, walk
from .records import Json

OUTCOMES = ("on_time", "late", "missed", "skipped", "unknown")
ANSWERED = ("on_time", "late", "skipped")
DAY = 86400.0
_LETTERS = dict(zip(OUTCOMES, "olmsu", strict=True))
_WORDS = {letter: outcome for outcome, letter in _LETTERS.items()}

Span = tuple[float, float]  # Unix seconds, from and until


@frozen
class Entry:
    """One turn: when it was expected, what became of it, and the start that answered it (Unix seconds, to the
    millisecond)."""

    expected_at: float
    outcome: str
    started_at: float | None = None


@frozen
class Evidence:
    """What is known of a job in a stretch of time: `starts` of its runs, ascending, those that were `skipped` among
    them; when nobody watched; when it was paused."""

    starts: tuple[float, ...] = ()
    skipped: frozenset[float] = frozenset()
    unwatched: tuple[Span, ...] = ()
    pauses: tuple[Span, ...] = ()


def decide(
    expected: Expectation, evidence: Evidence, since: float, until: float, now: float
) -> tuple[list[Entry], float, float | None]:
    """The turns after `since` and up to `until` that have an outcome at `now`; up to when that is all that there are;
    and when the first one that is still open will have one (None: none is open)."""
    entries: list[Entry] = []
    real = [at for at in evidence.starts if at not in evidence.skipped]
    for turn in walk(expected, evidence.starts, since, until):
        outcome, started = _outcome(turn, expected.grace, evidence, real, now)
        if outcome is None:
            before = entries[-1].expected_at if entries else since
            return entries, before, max(turn.next_at, turn.expected_at + expected.grace)
        entries.append(
            Entry(_millis(turn.expected_at), outcome, None if started is None else _millis(started))
        )
    return entries, until, None


def _outcome(
    turn: Turn, grace: float, evidence: Evidence, real: Sequence[float], now: float
) -> tuple[str | None, float | None]:
    at, started, deadline = turn.expected_at, turn.started_at, turn.expected_at + grace
    if started is not None and started in evidence.skipped:
        place = bisect_left(real, started)
        if place < len(real) and real[place] < turn.next_at:
            started = real[place]
        else:
            return "skipped", started
    if started is not None:
        return ("on_time" if started <= deadline else "late"), started
    if now < max(turn.next_at, deadline):
        return None, None
    if within(at, evidence.pauses):
        return "skipped", None
    return ("unknown" if within(deadline, evidence.unwatched) else "missed"), None


def within(at: float, spans: Iterable[Span]) -> bool:
    return any(start <= at < end for start, end in spans)


def merge(
    old: Sequence[Entry], new: Sequence[Entry], since: float, until: float, starts: Sequence[float]
) -> list[Entry]:
    """The `new` entries in place of the old ones after `since` and up to `until`. What a run answered that is not
    among the `starts` any more (it was forgotten) stays, and so does an older word on what nobody answered."""
    known = {_millis(at) for at in starts}
    out = {each.expected_at: each for each in old if not since < each.expected_at <= until}
    inside = {each.expected_at: each for each in old if since < each.expected_at <= until}
    for each in new:
        before = inside.get(each.expected_at)
        unanswered = each.outcome not in ANSWERED
        keep = (
            before is not None
            and unanswered
            and (before.outcome not in ANSWERED or _forgotten(before, known))
        )
        out[each.expected_at] = before if keep and before is not None else each
    for at, before in inside.items():
        if at not in out and _forgotten(before, known):
            out[at] = before
    return [out[at] for at in sorted(out)]


def _forgotten(entry: Entry, known: set[float]) -> bool:
    return entry.started_at is not None and entry.started_at not in known


def counts(entries: Iterable[Entry]) -> dict[str, int]:
    """How many turns had each outcome, all five named."""
    out = dict.fromkeys(OUTCOMES, 0)
    for each in entries:
        out[each.outcome] += 1
    return out


def completeness(entries: Sequence[Entry]) -> float | None:
    """Share of the turns that a run answered (0..1), skipped and unknown ones aside; None where none is left."""
    found = counts(entries)
    kept = found["on_time"] + found["late"]
    return kept / (kept + found["missed"]) if kept + found["missed"] else None


def lateness(entries: Iterable[Entry]) -> float | None:
    """Median seconds from expected time to start over the turns that a run answered, none below 0; None of none."""
    waits = [
        max(0.0, each.started_at - each.expected_at)
        for each in entries
        if each.started_at is not None and each.outcome != "skipped"
    ]
    return median(sorted(waits))


def day_of(at: float) -> float:
    """The UTC midnight before a moment."""
    return at // DAY * DAY


def pack(entries: Sequence[Entry], day: float) -> Json:
    """The entries of one UTC day, compact: steps between turns and waits in milliseconds, outcomes as letters."""
    steps, waits, before = [], [], round(day * 1000)
    for each in entries:
        at = round(each.expected_at * 1000)
        steps.append(at - before)
        waits.append(None if each.started_at is None else round(each.started_at * 1000) - at)
        before = at
    return {
        "day": day,
        "is": "".join(_LETTERS[each.outcome] for each in entries),
        "at": steps,
        "waits": waits,
    }


def unpack(value: Json) -> list[Entry]:
    entries, at = [], round(value["day"] * 1000)
    for letter, step, wait in zip(value["is"], value["at"], value["waits"], strict=True):
        at += step
        entries.append(Entry(at / 1000, _WORDS[letter], None if wait is None else (at + wait) / 1000))
    return entries


def _millis(at: float) -> float:
    return round(at * 1000) / 1000
