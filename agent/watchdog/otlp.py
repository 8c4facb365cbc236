"""OTLP/HTTP: one request, whatever is in it. https://opentelemetry.io/docs/specs/otlp/"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ...backends.errors import HolterError
from ..settings import expand

TIMEOUT = 10.0  # seconds for one request
_NEVER = (400, 405, 411, 413, 414, 415, 422, 431)  # answers to what no later try makes better


class NotTaken(HolterError, OSError):
    """The receiver did not take it. `permanent`: nor would it later."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message, hint="otel.endpoint in the settings names the receiver")
        self.permanent = permanent


def post(endpoint: str, signal: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Send a serialized message to `<endpoint>/v1/<signal>`; the answer's body.

    Raises NotTaken, and SettingsError where the environment lacks a variable that the settings name."""
    url = f"{expand(endpoint).rstrip('/')}/v1/{signal}"
    place = urlsplit(url)
    said = f"{place.scheme}://{place.hostname}{f':{place.port}' if place.port else ''}{place.path}"
    named = {name: expand(value) for name, value in headers.items()}
    named |= {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip", "User-Agent": "holter"}
    try:
        request = Request(url, data=gzip.compress(body, 1), headers=named, method="POST")  # noqa: S310 - http by `check`
        with build_opener(_Stay).open(request, timeout=TIMEOUT) as answer:
            found: bytes = answer.read(65_536)
    except HTTPError as error:
        error.close()
        raise NotTaken(f"{said} answered {error.code}", permanent=error.code in _NEVER) from None
    except URLError as error:
        raise NotTaken(f"{said}: {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise NotTaken(f"{said}: {str(error) or type(error).__name__}") from None
    return found


class _Stay(HTTPRedirectHandler):
    """A POST does not survive a redirect: it is an answer like any other that is not 2xx."""

    def redirect_request(self, *args: object) -> None:
        return None
