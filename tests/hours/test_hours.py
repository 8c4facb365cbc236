"""Eight hours of work for two watchdogs, in simulated time: nothing is misjudged, and nothing grows."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from holter.agent.watchdog import reconcile
from holter.agent.watchdog.watchdog import Watchdog
from holter.backends.errors import StorageError

from ..soak.flatness import growing, growths
from .world import Hours

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        not hasattr(fcntl, "F_OFD_SETLK"), reason="simulated watchdogs need locks of open files"
    ),
]
DAY, PLANTED = 8.0, 3.0  # simulated hours


def test_eight_hours_misjudge_nothing_and_nothing_grows(proof: Any) -> None:
    for seed in range(proof.of(1, 5)):
        hours = Hours(DAY, seed=seed)
        world = hours.play()
        assert growths(hours.series()) == [], f"seed {seed}"
        proof.count(round(DAY), "simulated hours")
        proof.count(len(world.runs), "simulated runs")
        proof.count(sum(world.said.values()), "simulated alerts")
        proof.count(hours.counts["trouble"], "simulated troubles")


def keeps_of_each_pass(step: Callable[[Watchdog], bool]) -> Callable[[Watchdog], bool]:
    def planted(dog: Watchdog) -> bool:
        dog.__dict__.setdefault("kept", []).append(bytearray(100))
        return step(dog)

    return planted


def asks_for_each_journal_that_ever_lived(step: Callable[[Watchdog], bool]) -> Callable[[Watchdog], bool]:
    def planted(dog: Watchdog) -> bool:
        known = dog.__dict__.setdefault("known", set())
        known |= {each.journal for each in dog.seen.live}
        with suppress(StorageError):
            for journal in known:
                dog._store().run(journal)
        return step(dog)

    return planted


@pytest.mark.parametrize(
    ("defect", "what"),
    [
        (keeps_of_each_pass, "held by the watchdog"),
        (asks_for_each_journal_that_ever_lived, "asked of the store in a pass"),
    ],
)
def test_a_watchdog_that_is_busier_with_each_hour_is_not_flat(
    monkeypatch: pytest.MonkeyPatch, proof: Any, defect: Callable[..., Any], what: str
) -> None:
    monkeypatch.setattr(Watchdog, "step", defect(Watchdog.step))
    hours = Hours(PLANTED)
    hours.play()
    assert what in growing(hours.series())
    proof.count(1, "planted defects found")


def test_replaced_journals_that_stay_open_in_the_store_make_it_busier(
    monkeypatch: pytest.MonkeyPatch, proof: Any
) -> None:
    """As it was until this proof found it."""
    monkeypatch.setattr(reconcile, "close_replaced", lambda *args: None)
    hours = Hours(PLANTED)
    hours.play()
    assert "open in the store" in growing(hours.series())
    proof.count(1, "planted defects found")
