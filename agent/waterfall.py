"""When each part of a run waited, ran and was tried again, on one time axis: the model that the terminal and the
run page draw. Pure: records and `now` in, rows out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from attrs import evolve, frozen

from ..backends.records import Json, Run
from ..backends.states import FAILURES, OPEN

WAITS, RUNS, FAILS, DELAYS = "waits", "runs", "fails", "delays"  # kinds of spans
MOST = 60  # rows, beyond which runs are put together by name
SAMPLES = 5  # runs in trouble of one name that have rows of their own then
GRAIN = 400  # parts of the axis, between which the spans of runs put together are not told apart


@frozen
class Span:
    """From `start` to `end`, in seconds since the axis' origin. `kind`: `waits` (to start, or for a slot), `runs` (an
    attempt), `fails` (an attempt that failed), `delays` (between two attempts)."""

    kind: str
    start: float
    end: float


@frozen
class Row:
    """One run, or (`id` None) all `count` runs of one `name`.

    `depth` is 0 for the run that is drawn, 1 for what it called. `start` and `end` are seconds since the axis' origin,
    `end` is now for what is live. `seconds` is how long it took; of several, the sum. `spans` are in the order in which
    they are drawn: a later one lies over an earlier one. `attempts` is how often it was tried, `failures` how many of
    the `count` ended badly, `live` how many have not ended. `state` and `conditions` are the run's; of several, FAILED
    where one failed, else RUNNING where one is live, else COMPLETED, and no conditions.
    """

    name: str
    id: str | None
    kind: str
    depth: int
    state: str
    conditions: tuple[str, ...]
    start: float
    end: float
    seconds: float
    spans: tuple[Span, ...]
    attempts: int = 1
    count: int = 1
    failures: int = 0
    live: int = 0


@frozen
class Waterfall:
    """`rows` on an axis from `origin` (Unix seconds) that is `seconds` long (above 0). `grouped`: whether runs were put
    together by name. `left_out` is how many runs no row tells of."""

    origin: float
    seconds: float
    rows: tuple[Row, ...]
    grouped: bool = False
    left_out: int = 0


def waterfall(run: Run, family: Sequence[Run], now: float, most: int = MOST) -> Waterfall:
    """`run` and its descendants `family` (oldest first) as they were at `now` (Unix seconds).

    Up to `most` descendants have a row each, in the order of the tree. More are put together by name, and rows of
    their own have only the first in trouble, as far as `most` reaches. Costs n log n for n descendants.

    Not guaranteed: that a child lies within its parent, since clocks of two hosts differ.
    """
    origin = min((each.created_at for each in family), default=run.created_at)
    origin = min(origin, run.created_at)
    end = max((_end(each, now) for each in (run, *family)), default=now)
    axis = max(end - origin, 1e-6)
    rows = [_row(run, 0, origin, now)]
    if len(family) <= most:
        rows += [_row(each, depth, origin, now) for depth, each in _walk(run, family)]
        return Waterfall(origin, axis, tuple(rows), left_out=len(family) + 1 - len(rows))
    below, left_out = _together(family, origin, now, axis, most)
    return Waterfall(origin, axis, (*rows, *below), grouped=True, left_out=left_out)


def _walk(run: Run, family: Iterable[Run]) -> Iterator[tuple[int, Run]]:
    """Depth first, brothers as they started."""
    children: defaultdict[str | None, list[Run]] = defaultdict(list)
    for each in family:
        children[each.parent_id].append(each)
    front = [(1, child) for child in reversed(children[run.id])]
    while front:
        depth, each = front.pop()
        yield depth, each
        front += [(depth + 1, child) for child in reversed(children[each.id])]


# --- one run ------------------------------------------------------------------------------------------------


def _row(run: Run, depth: int, origin: float, now: float) -> Row:
    start, end = run.created_at - origin, _end(run, now) - origin
    began = run.created_at if run.started_at is None else run.started_at
    spent = run.duration_seconds if run.ended and run.duration_seconds is not None else end + origin - began
    return Row(
        name=run.run_name or run.name,
        id=run.id,
        kind=run.kind,
        depth=depth,
        state=run.state,
        conditions=run.conditions,
        start=start,
        end=end,
        seconds=max(0.0, spent),
        spans=tuple(_moved(span, origin) for span in spans(run, now)),
        attempts=run.attempt,
        failures=int(run.state in FAILURES),
        live=int(run.state in OPEN),
    )


def _end(run: Run, now: float) -> float:
    ended = run.ended_at if run.ended and run.ended_at is not None else now
    return max(run.created_at, ended)


def _moved(span: Span, origin: float) -> Span:
    return Span(span.kind, span.start - origin, max(span.start, span.end) - origin)


def spans(run: Run, now: float) -> Iterator[Span]:
    """What a run did when, in the order in which it is drawn; in Unix seconds, not from an origin."""
    end = _end(run, now)
    began = end if run.started_at is None else run.started_at
    if began > run.created_at:
        yield Span(WAITS, run.created_at, began)
    for number, each in enumerate(run.attempts):
        yield from _attempt(run, each, run.attempts[number + 1 :][:1], end)
    for slot in run.slots:
        taken = (slot.get("at") or 0.0) - (slot.get("held") or 0.0)
        if slot.get("waited") and run.created_at < taken:
            yield Span(WAITS, max(run.created_at, taken - slot["waited"]), min(end, taken))


def _attempt(run: Run, each: Json, after: Sequence[Json], end: float) -> Iterator[Span]:
    start, stop = each.get("started_at"), each.get("ended_at")
    if start is None:
        return
    again = after[0].get("started_at") if after else None
    stop = stop if stop is not None else again if again is not None else end
    last = not after and run.state != "RETRYING"
    yield Span(FAILS if not last or run.state in FAILURES else RUNS, start, stop)
    if not last:
        yield Span(DELAYS, stop, end if again is None else again)


# --- many runs ----------------------------------------------------------------------------------------------


def _together(
    family: Sequence[Run], origin: float, now: float, axis: float, most: int
) -> tuple[list[Row], int]:
    """A row for each name (those in trouble and those that took longest, where there are too many), and beneath it its
    first runs in trouble; and how many runs have no part in any row."""
    names: defaultdict[str, list[Run]] = defaultdict(list)
    for each in family:
        names[each.name].append(each)
    groups = [(_group(held, origin, now, axis), held) for held in names.values()]
    chosen = sorted(groups, key=lambda each: (each[0].failures == 0, -each[0].seconds))[:most]
    room = most - len(chosen)
    rows: list[Row] = []
    for group, held in sorted(chosen, key=lambda each: each[0].start):
        rows.append(group)
        bad = [each for each in held if not each.well][: min(room, SAMPLES) if len(held) > 1 else 0]
        rows += [_row(each, 2, origin, now) for each in bad]
        room -= len(bad)
    return rows, len(family) - sum(group.count for group, _ in chosen)


def _group(held: Sequence[Run], origin: float, now: float, axis: float) -> Row:
    rows = [_row(each, 1, origin, now) for each in held]
    if len(rows) == 1:
        return rows[0]
    failures, live = sum(row.failures for row in rows), sum(row.live for row in rows)
    spans = [span for row in rows for span in row.spans]
    return evolve(
        rows[0],
        name=held[0].name,
        id=None,
        state="FAILED" if failures else "RUNNING" if live else "COMPLETED",
        conditions=(),
        start=min(row.start for row in rows),
        end=max(row.end for row in rows),
        seconds=sum(row.seconds for row in rows),
        spans=tuple(
            merged for kind in (WAITS, DELAYS, RUNS, FAILS) for merged in _merged(kind, spans, axis / GRAIN)
        ),
        attempts=max(row.attempts for row in rows),
        count=len(rows),
        failures=failures,
        live=live,
    )


def _merged(kind: str, spans: Iterable[Span], grain: float) -> Iterator[Span]:
    """The spans of one kind, those that touch (or nearly so) in one: at most GRAIN of them."""
    held: Span | None = None
    for span in sorted((each for each in spans if each.kind == kind), key=lambda each: each.start):
        if held is not None and span.start <= held.end + grain:
            held = evolve(held, end=max(held.end, span.end))
            continue
        if held is not None:
            yield held
        held = span
    if held is not None:
        yield held
