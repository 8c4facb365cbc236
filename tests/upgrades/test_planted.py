"""Changes that forget the versions before: the checks of this family find each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.planting import Defect, planted
from tests.prove import Proof

from . import test_upgrades as upgrades

pytestmark = pytest.mark.proof
UNCOUNTED = Proof("short", lambda name, value: None)


def old_homes(folder: Path) -> None:
    upgrades.test_runs_of_an_earlier_version_are_what_they_were(
        upgrades.FROZEN[0], "sqlite", folder, UNCOUNTED
    )


def the_future(folder: Path) -> None:
    upgrades.test_a_store_from_the_future_is_refused_with_a_hint_and_not_touched("sqlite", folder, UNCOUNTED)


def an_old_collector(folder: Path) -> None:
    upgrades.test_client_and_collector_of_different_ages_understand_each_other(
        "a new client of an old collector", folder, UNCOUNTED
    )


PLANTED: dict[str, tuple[Defect, Callable[[Path], Any]]] = {
    "a field has another name, and none has moved": (
        Defect("backends/records.py", 'doc.get("tries"', 'doc.get("attempts"'),
        old_homes,
    ),
    "a newer schema is taken for this one": (
        Defect("backends/sqlite_link.py", "elif version > SCHEMA_VERSION:", "elif False:"),
        the_future,
    ),
    "an address of the collector has another name": (
        Defect("backends/http.py", "/v1/journals/{", "/v1/batches/{"),
        an_old_collector,
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    defect, check = PLANTED[name]
    tree = Path(planted(defect, tmp_path / "tree"))
    monkeypatch.setattr(upgrades, "installed", lambda: tree)
    with pytest.raises(AssertionError):
        check(tmp_path)
    proof.count(1, "planted defects found")
