"""One conversation with a collector: a kept connection, one deadline a request, every failure in our own words.

Built on the standard library's client: the shipper inside a job uses it too, and it costs half the import of urllib3.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
import zlib
from urllib.parse import urlencode

from .clock import SYSTEM
from .errors import AccessDenied, RecordDamaged, Refused, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .clock import Clock
    from .http_place import HttpPlace

USER_AGENT = "holter"
CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 30.0  # where whoever opened the store sets no bound
ANSWER_LIMIT = 256 * 2**20  # bytes of one inflated answer
COMPRESS_FROM = 512  # bytes: less is sent as it is
FAIL_FAST = 0.5  # seconds after a failure to connect: a verb that asks three things waits once
RETRY_AFTER_AT_MOST = 3600.0
DENIED_WAIT = 60.0  # seconds until what was refused is tried again
_OPEN: set[Wire] = set()


class Wire:
    """Requests to one collector, one at a time, from one thread.

    `skew`: by how many seconds its clock is ahead. `resent`: the last request was sent twice, since the kept connection
    broke before an answer; it may have been done twice.
    """

    def __init__(self, place: HttpPlace, timeout: float | None, clock: Clock = SYSTEM) -> None:
        self.place = place
        self.skew: float | None = None
        self.resent = False
        self._seconds = REQUEST_SECONDS if timeout is None else timeout
        self._clock = clock
        self._connection: http.client.HTTPConnection | None = None
        self._away: tuple[float, StorageError] | None = None
        self._tls: ssl.SSLContext | None = None
        _OPEN.add(self)

    def call(
        self,
        method: str,
        path: str,
        query: Any = (),
        body: bytes | None = None,
        kind: str = "application/json",
        seconds: float | None = None,
    ) -> tuple[int, Any]:
        """Status and JSON of the answer, of 200, 201, 404 and 409 only: all others raise StorageError.

        So does silence, with a `__cause__`; the request may have been done then.
        """
        if self not in _OPEN:
            raise StorageError(
                f"{self.place.url} is closed here", hint="after a fork or a close, open the store again"
            )
        if self._away is not None and time.monotonic() < self._away[0]:
            raise self._away[1]
        target = f"{self.place.prefix}{path}" + (f"?{urlencode(query, errors='replace')}" if query else "")
        headers = self._headers(kind, body)
        if body is not None and len(body) >= COMPRESS_FROM:
            body = gzipped(body)
            headers["Content-Encoding"] = "gzip"
        deadline = time.monotonic() + (self._seconds if seconds is None else seconds)
        try:
            answer = self._exchange(method, target, body, headers, deadline)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise self._silent(error) from error
        return self._understood(*answer)

    def close(self) -> None:
        self._drop()
        _OPEN.discard(self)

    def _headers(self, kind: str, body: bytes | None) -> dict[str, str]:
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip", "Date": _http_date(time.time())}
        if body is not None:
            headers["Content-Type"] = kind
        if token := self.place.token():
            if not (token.isascii() and token.isprintable()):
                raise AccessDenied("the token holds characters that no token has", hint=_NEW_TOKEN)
            headers["Authorization"] = f"Bearer {token}"
        return headers

    # --- bytes -------------------------------------------------------------------------------------------------

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: dict[str, str], deadline: float
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """A kept connection may have been closed by the other end meanwhile: then once more, on a new one."""
        self.resent = False
        while True:
            connection, kept = self._connected(deadline)
            try:
                try:
                    connection.request(method, target, body, headers)
                except BrokenPipeError:
                    pass  # it did not want to read all of it, and says why
                response = connection.getresponse()
            except ConnectionError:
                self._drop()
                if not kept:
                    raise
                self.resent = True
                continue
            data = _read(response, connection, deadline)
            if response.will_close:
                self._drop()
            return response, data

    def _connected(self, deadline: float) -> tuple[http.client.HTTPConnection, bool]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        connection = self._connection
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(left)
            return connection, True
        place = self.place
        if place.secure:
            connection = http.client.HTTPSConnection(place.host, place.port, context=self._context())
        else:
            connection = http.client.HTTPConnection(place.host, place.port)
        connection.timeout = min(left, CONNECT_SECONDS)
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.sock.settimeout(max(0.01, deadline - time.monotonic()))
        self._connection = connection
        return connection, False

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            try:
                self._tls = ssl.create_default_context(cafile=self.place.cafile)
            except OSError as error:
                raise StorageError(f"cannot use the certificates in {self.place.cafile}: {error}") from error
        return self._tls

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # --- words -------------------------------------------------------------------------------------------------

    def _silent(self, error: Exception) -> StorageError:
        if isinstance(error, StorageError):
            return error
        reason, hint = _reason(error)
        away = StorageError(f"{self.place.url} does not answer: {reason}", hint=hint)
        self._away = (time.monotonic() + FAIL_FAST, away)
        return away

    def _understood(self, response: http.client.HTTPResponse, data: bytes) -> tuple[int, Any]:
        self._away = None
        status = response.status
        said = _json(data) if "json" in response.headers.get("Content-Type", "") else None
        self._note_clock(response)
        if said is not None and status in (200, 201, 404, 409):
            return status, said
        where = self.place.url
        if isinstance(said, dict) and "error" in said:
            message, hint = f"{where}: {said['error']}", str(said.get("hint") or "")
        elif status in (429, 502, 503, 504):  # a proxy's own words, while the collector behind it is away
            message, hint = f"{where} is not available now ({status})", "records wait in their journals"
        else:
            message = f"{where} answers, but not as a collector does (status {status})"
            hint = "look at the host, port and path of the setting `backend`"
        if status in (401, 403):
            raise AccessDenied(message, hint=hint or _NEW_TOKEN, retry_after=DENIED_WAIT)
        if said is not None and status in (400, 413, 415, 422):
            raise Refused(message, hint=hint, retry_after=DENIED_WAIT)
        if isinstance(said, dict) and said.get("damaged") is True:
            raise RecordDamaged(message, hint=hint)
        wait = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
        raise StorageError(message, hint=hint, retry_after=wait if status in (429, 503) else None)

    def _note_clock(self, response: http.client.HTTPResponse) -> None:
        if (theirs := _seconds_of(response.headers.get("Date"))) is not None:
            self.skew = theirs - time.time()


_NEW_TOKEN = "set HOLTER_TOKEN to what `holter token new` printed on the collector's host"  # noqa: S105 - no token


def gzipped(data: bytes) -> bytes:
    """As gzip, at its fastest: lines of a journal shrink to a tenth or less."""
    press = zlib.compressobj(1, zlib.DEFLATED, 31)
    return press.compress(data) + press.flush()


def retry_after(value: str | None, date: str | None) -> float | None:
    """The seconds of a Retry-After, which may be a date by the clock of the answer's own `Date`."""
    if not value:
        return None
    if value.strip().isdecimal():  # what isdigit() takes besides, as a superscript, float() does not
        return min(float(value), RETRY_AFTER_AT_MOST)
    until, now = _seconds_of(value), _seconds_of(date)
    if until is None:
        return None
    return min(max(0.0, until - (time.time() if now is None else now)), RETRY_AFTER_AT_MOST)


