"""Every alert arrives once, at most twice, and in order for its job, whatever its receiver does and whoever dies."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from holter.agent.settings import Channel, Rule, Settings, WatchdogSettings
from holter.agent.watchdog import notify, outbox
from holter.agent.watchdog.channels import open_channel
from holter.backends.base import Backend
from holter.backends.errors import ChannelError
from holter.backends.urls import open_backend

from .dying import Dying, Killed

HOUR = 3600.0
FAULTS = (
    *("500", "hangs", "hangs unread", "resets", "resets after reading", "closes mid-body"),
    *("cuts its answer", "never confirms", "down"),
)


class Server:
    """A receiver of the test's own. `mode` is what it does with requests; `keys` are those of the alerts that it has
    read to their last byte and not refused, in order."""

    def __init__(self) -> None:
        self.mode = "works"
        self.keys: list[Any] = []
        self._release = threading.Event()
        self._threads: list[threading.Thread] = []
        self._port = 0
        self._listen()
        self.url = f"http://127.0.0.1:{self._port}/"

    def become(self, mode: str) -> None:
        if "down" in (mode, self.mode):
            self._hang_up() if mode == "down" else self._listen()
        self.mode = mode
        if mode == "works":
            self._release.set()

    def _listen(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self._port))
        self._port = self._socket.getsockname()[1]
        self._begin(self._accept, self._socket)

    def _hang_up(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _begin(self, act: Any, *args: Any) -> None:
        self._threads.append(threading.Thread(target=act, args=args))
        self._threads[-1].start()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                self._begin(self._serve, listening.accept()[0])

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file, suppress(OSError):
            if self.mode == "hangs unread":
                self._release.wait(60)
            elif self.mode == "resets":
                _reset(connection, file)
            else:
                self._answer(connection, file)

    def _answer(self, connection: socket.socket, file: Any) -> None:
        method, size = file.readline().split()[0], 0
        while line := file.readline().strip().lower():
            if line.startswith(b"content-length:"):
                size = int(line.partition(b":")[2])
        if self.mode == "closes mid-body":
            file.read(size // 2)
            return
        body = file.read(size)
        if method == b"POST" and self.mode != "500":
            self.keys.append(json.loads(body).get("dedupe_key"))
        if self.mode == "hangs":
            self._release.wait(60)
        elif self.mode == "resets after reading" or (self.mode == "never confirms" and method == b"POST"):
            _reset(connection, file)
        elif self.mode == "500":
            connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        else:
            length = 90 if self.mode == "cuts its answer" else 0
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)

    def close(self) -> None:
        self._release.set()
        if self.mode != "down":
            self._hang_up()
        for thread in self._threads:
            thread.join(10)


def _reset(connection: socket.socket, file: Any) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    file.close()
    connection.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def configured(url: str, **more: Channel) -> Settings:
    rules = (Rule(on=("failed",), to=("ops",), fallback="spare" if "spare" in more else None),)
    channels = {"ops": Channel("webhook", url), **more}
    return Settings(channels=channels, alerts=rules, watchdog=WatchdogSettings(digest=0))


def passes(backend: Any, clock: Any, settings: Settings, seconds: float, every: float = 20.0) -> None:
    """Passes of the alerting half for so many seconds."""
    until = clock.now + seconds
    while clock.now < until:
        while notify.collect(backend, clock, settings):
            pass
        while notify.deliver(backend, clock, settings, timeout=0.2):
            pass
        clock.now += every


def fail(scribe: Any, count: int = 6) -> list[str]:
    """Failures of two jobs in turn; their keys."""
    for number in range(count):
        scribe.ran(f"r{number}", name=f"job{number % 2}")
    return [f"r{number}:failed" for number in range(count)]


def all_arrived_in_order(heard: list[str], keys: list[str], told: str = "") -> None:
    """At least once, at most twice, and those of one job in order."""
    assert sorted(set(heard)) == sorted(keys), told
    assert max(Counter(heard).values()) <= 2, (told, Counter(heard))
    first = list(dict.fromkeys(heard))
    for job in (0, 1):
        assert [key for key in first if int(key[1]) % 2 == job] == keys[job::2], told


def states(backend: Backend) -> set[str]:
    return {each["state"] for each in outbox.list_alerts(backend)}


# --- a receiver that misbehaves ---


@pytest.mark.parametrize(
    "seconds", [60.0, pytest.param(HOUR, marks=pytest.mark.long)], ids=["for a minute", "for an hour"]
)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_alert_arrives_once_or_twice_and_in_order(
    fault: str, seconds: float, tmp_path: Path, clock: Any, new_scribe: Any, server: Server
) -> None:
    backend = open_backend(f"memory:{tmp_path}", str(tmp_path), clock=clock)
    settings = configured(server.url)
    server.become(fault)
    keys = fail(new_scribe(backend))
    passes(backend, clock, settings, seconds)
    server.become("works")
    passes(backend, clock, settings, HOUR)
    all_arrived_in_order(server.keys, keys)
    assert states(backend) == {"undelivered" if fault == "never confirms" and seconds == HOUR else "sent"}


@pytest.mark.parametrize("fault", ["500", "down"])
def test_what_cannot_have_been_read_is_not_given_up(
    fault: str, store: Backend, clock: Any, scribe: Any, server: Server
) -> None:
    server.become(fault)
    settings = configured(server.url)
    keys = fail(scribe, 2)
    passes(store, clock, settings, 3 * HOUR, every=300)
    server.become("works")
    passes(store, clock, settings, 900)
    assert server.keys == keys
    assert states(store) == {"sent"}


@pytest.mark.parametrize("days", [2, 1800], ids=["a weekend", "a clock that was years behind"])
def test_an_alert_is_not_given_up_after_a_sleep_in_which_nobody_tried(
    days: int, store: Backend, clock: Any, scribe: Any, server: Server, receiver: Any
) -> None:
    server.become("down")
    settings = configured(server.url, spare=Channel("webhook", receiver.url))
    keys = fail(scribe, 2)
    passes(store, clock, settings, 600)
    clock.now += days * 24 * HOUR  # and the network is not up again at once
    passes(store, clock, settings, 600)
    assert not set(keys) & set(receiver.keys)
    passes(store, clock, settings, 22 * HOUR, every=300)
    assert not set(keys) & set(receiver.keys)
    passes(store, clock, settings, 2 * HOUR, every=300)
    assert set(keys) <= set(receiver.keys)  # a day of trying is enough


def test_a_receiver_that_never_confirms_hears_it_twice_and_then_the_fallback_does(
    store: Backend, clock: Any, scribe: Any, server: Server, receiver: Any
) -> None:
    server.become("never confirms")
    scribe.ran("r1")
    passes(store, clock, configured(server.url, spare=Channel("webhook", receiver.url)), HOUR)
    assert server.keys == ["r1:failed"] * 2
    assert "r1:failed" in receiver.keys
    assert "did not take this alert" in receiver.taken[0]["body"]
    assert states(store) == {"sent"}


def test_after_a_doubtful_delivery_a_receiver_that_is_out_of_order_is_asked_and_not_told(
    store: Backend, clock: Any, scribe: Any, server: Server
) -> None:
    server.become("hangs")
    settings = configured(server.url)
    scribe.ran("r1")
    passes(store, clock, settings, HOUR, every=600)
    assert server.keys == ["r1:failed"]
    server.become("works")
    passes(store, clock, settings, 600)
    assert server.keys == ["r1:failed"] * 2
    assert states(store) == {"sent"}


def test_a_command_that_is_cut_short_is_run_twice_at_most(
    store: Backend, clock: Any, scribe: Any, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    settings = configured("http://127.0.0.1:1/")
    line = f"sh -c 'echo told >> {heard}; exec sleep 60'"
    settings = evolve(settings, channels={"ops": Channel("command", line)})
    scribe.ran("r1")
    passes(store, clock, settings, 2 * HOUR, every=60)
    assert heard.read_text() == "told\n" * 2
    assert states(store) == {"undelivered"}


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # which Apprise still imports before Python 3.13
@pytest.mark.parametrize("mode", ["hangs", "500"])
def test_what_apprise_says_is_no_or_perhaps(mode: str, server: Server) -> None:
    server.become(mode)
    sender = open_channel(Channel("apprise", server.url.replace("http", "json")))
    with pytest.raises(ChannelError) as failed:
        sender.send({"event": "test", "title": "t", "body": "b", "dedupe_key": "k"}, 1.0)
    assert failed.value.ambiguous == (mode == "hangs")


@pytest.mark.parametrize(
    ("mode", "ambiguous"), [("down", False), ("500", False), ("hangs", True), ("resets after reading", True)]
)
def test_a_webhooks_failure_is_ambiguous_if_all_was_said_and_nothing_answered(
    mode: str, ambiguous: bool, server: Server
) -> None:
    server.become(mode)
    with pytest.raises(ChannelError) as failed:
        open_channel(Channel("webhook", server.url)).send({"event": "test", "dedupe_key": "k"}, 0.3)
    assert failed.value.ambiguous == ambiguous


# --- a watchdog that dies ---


@pytest.mark.parametrize(
    "fault",
    [
        "works",
        pytest.param("never confirms", marks=pytest.mark.long),
        pytest.param("500", marks=pytest.mark.long),
        pytest.param("resets", marks=pytest.mark.long),
        pytest.param("resets after reading", marks=pytest.mark.long),
        pytest.param("cuts its answer", marks=pytest.mark.long),
    ],
)
def test_the_same_when_the_watchdog_is_killed_between_any_two_of_its_steps(
    fault: str, tmp_path: Path, clock: Any, new_scribe: Any, server: Server
) -> None:
    """Each call of the store is a point, of which there are more than 200; sending lies between two of them."""
    began, settings = clock.now, configured(server.url)
    for at in count(1):
        clock.now = began
        server.keys.clear()
        server.become(fault)
        backend = open_backend(f"memory:{tmp_path}/{at}", str(tmp_path), clock=clock)
        keys = fail(new_scribe(backend), 10)
        dying = Dying(backend, at, after=False)
        with suppress(Killed):
            passes(dying, clock, settings, 60)
        server.become("works")
        passes(backend, clock, settings, 900, every=60)
        all_arrived_in_order(server.keys, keys, f"killed at call {at}")
        if not dying.died:
            break
    print("POINTS", at)
    assert at > 200


def test_a_watchdog_that_dies_of_every_delivery_makes_two(
    store: Backend, clock: Any, scribe: Any, server: Server
) -> None:
    settings = configured(server.url)
    scribe.ran("r1")
    while notify.collect(store, clock, settings):
        pass

    class DiesOfIt(Dying):
        """Gone with the first call after the claim of a delivery."""

        def put(self, kind: str, key: str, value: Any, version: int) -> Any:
            if kind == outbox.ALERT and value["claim"]:
                self._left = 1
            return self._backend.put(kind, key, value, version)

    for _ in range(6):
        with suppress(Killed):
            passes(DiesOfIt(store, 0, after=False), clock, settings, 60, every=60)
        clock.now += 60
    passes(store, clock, settings, 60)
    assert server.keys == ["r1:failed"] * 2
    assert states(store) == {"undelivered"}
    assert "was stopped while it delivered this" in outbox.list_alerts(store)[0]["last_error"]
