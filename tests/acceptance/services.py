"""Servers on loopback that stand where chat and mail services stand, and keep what they get.

`Front` is an HTTPS proxy that answers for every host by itself, with certificates of a throw-away authority: a client
that is told so by HTTPS_PROXY and REQUESTS_CA_BUNDLE sends the very bytes that the service would get.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import socket
import socketserver
import ssl
import threading
from email.message import EmailMessage
from http.client import parse_headers
from io import BufferedReader
from pathlib import Path
from typing import Any

from attrs import define, frozen


@frozen
class Post:
    """One request: the host that it was meant for (":80" where it came in plain HTTP), path, headers and body."""

    host: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Front(socketserver.ThreadingTCPServer):
    """Serves HTTP, and HTTPS through CONNECT; every request is kept in `posts` and answered with 200."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, authority: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.authority = authority  # a trustme.CA
        self.posts: list[Post] = []
        self.port = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def to(self, host: str) -> list[Post]:
        return [post for post in self.posts if post.host == host]

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(5)


class _Connection(socketserver.StreamRequestHandler):
    server: Front

    def handle(self) -> None:
        self._serve(self.connection, self.rfile, "")  # type: ignore[arg-type]

    def _serve(self, connection: socket.socket, stream: BufferedReader, host: str) -> None:
        while words := stream.readline().split():
            method, path = words[0].decode(), words[1].decode()
            headers = dict(parse_headers(stream).items())
            if method == "CONNECT":
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                return self._encrypted(connection, path)
            lower = {name.lower(): value for name, value in headers.items()}
            body = stream.read(int(lower.get("content-length", 0)))
            self.server.posts.append(Post(host or lower["host"], path, lower, body))
            answer = b"ok" if host == "hooks.slack.com" else b'{"id": "1"}'
            head = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
            )
            connection.sendall(head.encode() + answer)

    def _encrypted(self, connection: socket.socket, place: str) -> None:
        host = place.rpartition(":")[0]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.authority.issue_cert(host).configure_cert(context)
        with context.wrap_socket(connection, server_side=True) as inside, inside.makefile("rb") as stream:
            self._serve(inside, stream, host)


@define
class Mail:
    """A mail as the server got it: the envelope, the raw bytes, and the parsed message."""

    sender: str
    recipients: list[str]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.raw, policy=email.policy.default)  # type: ignore[return-value]


class Postbox:
    """An SMTP server that keeps its mails."""

    def __init__(self) -> None:
        from aiosmtpd.smtp import SMTP

        self.mails: list[Mail] = []
        self._loop = asyncio.new_event_loop()
        serving = self._loop.create_server(lambda: SMTP(self, loop=self._loop), "127.0.0.1", 0)
        self._server = self._loop.run_until_complete(serving)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(Mail(envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
        return "250 taken"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


def authority_file(authority: Any, folder: Path) -> str:
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)
