"""The client of a collector: what it makes of every answer, and of none. Each server here is a real one on loopback."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from email.utils import formatdate
from pathlib import Path

import pytest

from holter.backends.errors import (
    AccessDenied,
    OffsetMismatch,
    RecordDamaged,
    Refused,
    StorageError,
    UnknownBackend,
)
from holter.backends.http import HttpBackend
from holter.backends.http_place import HttpPlace
from holter.backends.http_wire import retry_after
from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend
from holter.testing.collector import collector
from holter.testing.processes import child, ended
from holter.testing.tapes import Tape
from tests.damaged import damage
from tests.network.relay import TO_CLIENT, Relay, Wire

DATA = Tape("j1").ran("r1").data


class Scripted:
    """Answers each connection with the next of its answers, whatever it is asked; then closes it."""

    def __init__(self, *answers: bytes) -> None:
        self.asked: list[bytes] = []
        self._answers = list(answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while self._answers:
                here = self._listening.accept()[0]
                with here:
                    self.asked.append(here.recv(65_536))
                    here.sendall(self._answers.pop(0))

    def close(self) -> None:
        self._listening.close()
        self._thread.join(5)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(*answers: bytes) -> Scripted:
        made.append(Scripted(*answers))
        return made[-1]

    yield make
    for each in made:
        each.close()


def said(status: str, body: str = '{"error":"no","hint":"do"}', **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join([*lines, "", body])).encode()


def asked(url: str) -> StorageError:
    store = HttpBackend(url, home="/nowhere", timeout=2.0)
    try:
        with pytest.raises(StorageError) as caught:
            store.append("j1", 0, DATA)
        return caught.value
    finally:
        store.close()


@pytest.mark.parametrize(
    ("answer", "kind", "wait"),
    [
        (said("401 Unauthorized"), AccessDenied, 60.0),
        (said("403 Forbidden"), AccessDenied, 60.0),
        (said("413 Too Large"), Refused, 60.0),
        (said("422 No"), Refused, 60.0),
        (said("429 Busy", Retry_After="7"), StorageError, 7.0),
        (said("503 Away", Retry_After="7"), StorageError, 7.0),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops", StorageError, None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<ht>", StorageError, None),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", StorageError, None),
        (said("404 No", '{"detail":"no"}'), StorageError, None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", StorageError, None),
        (b"", StorageError, None),
        (said("200 OK", '{"offset":1}').replace(b"Length: 12", b"Length: 99"), StorageError, None),
    ],
)
def test_every_answer_but_the_right_one_is_an_error_that_names_the_collector(
    scripted: Callable[..., Scripted], answer: bytes, kind: type[StorageError], wait: float | None
) -> None:
    server = scripted(answer)
    error = asked(server.url)
    assert type(error) is kind
    assert server.url in str(error)
    assert error.hint
    assert error.retry_after == wait
    assert "\n" not in str(error)


def test_a_wrong_offset_is_told_as_by_every_store(scripted: Callable[..., Scripted]) -> None:
    error = asked(scripted(said("409 No", '{"error":"x","hint":"","expected":42}')).url)
    assert isinstance(error, OffsetMismatch)
    assert error.expected == 42


def test_a_time_to_come_back_is_seconds_or_a_date_by_the_clock_of_the_answer() -> None:
    assert retry_after("120", None) == 120.0
    assert retry_after("\u00b2", None) is None
    assert retry_after(formatdate(5000.0, usegmt=True), formatdate(4970.0, usegmt=True)) == 30.0
    assert retry_after(formatdate(100.0, usegmt=True), formatdate(4970.0, usegmt=True)) == 0.0
    assert retry_after("999999999", None) == 3600.0
    assert retry_after("soon", None) is retry_after("", None) is retry_after(None, None) is None


def test_a_collector_that_is_away_is_said_at_once_and_three_questions_wait_for_it_once() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:  # connects, and never answers
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        store = open_backend(url, "/nowhere", timeout=0.8)
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(StorageError, match=r"no answer in time.*journals"):
                store.runs(RunQuery())
        assert time.monotonic() - began < 2.0
        store.close()


def test_an_answer_that_has_arrived_whole_is_taken_by_one_who_stood_still_past_its_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        pid = child(lambda: HttpBackend(url, home="/nowhere", timeout=0.5).append("j1", 0, DATA))
        with server.accept()[0] as here:
            here.recv(65_536)
            os.kill(pid, signal.SIGSTOP)
            here.sendall(said("200 OK", '{"offset":5}'))
            time.sleep(0.6)  # a deadline is a clock's, which no condition can hasten
            os.kill(pid, signal.SIGCONT)
        assert ended(pid) == 0


def test_a_kept_connection_that_was_closed_meanwhile_is_opened_again(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted(said("200 OK", '{"offset":5}'), said("200 OK", '{"offset":9}'))
    store = HttpBackend(server.url, home="/nowhere")
    assert store.append("j1", 0, DATA) == 5
    assert store.append("j1", 0, DATA) == 9
    assert len(server.asked) == 2
    store.close()


def test_a_put_whose_answer_was_lost_is_known_by_its_value(tmp_path: Path) -> None:
    """A collector that has put the document, and then closed the connection without a word."""
    with collector(str(tmp_path)) as url:
        other = open_backend("sqlite:///holter.db", str(tmp_path))
        lossy = _LosesOneAnswer(url)
        store = HttpBackend(lossy.url, home="/nowhere")
        assert store.get("check", "a") is None
        lossy.lose = True
        assert store.put("check", "a", {"mine": 1}, 0) == 1
        assert not lossy.lose
        assert other.put("check", "a", {"theirs": 1}, 1) == 2
        lossy.lose = True
        assert store.put("check", "a", {"mine": 2}, 1) is None
        lossy.lose = True
        assert store.delete("check", "a", 2)
        store.close()
        other.close()
        lossy.close()


def test_a_record_that_the_collectors_disk_has_damaged_is_told_from_a_store_that_is_away(
    tmp_path: Path,
) -> None:
    with collector(str(tmp_path)) as url, closing(open_backend(url, str(tmp_path))) as store:
        store.append("j1", 0, DATA)
        damage(tmp_path / "holter.db", "r1")
        with pytest.raises(RecordDamaged):
            store.run("r1")
        with pytest.raises(RecordDamaged):
            store.runs(RunQuery())


class _LosesOneAnswer(Relay):
    """Forwards; while `lose` is set, one answer is not, and the connection is closed instead."""

    def __init__(self, url: str) -> None:
        self.lose = False
        super().__init__(lambda: socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))))
        self.url = f"http://127.0.0.1:{self.port}"

    def carry(self, wire: Wire, way: str, data: bytes) -> None:
        if way == TO_CLIENT and self.lose:
            self.lose = False
            raise ConnectionAbortedError
        self.pass_on(wire, way, data)


# --- where it is, and with which token -----------------------------------------------------------------------------


def test_plain_http_is_for_this_host_only_unless_somebody_says_so() -> None:
    for url in ("http://127.0.0.1:1", "http://localhost", "http://[::1]:1", "https://example.org"):
        assert HttpPlace(url, "/nowhere", {}).host
    for url in ("http://example.org", "http://127.0.0.1.example.org", "http://10.0.0.1:8400"):
        with pytest.raises(UnknownBackend, match="in clear"):
            HttpPlace(url, "/nowhere", {})
        assert not HttpPlace(f"{url}?insecure=true", "/nowhere", {}).secure


@pytest.mark.parametrize(
    "url", ["http://", "https://:8400", "https://h:99999", "https://h/?verify=no", "https://[h"]
)
def test_a_url_that_names_no_collector_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(UnknownBackend, match="for example https://"):
        HttpPlace(url, "/nowhere", {})


def test_the_token_is_taken_from_the_nearest_place_and_read_anew_from_a_file(tmp_path: Path) -> None:
    home, file = tmp_path / "token", tmp_path / "other"
    assert HttpPlace("https://h", str(tmp_path), {}).token() == ""
    home.write_text("from-home\n")
    file.write_text("from-file\n")
    environ = {"HOLTER_TOKEN_FILE": str(file)}
    place = HttpPlace("https://h", str(tmp_path), environ)
    assert HttpPlace("https://h", str(tmp_path), {}).token() == "from-home"
    assert place.token() == "from-file"
    file.write_text("exchanged")
    assert place.token() == "exchanged"
    assert HttpPlace("https://h", str(tmp_path), {**environ, "HOLTER_TOKEN": "env"}).token() == "env"
    assert HttpPlace("https://a%2Fb@h", str(tmp_path), {"HOLTER_TOKEN": "env"}).token() == "a/b"
    file.unlink()
    with pytest.raises(StorageError, match="cannot read the token"):
        place.token()


def test_a_token_is_in_no_url_and_no_error(scripted: Callable[..., Scripted]) -> None:
    server = scripted(said("401 No"))
    url = server.url.replace("://", "://holter_secret_text@") + "/base/?insecure=true"
    store = HttpBackend(url, home="/nowhere")
    assert store.url == f"{server.url}/base"
    with pytest.raises(AccessDenied) as caught:
        store.append("j1", 0, DATA)
    assert "secret" not in str(caught.value)
    assert b"POST /base/v1/journals/j1?offset=0" in server.asked[0]
    assert b"Authorization: Bearer holter_secret_text" in server.asked[0]
    store.close()


def test_a_certificate_that_nobody_vouches_for_is_not_trusted_and_the_way_out_is_named(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            with suppress(OSError):
                here = plain.accept()[0]
                here.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                here.close()

        threading.Thread(target=answer, daemon=True).start()
        error = asked(f"https://127.0.0.1:{plain.getsockname()[1]}")
    assert "TLS" in str(error)
    missing = asked(f"https://127.0.0.1:1?cafile={tmp_path}/none.pem")
    assert "none.pem" in str(missing)
    assert ssl.OPENSSL_VERSION
