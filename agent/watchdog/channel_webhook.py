"""The channel that POSTs alerts as signed JSON."""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64encode
from http.client import HTTPException
from json import dumps
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
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
        body = dumps(alert).encode()
        request = Request(self._url, data=body, headers=self._headers(alert, body), method="POST")  # noqa: S310
        status, place_to = within(timeout, self._place, lambda: self._post(request, timeout))
        if 200 <= status < 300:
            return
        permanent = 400 <= status < 500 and status not in _TRY_AGAIN
        hint = f"redirects are not followed; write the final address, on {place_to}" if place_to else ""
        raise ChannelError(f"{self._place} answered {status}", permanent=permanent, hint=hint)

    def _headers(self, alert: Json, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "holter",
            "Holter-Event": str(alert["event"]),
            "Idempotency-Key": str(alert["dedupe_key"]),
        }
        if self._credentials:
            headers["Authorization"] = f"Basic {self._credentials}"
        if self._secret:
            stamp = str(int(time.time()))
            headers["Holter-Signature"] = f"t={stamp},v1={signature(self._secret, stamp, body)}"
        return headers

    def _post(self, request: Request, timeout: float) -> tuple[int, str]:
        """The status and, of a redirect, the host that it points to."""
        opener = OpenerDirector()  # bare: no redirects, no file: or ftp:, every status is an answer
        for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
            opener.add_handler(handler)
        try:
            with opener.open(request, timeout=timeout) as answer:
                return answer.status, urlsplit(answer.headers.get("Location") or "").hostname or ""
        except HTTPException as error:
            raise ChannelError(f"{self._place} did not answer in HTTP: {type(error).__name__}") from error
        except OSError as error:
            said = getattr(error, "reason", None) or error.strerror or type(error).__name__
            raise ChannelError(f"{self._place}: {said}") from error
        except ValueError as error:  # what http.client makes of characters that no URL may have
            hint = "percent-encode what is not ASCII"
            raise ChannelError(f"{self._place}: the URL cannot be used", permanent=True, hint=hint) from error


def signature(secret: str, stamp: str, body: bytes) -> str:
    """The `v1` of `Holter-Signature`: hex HMAC-SHA256 of `<stamp>.<body>` under the channel's secret."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
