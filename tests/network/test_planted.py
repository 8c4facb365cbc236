"""Defects planted into recorder and collector: the checks of this family find each of them."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.collecting import Collector
from tests.planting import Defect, planted
from tests.prove import Proof

from .conftest import over_postgres
from .gateway import REQUEST, Gateway
from .ground import Ground, check
from .relay import CONNECTION, TO_CLIENT, Fault
from .test_a_script import attack

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

SHIPPER = "agent/shipper.py"
IN_HTTP = {
    "a collector does not look where a batch begins": (
        Defect("backends/sqlite.py", "if stood != offset:", "if False:"),
        Fault("sent twice", REQUEST, 2),
    ),
    "a collector does not look, and the answer was lost": (
        Defect("backends/sqlite.py", "if stood != offset:", "if False:"),
        Fault("dropped", TO_CLIENT, 1),
    ),
    "the journal goes before all of it arrived": (
        Defect(SHIPPER, "whole = arrived and not", "whole = True or not"),
        Fault("reset", CONNECTION, 1, stays=True),
    ),
    "the end waits for the store": (
        Defect(SHIPPER, "self._done.acquire(timeout=EXIT_SECONDS)", "self._done.acquire()"),
        Fault("delayed", TO_CLIENT, 1, stays=True),
    ),
    "it complains each time": (
        Defect("agent/knobs.py", "if _complained or", "if"),
        Fault("dropped", CONNECTION, 1, stays=True),
    ),
}


def judged(ground: Ground, fault: Fault) -> None:
    hit, done, seen = ground.through(fault)
    assert hit
    check(done, seen, *ground.unhurt())


@pytest.mark.parametrize("name", IN_HTTP)
def test_a_defect_before_a_collector_is_found(
    collector: Collector, tmp_path: Path, proof: Proof, name: str
) -> None:
    defect, fault = IN_HTTP[name]
    with closing(Collector(tmp_path)) as broken:
        broken.env["PYTHONPATH"] = planted(defect, tmp_path)
        broken.start()
        dial = lambda: socket.create_connection(("127.0.0.1", broken.port), 5)  # noqa: E731
        ground = Ground(
            tmp_path, lambda fault: Gateway(dial, fault), lambda port, _: f"http://127.0.0.1:{port}"
        )
        ground.unhurt()
        ground.env["PYTHONPATH"] = broken.env["PYTHONPATH"]
        with pytest.raises(AssertionError):
            judged(ground, fault)
    proof.count(1, "planted defects found")


def test_a_defect_before_postgresql_is_found(tmp_path: Path, proof: Proof) -> None:
    """The answer to a COMMIT is lost: only the offset says that it was done."""
    pytest.importorskip("psycopg", reason="pip install 'holter[postgres]'")
    ground = over_postgres(tmp_path)
    ground.unhurt()
    ground.env["PYTHONPATH"] = planted(
        Defect("backends/postgres.py", "if stood != offset:", "if False:"), tmp_path
    )
    with pytest.raises(AssertionError):
        attack(ground, Fault("dropped", TO_CLIENT), 1)
    proof.count(1, "planted defects found")
