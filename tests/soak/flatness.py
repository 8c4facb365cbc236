"""Whether a series of measurements is flat: numbers in, a sentence out where it is not.

The first third is left out: caches fill, heaps find their size, the first old runs are forgotten. Then the median of
the last third may exceed that of the middle third by so much. Medians, since a busy machine adds spikes and a saw that
is full and emptied adds teeth; a leak adds to every value. Of times it is the fastest tenth that is compared, as all
that other work on the machine does is to add to them. A series that is too short is not flat: nobody has looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

LEAST = 5  # values in a third


class Tolerance(NamedTuple):
    """How much more the last third may have: a `share` of the middle third, and so much `more`, in the series' unit.
    `rank`: which value stands for a third, 0 for the least, 1 for the greatest."""

    share: float
    more: float
    rank: float = 0.5


class Series(NamedTuple):
    """What was measured, in the order of time."""

    values: Sequence[float]
    unit: str
    tolerance: Tolerance


def thirds(series: Series) -> tuple[float, float]:
    """What stands for the middle and for the last third."""
    third, rank = len(series.values) // 3, series.tolerance.rank
    middle, last = (sorted(series.values[third * n : third * (n + 1)]) for n in (1, 2))
    return middle[int(rank * third)], last[int(rank * third)]


def growth(series: Series) -> str | None:
    """Why this series is not flat; None where it is."""
    if len(series.values) < 3 * LEAST:
        return f"{len(series.values)} values are too few to tell"
    middle, last = thirds(series)
    most = middle * (1 + series.tolerance.share) + series.tolerance.more
    if last <= most:
        return None
    return f"grew from {middle:,.6g} to {last:,.6g} {series.unit}, where {most:,.6g} is allowed"


def growing(all_of_them: Mapping[str, Series]) -> list[str]:
    """The names of what is not flat."""
    return [name for name, series in all_of_them.items() if growth(series)]


def growths(all_of_them: Mapping[str, Series]) -> list[str]:
    """What is not flat, by name."""
    return [f"{name}: {why}" for name, series in all_of_them.items() if (why := growth(series))]
