"""Figures over time in a few cells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " .:-=+*#@"
_TICKS = {"COMPLETED": ("▪", ".", "green"), "SKIPPED": ("»", "s", "dim"), "CANCELLED": ("■", "c", "yellow")}
_LIVE, _BAD = ("▶", ">", "cyan"), ("✘", "X", "red")


def sparkline(counts: Sequence[int], bad: Sequence[int], *, unicode: bool = True) -> Text:
    """A cell for each span of time, as high as it has runs, red where some of them (`bad`) failed. A span without runs
    is blank; any run is at least the lowest sign."""
    signs = BLOCKS if unicode else ASCII
    most = max(counts, default=0)
    out = Text()
    for count, failed in zip(counts, bad):
        level = -(-count * (len(signs) - 1) // most) if count else 0
        out.append(signs[level], "red" if failed else "green" if count else "")
    return out


def ticks(states: Iterable[str], *, unicode: bool = True) -> Text:
    """A sign for each run, oldest first: what failed stands out without colours too."""
    out = Text()
    for state in states:
        live = state in ("PENDING", "RUNNING", "RETRYING")
        sign, plain, style = _TICKS.get(state, _LIVE if live else _BAD)
        out.append(sign if unicode else plain, style)
    return out
