"""Whether a request may: its token, what that allows, and who needs none."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from starlette.requests import Request

from ...backends.clock import SYSTEM
from ...backends.http_place import loopback
from .refusals import Refusal
from .stores import Stores
from .tokens import OPEN, Token, everyone, known

FRESH_SECONDS = 0.25  # a token that was revoked is refused after so long at the latest
_HINT = "set HOLTER_TOKEN to what `holter token new` printed on the collector's host"


class Access:
    """The tokens as the store has them, read again when they are older than FRESH_SECONDS."""

    def __init__(self, stores: Stores, trusting: bool) -> None:
        self._stores, self._trusting = stores, trusting
        self._tokens: dict[str, Token] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def token(self, request: Request, scope: str) -> Token:
        """The token of a request that may do this. Raises Refusal (401, 403), and StorageError."""
        await self._refresh()
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if not self._tokens and self._trusting and not text:
            return _neighbour(request)
        if scheme.lower() != "bearer" or not text.strip():
            raise Refusal(401, "a token is needed here", _HINT)
        found = known(self._tokens, text.strip())
        if found is None:
            raise Refusal(401, "the token is not known here", _HINT)
        if found.revoked_at is not None:
            raise Refusal(401, f"the token {found.id} was revoked", _HINT)
        if not found.may(scope):
            raise Refusal(
                403,
                f"the token {found.id} may {' and '.join(found.scopes)}, and this takes {scope}",
                f"make one with `holter token new --{scope}`",
            )
        return found

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
