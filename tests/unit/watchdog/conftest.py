"""What the alerting tests share: a clock that stands still, stores, journals to write, and receivers that misbehave."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from holter.backends.base import Backend
from holter.backends.clock import Clock
from holter.backends.lines import encode
from holter.backends.urls import open_backend


class HandSetClock(Clock):
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Scribe:
    """Writes journal lines straight into a store, as a script's shipper would."""

    def __init__(self, backend: Backend, clock: Clock, journal: str = "j1") -> None:
        self._backend, self._clock, self._journal, self._offset = backend, clock, journal, 0
        self.say("process", host="web-1", pid=42, project="default")

    def say(self, event: str, **fields: Any) -> None:
        line = encode({"event": event, "at": self._clock.wall(), **fields})
        self._offset = self._backend.append(self._journal, self._offset, line)

    def start(self, run: str, name: str = "etl", kind: str = "flow", **fields: Any) -> None:
        self.say("start", run=run, name=name, kind=kind, **fields)

    def end(self, run: str, state: str = "FAILED", **fields: Any) -> None:
        self.say("end", run=run, state=state, **fields)

    def ran(self, run: str, state: str = "FAILED", name: str = "etl", **fields: Any) -> None:
        self.start(run, name)
        self.end(run, state, **fields)

    def condition(self, run: str, name: str, on: bool = True, reason: str = "") -> None:
        self.say("judge", run=run, condition=name, on=on, reason=reason)

    def crash(self, run: str) -> None:
        self.say("judge", run=run, state="CRASHED", by="proof", reason="killed by signal 9")


class Receiver:
    """An HTTP server on loopback. `answers` are used up one per request, then it says 200.

    An answer is a status, "hang" (no answer until the test ends), "reset" (the connection is torn down) or
    "lost" (the alert is taken, the answer is lost).
    """

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.requests: list[dict[str, Any]] = []
        self.release = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._serve(self)

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        answer = self.answers.pop(0) if self.answers else 200
        request = {"headers": dict(handler.headers), "body": body, "path": handler.path, "answer": answer}
        self.requests.append(request)
        if answer == "hang":
            self.release.wait(30)
            handler.close_connection = True
        elif answer in ("reset", "lost"):
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
            handler.close_connection = True
            handler.wfile = open("/dev/null", "wb")  # noqa: SIM115 - the server closes it
        else:
            handler.send_response(answer)
            if 300 <= answer < 400:
                handler.send_header("Location", f"{self.url}/elsewhere")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The alerts that were taken: answered with 200, or with an answer that was lost."""
        return [json.loads(each["body"]) for each in self.requests if each["answer"] in (200, "lost")]

    @property
    def keys(self) -> list[str]:
        return [str(alert["dedupe_key"]) for alert in self.taken]

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def clock() -> HandSetClock:
    return HandSetClock()


@pytest.fixture(params=["memory", "sqlite"])
def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: HandSetClock
) -> Iterator[Callable[[], Backend]]:
    """Opens one more handle on the test's store."""
    url = f"memory:{tmp_path}" if request.param == "memory" else "sqlite:///holter.db"
    handles: list[Backend] = []

    def open_one() -> Backend:
        handles.append(open_backend(url, str(tmp_path), clock=clock))
        return handles[-1]

    yield open_one
    for handle in handles:
        handle.close()


@pytest.fixture
def store(open_store: Callable[[], Backend]) -> Backend:
    return open_store()


@pytest.fixture
def new_scribe(clock: HandSetClock) -> Callable[[Backend], Scribe]:
    return lambda backend: Scribe(backend, clock)


@pytest.fixture
def scribe(store: Backend, clock: HandSetClock) -> Scribe:
    return Scribe(store, clock)


@pytest.fixture
def new_receiver() -> Iterator[Callable[[], Receiver]]:
    made: list[Receiver] = []

    def make() -> Receiver:
        made.append(Receiver())
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def receiver(new_receiver: Callable[[], Receiver]) -> Receiver:
    return new_receiver()
