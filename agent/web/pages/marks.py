"""Small pieces of HTML that pages are made of, built in Python where a template is too slow for thousands of them.

Every text that comes from a record goes through `escape`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from markupsafe import Markup, escape

from ....backends.fold import OPEN
from ....backends.records import Json
from ....backends.verdicts import FAILURES
from ...terminal.text import took

NONE = "\N{EN DASH}"
SIGNS = {"bad": "▲", "busy": "◌", "good": "●", "idle": NONE}
_STEP, _HEIGHT = 6, 18  # pixels of a tick


def kind_of(state: str, conditions: Sequence[str] = ()) -> str:
    """How a state looks: `bad`, `busy`, `good` or `idle` (said nothing about the job: skipped, cancelled)."""
    if state in FAILURES or conditions:
        return "bad"
    return "busy" if state in OPEN else "good" if state == "COMPLETED" else "idle"


def state(name: str, conditions: Sequence[str] = ()) -> Markup:
    """A state in words, with a sign for whoever does not see its colour."""
    kind, said = kind_of(name, conditions), ", ".join([name.lower().replace("_", " "), *conditions])
    return Markup('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>').format(
        kind, SIGNS[kind], said
    )


def utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def when(at: float | None, *, short: bool = False) -> Markup:
    """A moment (Unix seconds) in UTC; the page's script puts it into the reader's zone. `short`: without the date while
    it is today."""
    if at is None:
        return escape(NONE)
    text = utc(at)
    return Markup('<time datetime="{}Z" title="{} UTC"{}>{} UTC</time>').format(
        text.replace(" ", "T"), text, Markup(' data-short=""') if short else "", text
    )


def lasted(seconds: float | None) -> str:
    return NONE if seconds is None else took(seconds)


def job_path(project: str, name: str, **more: object) -> str:
    return "/job?" + urlencode({"project": project, "name": name, **more})


def ticks(runs: Sequence[Json]) -> Markup:
    """Runs as bars, oldest first: one path for each kind, since thirty elements a job are slow by the thousand."""
    paths: dict[str, list[str]] = {}
    for number, run in enumerate(runs):
        kind = kind_of(run["state"], run["conditions"])
        top = 1 if kind == "bad" else 8
        paths.setdefault(kind, []).append(f"M{number * _STEP} {top}h4V17h-4z")
    drawn = "".join(f'<path class="{kind}" d="{"".join(parts)}"/>' for kind, parts in paths.items())
    counted = Counted(runs)
    return Markup(  # noqa: S704 - kinds and numbers of ours
        f'<svg class="ticks" role="img" aria-label="{counted}" width="{len(runs) * _STEP}" height="{_HEIGHT}">'
        f"<title>{counted}</title>{drawn}</svg>"
    )


class Counted:
    """`27 of the last 30 runs completed, 3 failed`."""

    def __init__(self, runs: Sequence[Json]) -> None:
        kinds = [kind_of(run["state"], run["conditions"]) for run in runs]
        self._text = (
            f"{kinds.count('good')} of the last {len(runs)} completed, {kinds.count('bad')} in trouble"
        )

    def __str__(self) -> str:
        return self._text


def columns(
    values: Iterable[tuple[str, Mapping[str, int]]], *, width: int, height: int, label: str
) -> Markup:
    """Bars of counts by state, one for each (name, counts): good ones below, bad ones above, the name in its title."""
    bars = [(name, *_split(counts)) for name, counts in values]
    most = max((good + bad for _, good, bad in bars), default=0) or 1
    step = width / max(1, len(bars))
    out = []
    for number, (name, good, bad) in enumerate(bars):
        low, high = height * good / most, height * (good + bad) / most
        x, wide = f"{number * step:.2f}", f"{max(0.5, step - 1):.2f}"
        title = escape(f"{name}: {good + bad} runs" + (f", {bad} in trouble" if bad else ""))
        out.append(
            f'<g><title>{title}</title><rect class="room" x="{x}" y="0" width="{wide}" height="{height}"/>'
            f'<rect class="good" x="{x}" y="{height - low:.2f}" width="{wide}" height="{low:.2f}"/>'
            f'<rect class="bad" x="{x}" y="{height - high:.2f}" width="{wide}" height="{high - low:.2f}"/></g>'
        )
    return Markup(  # noqa: S704 - names are escaped, the rest are numbers
        f'<svg class="columns" role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}" '
        f'preserveAspectRatio="none">{"".join(out)}</svg>'
    )


def _split(counts: Mapping[str, int]) -> tuple[int, int]:
    bad = sum(count for state, count in counts.items() if state in FAILURES)
    return sum(counts.values()) - bad, bad
