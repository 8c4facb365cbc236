"""What is measured in a soak, and how much more of it there may be at its end. docs/testing.md says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import quantiles

from .flatness import Series, Tolerance, thirds

TOLERANCES = {  # by the first word of what is measured: unit, and how much more the last third may have
    "memory": ("MB", Tolerance(0.05, 4.0)),
    "descriptors": ("descriptors", Tolerance(0.0, 3.0)),
    "size": ("MB", Tolerance(0.15, 1.0)),
    "answer": ("ms", Tolerance(0.4, 20.0, 0.1)),
    "recording": ("microseconds", Tolerance(0.4, 50.0, 0.1)),
    "arrival": ("s", Tolerance(0.4, 1.0, 0.1)),
}


def as_series(values: Mapping[str, Sequence[float]]) -> dict[str, Series]:
    return {name: Series(each, *TOLERANCES[name.split()[0]]) for name, each in values.items()}


def table(series: Mapping[str, Series]) -> str:
    """The first value, what is compared of the middle and of the last third, and what one in a hundred exceeds."""
    rows = [f"{'':40} {'first':>10} {'middle':>10} {'last':>10} {'99%':>10}"]
    for name, one in series.items():
        if len(one.values) >= 3:
            numbers = (one.values[0], *thirds(one), quantiles(one.values, n=100)[98])
            rows.append(f"{name:40} {' '.join(f'{number:10.4g}' for number in numbers)} {one.unit}")
    return "\n".join(rows)