def _seconds_of(date: str | None) -> float | None:
    from email.utils import mktime_tz, parsedate_tz

    parsed = parsedate_tz(date) if date else None
    return None if parsed is None else float(mktime_tz(parsed))


def _http_date(at: float) -> str:
    from email.utils import formatdate

    return formatdate(at, usegmt=True)


def _read(
    response: http.client.HTTPResponse, connection: http.client.HTTPConnection, deadline: float
) -> bytes:
    """The whole body, inflated, within limit and deadline."""
    inflate = zlib.decompressobj(31) if response.headers.get("Content-Encoding") == "gzip" else None
    parts, size, arrived = [], 0, 0
    while part := response.read(2**18):
        arrived += len(part)
        if inflate is not None:
            part = inflate.decompress(part, ANSWER_LIMIT + 1 - size)
        parts.append(part)
        size += len(part)
        if size > ANSWER_LIMIT:
            raise TimeoutError("the answer is too long")
        # Whole, and so good, even where a machine that stood still was given it too late.
        if response.isclosed():
            break
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not end in time")
        if connection.sock is not None:
            connection.sock.settimeout(left)
    if str(arrived) != response.headers.get("Content-Length", str(arrived)):
        raise http.client.IncompleteRead(b"".join(parts))
    return b"".join(parts)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data or b"null")
    except ValueError:
        return None


def _reason(error: Exception) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})", (
            "name your own authority with ?cafile= in the URL or HOLTER_CAFILE"
        )
    if isinstance(error, ssl.SSLError):
        return f"no TLS ({error.reason or error})", "is it https:// there, and this port?"
    if isinstance(error, TimeoutError):
        return str(error) if "answer" in str(error) else "no answer in time", _WAITING
    if isinstance(error, socket.gaierror):
        return f"its name is not known ({error.strerror})", _WAITING
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return f"what comes back is no HTTP ({type(error).__name__})", "look at host and port in `backend`"
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower(), _WAITING


_WAITING = "is `holter serve` up there? Records wait in their journals"


def _let_go_after_fork() -> None:
    """Two processes on one connection would read each other's answers: the child closes its copy."""
    for wire in tuple(_OPEN):
        if wire._connection is not None and wire._connection.sock is not None:
            os.close(wire._connection.sock.detach())
        wire._connection = None
    _OPEN.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
