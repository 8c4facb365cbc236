"""Pictures of runs as SVG text, for pages that are served and for one that is sent around. Pure.

Colours are classes (`good`, `bad`, `busy`, `idle`), so that the page's style decides; every text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from ..backends.records import Json
from ..backends.states import FAILURES, OPEN

STEP, HEIGHT = 6, 18  # pixels of a tick


def kind_of(state: str, conditions: Sequence[str] = ()) -> str:
    """How a state looks: `bad`, `busy`, `good` or `idle` (said nothing about the job: skipped, cancelled)."""
    if state in FAILURES or conditions:
        return "bad"
    return "busy" if state in OPEN else "good" if state == "COMPLETED" else "idle"


def ticks(runs: Sequence[Json]) -> str:
    """Runs (`state`, `conditions`) as bars, oldest first: one path for each kind, since thirty elements a job are slow
    by the thousand."""
    paths: dict[str, list[str]] = {}
    for number, run in enumerate(runs):
        kind = kind_of(run["state"], run["conditions"])
        top = 1 if kind == "bad" else 8
        paths.setdefault(kind, []).append(f"M{number * STEP} {top}h4V17h-4z")
    drawn = "".join(f'<path class="{kind}" d="{"".join(parts)}"/>' for kind, parts in paths.items())
    kinds = [kind_of(run["state"], run["conditions"]) for run in runs]
    counted = f"{kinds.count('good')} of the last {len(runs)} completed, {kinds.count('bad')} in trouble"
    return (
        f'<svg class="ticks" role="img" aria-label="{counted}" width="{len(runs) * STEP}" height="{HEIGHT}">'
        f"<title>{counted}</title>{drawn}</svg>"
    )


def columns(values: Iterable[tuple[str, Mapping[str, int]]], *, width: int, height: int, label: str) -> str:
    """Bars of counts by state, one for each (name, counts): good ones below, bad ones above, the name in its title."""
    bars = [(name, *_split(counts)) for name, counts in values]
    most = max((good + bad for _, good, bad in bars), default=0) or 1
    step = width / max(1, len(bars))
    out = []
    for number, (name, good, bad) in enumerate(bars):
        low, high = height * good / most, height * (good + bad) / most
        x, wide = f"{number * step:.2f}", f"{max(0.5, step - 1):.2f}"
        total = good + bad
        title = escape(f"{name}: {total} run{'s' * (total != 1)}" + (f", {bad} in trouble" if bad else ""))
        out.append(
            f'<g><title>{title}</title><rect class="room" x="{x}" y="0" width="{wide}" height="{height}"/>'
            f'<rect class="good" x="{x}" y="{height - low:.2f}" width="{wide}" height="{low:.2f}"/>'
            f'<rect class="bad" x="{x}" y="{height - high:.2f}" width="{wide}" height="{high - low:.2f}"/></g>'
        )
    return (
        f'<svg class="columns" role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}" '
        f'preserveAspectRatio="none">{"".join(out)}</svg>'
    )


def _split(counts: Mapping[str, int]) -> tuple[int, int]:
    bad = sum(count for state, count in counts.items() if state in FAILURES)
    return sum(counts.values()) - bad, bad


def trend(runs: Sequence[Json], *, width: int, height: int, label: str) -> str:
    """Durations of runs (`state`, `duration_seconds`), oldest first, as dots; failures are crosses."""
    drawn = [run for run in runs if run["duration_seconds"] is not None]
    most = max((run["duration_seconds"] for run in drawn), default=0.0) or 1.0
    step = width / max(1, len(drawn))
    marks = []
    for number, run in enumerate(drawn):
        x, y = (number + 0.5) * step, height - 4 - (height - 8) * run["duration_seconds"] / most
        bad = kind_of(run["state"]) == "bad"
        marks.append(
            f'<path class="bad cross" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"/>'
            if bad
            else f'<circle class="{kind_of(run["state"])}" cx="{x:.1f}" cy="{y:.1f}" r="2.2"/>'
        )
    return (
        f'<svg class="trend" role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}">'
        f"{''.join(marks)}</svg>"
    )
