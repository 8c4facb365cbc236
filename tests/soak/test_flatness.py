"""What is called flat, and what is not: with the very tolerances of the soak."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from .flatness import LEAST, Series, Tolerance, growth, growths
from .measures import TOLERANCES

COUNT = 120  # values: of two minutes


def series(value: Callable[[int, random.Random], float], of: str) -> Series:
    """`value` of each moment, as what is measured under that name."""
    chance = random.Random(1)
    return Series([value(at, chance) for at in range(COUNT)], *TOLERANCES[of])


FLAT = {
    "the same all the time": series(lambda at, chance: 60.0, "memory"),
    "with noise": series(lambda at, chance: chance.gauss(60.0, 3.0), "memory"),
    "growing until it is warm": series(lambda at, chance: min(60.0, 20.0 + at), "memory"),
    "one peak at the end": series(lambda at, chance: 60.0 + 500.0 * (at > COUNT - 10), "memory"),
    "getting less": series(lambda at, chance: 90.0 - at / 4, "memory"),
    "a descriptor for each of a changing number of clients": series(
        lambda at, chance: 40 + chance.randint(0, 9), "descriptors"
    ),
    "a saw: filled and forgotten": series(lambda at, chance: 4.0 + at % 15, "size"),
    "answers of a machine that has other work": series(
        lambda at, chance: 5 * chance.expovariate(1), "answer"
    ),
}
GROWING = {
    "a quarter of a megabyte each second": series(lambda at, chance: chance.gauss(60 + at / 4, 3), "memory"),
    "a descriptor with each pass": series(lambda at, chance: 20 + at, "descriptors"),
    "a descriptor every ten seconds": series(lambda at, chance: 20 + at // 10, "descriptors"),
    "a store that forgets nothing": series(lambda at, chance: 2.0 + at / 10, "size"),
    "a saw whose teeth become longer": series(lambda at, chance: at % 15 * at / 10, "size"),
    "answers that take longer and longer": series(lambda at, chance: 5.0 + 4 * at, "answer"),
    "twice as slow after a while": series(lambda at, chance: 200.0 * (1 + (at > 70)), "recording"),
}


@pytest.mark.parametrize("name", FLAT)
def test_what_does_not_grow_is_flat(name: str) -> None:
    assert growth(FLAT[name]) is None


@pytest.mark.parametrize("name", GROWING)
def test_what_grows_is_not(name: str) -> None:
    said = growth(GROWING[name])
    assert said is not None and said.startswith("grew from ")


def test_it_says_what_it_saw_and_what_it_allows() -> None:
    found = Series([*[1.0] * 20, *[100.0] * 10], "MB", Tolerance(0.1, 5.0))
    assert growth(found) == "grew from 1 to 100 MB, where 6.1 is allowed"


def test_what_nobody_looked_at_is_not_flat() -> None:
    too_short = Series([1.0] * (3 * LEAST - 1), "MB", Tolerance(0.1, 5.0))
    assert growth(too_short) == f"{3 * LEAST - 1} values are too few to tell"


def test_all_that_grow_are_named() -> None:
    assert [each.partition(":")[0] for each in growths({**FLAT, **GROWING})] == list(GROWING)
