"""The channel that POSTs alerts as signed JSON."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPException, InvalidURL
from json import dumps
from string import punctuation
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from ...backends.errors import ChannelError
from .channel_common import within

if TYPE_CHECKING:
    from ...backends.records import Json

_TRY_AGAIN = (408, 425, 429)  # the only 4xx that a later try may turn into a 2xx


class Webhook:
    """POSTs the alert as JSON. Delivered by any 2xx; 4xx (408, 425 and 429 aside) is permanent, the rest is not.

    Headers: `Holter-Event`, `Idempotency-Key` (the dedupe key) and, with a secret,
    `Holter-Signature: t=<unix seconds>,v1=<hex>` with HMAC-SHA256 over `<t>.<body>`. Redirects are not followed,
    since a POST does not survive most of them; proxies are taken from the environment, as curl does.

    A failure is ambiguous where the whole request had gone out and no status came back.
    """

    def __init__(self, url: str, secret: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            hint = "write webhook: https://host/path"
            raise ChannelError("the webhook's URL is not http(s)", permanent=True, hint=hint)
        user, mark, self._netloc = parts.netloc.rpartition("@")
        self._place = f"webhook {parts.scheme}://{self._netloc}"
        self._url = parts._replace(netloc=self._netloc, fragment="").geturl()
        self._credentials = b64encode(unquote(user).encode()).decode() if mark else None
        self._secret = secret

    def send(self, alert: Json, timeout: float) -> None:
        body, gone = dumps(alert).encode(), threading.Event()
        headers = self._headers(alert, body)
        request = Request(self._url, data=_told(body, gone), headers=headers, method="POST")  # noqa: S310 - http(s) by __init__
        try:
            status, place_to = within(timeout, self._place, lambda: self._ask(request, timeout))
        except ChannelError as error:
            error.ambiguous = gone.is_set()
            raise
        if 200 <= status < 300:
            return
        permanent = 400 <= status < 500 and status not in _TRY_AGAIN
        hint = f"redirects are not followed; write the final address, on {place_to}" if place_to else ""
        raise ChannelError(f"{self._place} answered {status}", permanent=permanent, hint=hint)

    def answers(self, timeout: float) -> bool:
        """Whether anybody is there who is not out of order: an OPTIONS request gets a status below 500, or 501."""
        headers = {"User-Agent": "holter", **self._authorization()}
        request = Request(self._url, headers=headers, method="OPTIONS")  # noqa: S310 - http(s) by __init__
        try:
            status, _ = within(timeout, self._place, lambda: self._ask(request, timeout))
        except ChannelError:
            return False
        return status < 500 or status == HTTPStatus.NOT_IMPLEMENTED

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Basic {self._credentials}"} if self._credentials else {}

    def _headers(self, alert: Json, body: bytes) -> dict[str, str]:
        headers = {
            **self._authorization(),
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            "User-Agent": "holter",
            "Holter-Event": str(alert["event"]),
            # The name of a job is in it, which may be any text: a header takes ASCII.
            "Idempotency-Key": quote(str(alert["dedupe_key"]), safe=f"{punctuation} "),
        }
        if self._secret:
            stamp = str(int(time.time()))
            headers["Holter-Signature"] = f"t={stamp},v1={signature(self._secret, stamp, body)}"
        return headers

    def _ask(self, request: Request, timeout: float) -> tuple[int, str]:
        """The status and, of a redirect, the host that it points to."""
        opener = OpenerDirector()  # bare: no redirects, no file: or ftp:, every status is an answer
        for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
            opener.add_handler(handler)
        try:
            with opener.open(request, timeout=timeout) as answer:
                return answer.status, urlsplit(answer.headers.get("Location") or "").hostname or ""
        except HTTPException as error:
            if isinstance(error, InvalidURL):
                raise self._unusable() from error
            raise ChannelError(f"{self._place} did not answer in HTTP: {type(error).__name__}") from error
        except OSError as error:
            said = getattr(error, "reason", None) or error.strerror or type(error).__name__
            raise ChannelError(f"{self._place}: {said}") from error
        except ValueError as error:  # what http.client makes of characters that no URL may have
            raise self._unusable() from error

    def _unusable(self) -> ChannelError:
        hint = "percent-encode what is not ASCII"
        return ChannelError(f"{self._place}: the URL cannot be used", permanent=True, hint=hint)


def _told(body: bytes, gone: threading.Event) -> Iterator[bytes]:
    """The body for http.client to send, and a note that all of it was."""
    yield body
    gone.set()


def signature(secret: str, stamp: str, body: bytes) -> str:
    """The `v1` of `Holter-Signature`: hex HMAC-SHA256 of `<stamp>.<body>` under the channel's secret."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
