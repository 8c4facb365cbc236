"""Bodies that are too large, too slow, or a bomb: they cost their sender a refusal, and nobody else anything."""

from __future__ import annotations

import http.client
import resource
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from holter.agent.web import parcels
from holter.agent.web.pages import forms
from holter.backends.http_wire import gzipped
from holter.testing.collector import collector
from holter.testing.tapes import Tape
from tests.prove import Proof

pytestmark = pytest.mark.proof

SLOW = 0.5  # seconds that a client may take here
GOOD = Tape("j1").start("r1").end("r1").data


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with collector(str(tmp_path), slow_seconds=SLOW) as url:
        yield int(url.rpartition(":")[2])


def trickle(port: int, path: str, kind: str) -> bytes:
    """The answer to a body of which only the beginning ever comes; b"" where there is none in time."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 10) as slow:
        slow.settimeout(SLOW * 6)
        slow.sendall(head.encode() + b"token=")
        try:
            return slow.recv(65_536)[:12]
        except TimeoutError:
            return b""


FORM = "application/x-www-form-urlencoded"
TRICKLED = {
    "/v1/journals/j1?offset=0": "application/jsonl",
    "/sign-in": FORM,
    "/snooze": FORM,
    "/sign-out": FORM,
}


def test_whoever_sends_a_body_too_slowly_is_told_so_at_every_address(port: int, proof: Proof) -> None:
    for path, kind in TRICKLED.items():
        assert trickle(port, path, kind) == b"HTTP/1.1 408", path
    proof.count(len(TRICKLED), "slow bodies")


def test_planted_a_form_without_a_bound_in_time_is_noticed(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forever:
        def __init__(self, seconds: float) -> None: ...

        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *of: object) -> None: ...

    monkeypatch.setattr(forms.asyncio, "timeout", Forever)
    assert trickle(port, "/sign-in", FORM) == b""


def bombs() -> dict[str, bytes]:
    """A few bytes that stand for many, and what only begins well."""
    press, piece = zlib.compressobj(1, zlib.DEFLATED, 31), bytes(2**20)
    zeros = b"".join(press.compress(piece) for _ in range(300)) + press.flush()  # 300 MB, never held here
    deep = gzipped(zeros)
    return {
        "zeros": zeros,
        "cut off": zeros[: len(zeros) // 2],
        "twice": deep,
        "no gzip": zlib.compress(bytes(2**20)),
        "members": gzipped(GOOD) + zeros,
        "empty": b"",
    }


def test_a_bomb_costs_no_memory_and_the_collector_goes_on(port: int, proof: Proof) -> None:
    def post(body: bytes, path: str = "/v1/journals/j1?offset=0", method: str = "POST") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request(method, path, body, {"Content-Encoding": "gzip"})
        status = connection.getresponse().status
        connection.close()
        return status

    tried = bombs()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    document = "/v1/document?kind=check&key=x&expect_version=0"
    for name, body in tried.items():
        if name != "members":
            assert post(body) in (400, 413, 422), name
        assert post(body, document, "PUT") in (400, 413), name
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 100 * 2**20  # what is kept of 300
    assert post(gzipped(GOOD)) == 200
    proof.count(2 * len(tried), "bombs")


def test_planted_an_inflater_without_a_limit_is_noticed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "inflated", lambda body, limit: zlib.decompress(body, 31))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/v1/journals/j1?offset=0", bombs()["zeros"], {"Content-Encoding": "gzip"})
    connection.getresponse()
    connection.close()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > 100 * 2**20
