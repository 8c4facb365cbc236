"""Whether a request may: its token, what that allows, and who needs none."""

from __future__ import annotations

import asyncio
import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

from ...backends.clock import SYSTEM
from ...backends.http_place import loopback
from . import sessions
from .refusals import Refusal
from .stores import Stores
from .tokens import OPEN, PING, READ, Token, everyone, known

FRESH_SECONDS = 0.25  # a token that was revoked is refused after so long at the latest
_HINT = "set HOLTER_TOKEN to what `holter token new` printed on the collector's host"


class Access:
    """The tokens as the store has them, read again when they are older than FRESH_SECONDS."""

    def __init__(self, stores: Stores, trusting: bool, key: str | None = None) -> None:
        self._stores, self._trusting, self._key = stores, trusting, key
        self._tokens: dict[str, Token] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def token(self, request: Request, scope: str) -> Token:
        """The token of a request that may do this. Raises Refusal (401, 403), and StorageError."""
        await self._refresh()
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if self._asks_nobody() and not text:
            return _neighbour(request)
        if scheme.lower() != "bearer" or not text.strip():
            raise Refusal(401, "a token is needed here", _HINT)
        found = known(self._tokens, text.strip())
        if found is None:
            raise Refusal(401, "the token is not known here", _HINT)
        if found.revoked_at is not None:
            raise Refusal(401, f"the token {found.id} was revoked", _HINT)
        return _allowed(found, scope)

    async def viewer(self, request: Request, scope: str) -> Token:
        """As `token`, for a page: a browser's session does as well. Raises Refusal (401, 403), and StorageError."""
        if "authorization" in request.headers and self._key is None:
            return await self.token(request, scope)
        cookie = sessions.cookie_of(request)
        if self._key is not None:
            if hmac.compare_digest(cookie.encode(), self._key.encode()):
                return OPEN
            raise Refusal(401, "this page is somebody's own", "open the address that `holter ui` printed")
        await self._refresh()
        if self._asks_nobody():
            return _neighbour(request)
        found = await self._of_session(cookie) if cookie else None
        if found is None or found.revoked_at is not None:
            raise Refusal(401, "sign in with a token", "`holter token new --read` makes one")
        return _allowed(found, scope)

    async def sign_in(self, text: str) -> str:
        """The cookie of a new session for whoever has this token. Raises Refusal (401), and StorageError."""
        if self._key is not None:
            if hmac.compare_digest(text.encode(), self._key.encode()):
                return self._key
            raise Refusal(401, "the key is of another `holter ui`", "open the address that it printed last")
        await self._refresh()
        found = known(self._tokens, text.strip())
        if found is None or not found.may(READ):
            raise Refusal(401, "no token that may read here", "`holter token new --read` makes one")
        return await self._stores.ask(lambda store: sessions.open_for(store, found.id, SYSTEM.wall()))

    async def pinger(self, text: str) -> Token | None:
        """The token that stands in the address of a ping; None where there is none, or not any more."""
        await self._refresh()
        found = known(self._tokens, text)
        return found if found is not None and found.revoked_at is None and PING in found.scopes else None

    def _asks_nobody(self) -> bool:
        """Keys for pings say nothing of who may read."""
        return self._trusting and all(each.in_addresses for each in self._tokens.values())

    async def _of_session(self, cookie: str) -> Token | None:
        name = await self._stores.ask(lambda store: sessions.token_of(store, cookie, SYSTEM.wall()))
        return self._tokens.get(name) if name is not None else None

    async def _refresh(self) -> None:
        if self._fresh():
            return
        async with self._reading:
            if not self._fresh():
                found = await self._stores.ask(everyone)
                self._tokens = {each.id: each for each in found}
                self._read_at = SYSTEM.monotonic()

    def _fresh(self) -> bool:
        return self._read_at is not None and SYSTEM.monotonic() - self._read_at < FRESH_SECONDS


def _allowed(token: Token, scope: str) -> Token:
    if not token.may(scope):
        raise Refusal(
            403,
            f"the token {token.id} may {' and '.join(token.scopes)}, and this takes {scope}",
            f"make one with `holter token new --{scope}`",
        )
    return token


def _neighbour(request: Request) -> Token:
    """Somebody on this host who needs no token: not one who comes through a proxy, nor a page in a browser that is of
    elsewhere, or whose name was made to point here."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        raise Refusal(401, "behind a proxy a token is needed", "`holter token new` makes one")
    if request.method not in ("GET", "HEAD") and not _own_page(request):
        raise Refusal(401, "a page of elsewhere asks in somebody's browser: a token is needed", _HINT)
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if not loopback(host):
        raise Refusal(
            401, f"without tokens this collector answers to localhost only, not to {host[:100]!r}", _HINT
        )
    return OPEN


def _own_page(request: Request) -> bool:
    """Whether no browser sent this, or a page that came from here: browsers send a POST for any page."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    return site in ("none", "same-origin") and origin in (None, str(request.base_url).rstrip("/"))
