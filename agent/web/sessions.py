"""A browser's session: a cookie in place of a token. Documents of kind `session`; stored is the SHA-256 of the cookie.

A session has the rights of the token that it was opened with, as they are now: whoever revokes that ends it. Cookies
are sent by pages of this address only (SameSite=Strict), and what changes something takes the session's CSRF token too.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from ...backends.base import Registry
from ...backends.clock import token as random_text
from .refusals import Refusal

KIND = "session"
LIVES = 7 * 86400.0  # seconds
_FIELD = "csrf"


def fresh() -> str:
    """A new cookie's text."""
    return random_text(40)


def digest(cookie: str) -> str:
    return sha256(cookie.encode("utf-8", "replace")).hexdigest()


def cookie_of(request: Request) -> str:
    """The cookie that the request carries; "" without one."""
    return request.cookies.get(_name(request), "")


def hand_over(request: Request, response: Response, cookie: str) -> None:
    """Give the browser its cookie, "" to take it away."""
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    age = int(LIVES) if cookie else 0
    response.set_cookie(
        _name(request), cookie, max_age=age, httponly=True, samesite="strict", secure=secure, path="/"
    )


def _name(request: Request) -> str:
    """Browsers do not tell the ports of a host apart, and people forward several."""
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"holter_{port}" if port.isdigit() else "holter"


def open_for(store: Registry, token_id: str, now: float) -> str:
    """Open a session with the rights of this token; the cookie's text, kept nowhere. Forgets those that are over.
    Raises StorageError."""
    for key, held in store.list(KIND):
        if held.value["until"] <= now:
            store.delete(KIND, key, held.version)
    cookie = fresh()
    store.put(KIND, digest(cookie), {"token": token_id, "until": now + LIVES}, 0)
    return cookie


def token_of(store: Registry, cookie: str, now: float) -> str | None:
    """The id of the token whose session this is; None where there is none, or it is over. Raises StorageError."""
    held = store.get(KIND, digest(cookie))
    return str(held.value["token"]) if held is not None and held.value["until"] > now else None


def close(store: Registry, cookie: str) -> None:
    """End it, at once. Idempotent."""
    held = store.get(KIND, digest(cookie))
    if held is not None:
        store.delete(KIND, digest(cookie), held.version)


def csrf(cookie: str) -> str:
    """What a form has to send along: only a page that was made for this cookie knows it."""
    return sha256(f"csrf of {cookie}".encode()).hexdigest()


def check(request: Request, form: Mapping[str, str]) -> None:
    """Raises Refusal (403) unless a page of ours sent this form in this session."""
    cookie = cookie_of(request)
    if not cookie or not hmac.compare_digest(form.get(_FIELD, "").encode(), csrf(cookie).encode()):
        raise Refusal(403, "this form belongs to another session", "reload the page and try again")
