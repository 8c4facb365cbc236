"""Whatever the network does with the n-th piece that goes over it, the script is unhurt and all of it arrives once."""

from __future__ import annotations

import socket
from itertools import product
from pathlib import Path

import pytest

from tests.acceptance.collecting import Collector
from tests.prove import Proof

from .gateway import REPLAYS, REQUEST, Gateway
from .ground import Ground, check
from .relay import CONNECTION, TO_CLIENT, TO_SERVER, Fault

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

FAULTS = ("dropped", "reset", "truncated", "delayed", "silent")
LONG = 40.0  # seconds: a script that goes on for as long as it takes


def attack(ground: Ground, kind: Fault, step: int) -> int:
    """Every `step`-th piece is hit; how many were."""
    hit = 0
    expected = ground.unhurt()
    for fault, done, seen in ground.each_piece(kind, step):
        try:
            check(done, seen, *expected)
        except AssertionError as error:
            raise AssertionError(f"after {fault}\n{done.err}") from error
        hit += 1
    return hit


@pytest.mark.parametrize("do", FAULTS)
def test_whatever_piece_is_hit_the_script_is_unhurt_and_all_of_it_arrives_once(
    ground: Ground, proof: Proof, do: str
) -> None:
    ways = list(product((TO_SERVER, TO_CLIENT), (False, True)))
    for way, stays in proof.of(ways[:3], ways):
        hit = attack(ground, Fault(do, way, stays=stays), proof.of(ground.stride * (3 if stays else 1), 1))
        assert hit > 0
        proof.count(hit, "pieces hit" + " and all after them" * stays)


@pytest.mark.parametrize("do", ["dropped", "reset", "silent"])
def test_a_server_that_is_half_there_takes_connections_and_no_more(
    ground: Ground, proof: Proof, do: str
) -> None:
    for stays in (False, True):
        hit = attack(ground, Fault(do, CONNECTION, stays=stays), 1)
        assert hit > 0
        proof.count(hit, "connections without an answer")


def test_a_connection_that_died_in_silence_is_given_up_while_the_script_goes_on(
    over_http: Ground, proof: Proof
) -> None:
    """The client's own patience (ten seconds) ends it, and what it carried is sent again."""
    over_http.patience = LONG
    for way in proof.of((TO_CLIENT,), (TO_SERVER, TO_CLIENT)):
        hit = attack(over_http, Fault("silent", way), proof.of(20, 1))
        assert hit > 0
        proof.count(hit, "connections given up")


@pytest.mark.parametrize("do", REPLAYS)
def test_a_request_that_arrives_twice_is_done_once(
    collector: Collector, tmp_path: Path, proof: Proof, do: str
) -> None:
    dial = lambda: socket.create_connection(("127.0.0.1", collector.port), 5)  # noqa: E731
    ground = Ground(tmp_path, lambda fault: Gateway(dial, fault), lambda port, _: f"http://127.0.0.1:{port}")
    hit = attack(ground, Fault(do, REQUEST), 1)
    assert hit > 2
    proof.count(hit, "requests repeated")
    hit = attack(ground, Fault(do, REQUEST, stays=True), proof.of(2, 1))
    proof.count(hit, "requests repeated, and all after them")
