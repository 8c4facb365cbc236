"""A collector is stopped at every moment of a script's life: the script is unhurt, and all of it arrives once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.collecting import Collector
from tests.network.ground import Ground, check
from tests.network.relay import NOTHING, Faulty
from tests.prove import Proof

from .pausing import pause

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

PAUSE = 2.5  # seconds: the script is over by then
LIFE = 1.2  # seconds, about, of a script
FOR_LONG = 12.0  # seconds: longer than a client waits for an answer


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    pytest.importorskip("uvicorn", reason="pip install 'holter[web]'")
    with closing(Collector(tmp_path)) as made:
        yield made.start()


def ground_of(collector: Collector, folder: Path) -> Ground:
    dial = lambda: socket.create_connection(("127.0.0.1", collector.port), 5)  # noqa: E731
    return Ground(folder, lambda fault: Faulty(dial, fault), lambda port, _: f"http://127.0.0.1:{port}")


def attack(ground: Ground, pid: int, after: float, seconds: float) -> None:
    """The collector is stopped so many seconds after the script began, for so long."""
    expected = ground.unhurt()
    with closing(ground.relayed(NOTHING)) as relay:
        over = threading.Event()
        stopping = threading.Thread(target=lambda: over.wait(after) or pause(pid, seconds))
        stopping.start()
        done = ground.run(relay)
        stopping.join()
        check(done, ground.look(done), *expected)


def test_a_collector_that_is_stopped_hurts_no_script_and_loses_and_doubles_nothing(
    collector: Collector, proof: Proof, tmp_path: Path
) -> None:
    ground = ground_of(collector, tmp_path)
    count = proof.of(5, 60)
    assert collector.process is not None
    for number in range(count):
        attack(ground, collector.process.pid, number * LIFE / count, PAUSE)
    proof.count(count, "collectors stopped")


def test_a_collector_that_is_stopped_for_longer_than_a_client_waits_is_asked_again(
    collector: Collector, proof: Proof, tmp_path: Path
) -> None:
    """What it had read before it was stopped, it does when it goes on: beside what was sent again meanwhile."""
    ground = ground_of(collector, tmp_path)
    ground.patience = 30.0
    count = proof.of(1, 12)
    assert collector.process is not None
    for number in range(count):
        attack(ground, collector.process.pid, 0.2 + number * LIFE / 12, FOR_LONG)
    proof.count(count, "collectors stopped for long")
