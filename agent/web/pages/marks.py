"""Small pieces of HTML that pages are made of, built in Python where a template is too slow for thousands of them.

Every text that comes from a record goes through `escape`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from markupsafe import Markup, escape

from ....backends.records import Json
from ... import drawings
from ...drawings import kind_of
from ...terminal import text

NONE = "\N{EN DASH}"
SIGNS = {"bad": "▲", "busy": "◌", "good": "●", "idle": NONE}


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
    said = utc(at)
    return Markup('<time datetime="{}Z" title="{} UTC"{}>{} UTC</time>').format(
        said.replace(" ", "T"), said, Markup(' data-short=""') if short else "", said
    )


def lasted(seconds: float | None) -> str:
    return NONE if seconds is None else text.took(seconds)


def share(rate: float | None) -> str:
    """A rate (0 to 1) as percent that says 100 only where nothing is missing."""
    return NONE if rate is None else text.share(rate)


def ticked(said: str) -> Markup:
    """A sentence, with what stands between backticks as code."""
    parts = said.split("`")
    odd = len(parts) % 2 == 0  # the last backtick has no other
    shown = (
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )
    return escape(said) if odd else Markup("").join(shown)


def job_path(project: str, name: str, **more: object) -> str:
    return "/job?" + urlencode({"project": project, "name": name, **more})


def ticks(runs: Sequence[Json]) -> Markup:
    return Markup(drawings.ticks(runs))  # noqa: S704 - it escapes


def columns(
    values: Iterable[tuple[str, Mapping[str, int]]], *, width: int, height: int, label: str
) -> Markup:
    return Markup(drawings.columns(values, width=width, height=height, label=label))  # noqa: S704 - it escapes
