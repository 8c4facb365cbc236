"""What Holter calls goes where the settings say: no far server can send it on to whom only this host reaches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from holter.agent.setting_types import Channel, WatchdogSettings
from holter.agent.watchdog import otlp, redirects
from holter.agent.watchdog.channels import open_channel
from holter.agent.watchdog.ping import Pinger
from holter.backends.errors import ChannelError, StorageError
from holter.backends.http import HttpBackend
from tests.prove import Proof
from tests.unit.watchdog.test_channels import ALERT

pytestmark = pytest.mark.proof

CODES = (301, 302, 303, 307, 308)


class Server:
    """Answers everything with what `answer` says; `asked` are the requests that came."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.asked: list[str] = []
        self.answer: tuple[int, str] = (200, "")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(f"{self.command} {self.path}")
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                code, location = outer.answer if self.path != "/same" else (200, "")
                self.send_response(code)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = do_OPTIONS = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None: ...

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def far() -> Iterator[Server]:
    """The receiver that the settings name; its operator is hostile."""
    made = Server()
    yield made
    made.close()


@pytest.fixture
def inside() -> Iterator[Server]:
    """Who only this host can reach, as the metadata service of a cloud."""
    made = Server("127.0.0.2")
    yield made
    made.close()


def targets(inside: Server, file: Path) -> list[str]:
    return [
        f"{inside.url}/latest/meta-data",
        f"file://{file}",
        "ftp://127.0.0.2/x",
        f"//127.0.0.2:{inside.port}/",
    ]


def ping(url: str) -> str:
    """What a ping said of its failure; "" where it arrived."""
    pinger = Pinger()
    pinger.passed(WatchdogSettings(ping=url), 0.0)
    assert pinger._thread is not None
    pinger._thread.join(20)
    return pinger.error


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
def test_no_redirect_leads_anything_to_another_host_or_scheme(
    far: Server, inside: Server, tmp_path: Path, proof: Proof
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    hook = far.url.removeprefix("http://")
    senders: dict[str, Callable[[], object]] = {
        "webhook": lambda: _said(Channel("webhook", f"{far.url}/hook", "s")),
        "apprise": lambda: _said(Channel("apprise", f"json://{hook}/hook")),
        "ping": lambda: _raised(ping(f"{far.url}/ping")),
        "otlp": lambda: otlp.post(far.url, "traces", {}, b"x"),
        "collector": lambda: HttpBackend(far.url, home=str(tmp_path)).get("pulse", "x"),
    }
    tried = 0
    for code in CODES if proof.size == "full" else (302, 308):
        for target in targets(inside, secret):
            far.answer = code, target
            for name, send in senders.items():
                with pytest.raises((ChannelError, StorageError, OSError)) as caught:
                    send()
                assert "canary" not in str(caught.value), name
                tried += 1
    assert inside.asked == []
    assert len(far.asked) >= tried
    proof.count(tried, "redirects not followed")


def _said(channel: Channel) -> None:
    open_channel(channel, {}).send(ALERT, 10.0)


def _raised(error: str) -> None:
    if error:
        raise ChannelError(error)


def test_a_ping_follows_its_own_host_only_and_knows_no_files(far: Server, tmp_path: Path) -> None:
    far.answer = 302, "/same"
    assert ping(f"{far.url}/ping") == ""
    assert far.asked == ["GET /ping", "GET /same"]
    assert "unknown url type" in ping(f"file://{tmp_path}")


def test_planted_a_ping_that_follows_everywhere_is_noticed(
    far: Server, inside: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from urllib.request import build_opener

    monkeypatch.setattr(redirects, "opener", build_opener)
    far.answer = 302, f"{inside.url}/latest"
    assert ping(f"{far.url}/ping") == ""
    assert inside.asked == ["GET /latest"]
