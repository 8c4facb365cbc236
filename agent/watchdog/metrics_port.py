"""`holter watch --metrics-port`: the metrics page of this watchdog, for a Prometheus on this host.

In threads of its own, with a handle on the store for each answer: who asks, or stops in the middle, costs a pass
nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from loguru import logger

from ...backends.clock import SYSTEM
from ...backends.errors import HolterError
from ...backends.http_place import loopback
from ..exposition import CONTENT_TYPE, text
from ..settings import Settings
from .measures import measures
from .steps import open_store

HOST = "127.0.0.1"
PATH = "/metrics"
SECONDS = 10.0  # that a client may take


class MetricsPort:
    """Serves until `close`. Raises HolterError where the port cannot be had; 0 takes any free one."""

    def __init__(self, settings: Callable[[], Settings], port: int) -> None:
        """`settings` gives those that hold now."""
        self._settings = settings
        self._turn = threading.Lock()
        try:
            self._server = _Server(self, port)
        except OSError as error:
            raise HolterError(
                f"cannot listen on {HOST} port {port}: {str(error.strerror or error).lower()}",
                hint="another --metrics-port?",
            ) from None
        self.port: int = self._server.server_address[1]
        thread = threading.Thread(target=self._server.serve_forever, name="holter-metrics", daemon=True)
        thread.start()
        logger.info("metrics at http://{}:{}{}", HOST, self.port, PATH)

    def page(self) -> bytes:
        """One at a time: two at once would only take twice as long. Raises HolterError."""
        with self._turn:
            settings = self._settings()
            store = open_store(settings)
            try:
                return text(measures(store, settings, SYSTEM.wall())).encode()
            finally:
                store.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, served: MetricsPort, port: int) -> None:
        self.served = served
        super().__init__((HOST, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SECONDS

    def do_GET(self) -> None:
        self._answer(*self._made())

    do_HEAD = do_GET  # noqa: N815 - http.server's own name

    def _made(self) -> tuple[int, bytes]:
        if not loopback(urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""):
            return 403, b"only for this host\n"  # a page whose name was made to point here asks
        if urlsplit(self.path).path != PATH:
            return 404, b"the metrics are at /metrics\n"
        try:
            return 200, self.server.served.page()
        except (HolterError, OSError) as error:
            logger.error("no metrics: {}", error)
            return 503, f"{error}\n".encode()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *said: object) -> None:
        """Quiet: a scrape is no news."""
