"""Is it there, is its store there, what is it: for load balancers, `holter doctor` and who writes a client."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ... import __version__
from ...backends.base import Backend
from ...backends.errors import HolterError
from .refusals import Refusal, answer
from .state import State
from .tokens import ANY, Token


async def healthz(request: Request, token: Token, state: State) -> Response:
    return answer({"ok": True})


async def readyz(request: Request, token: Token, state: State) -> Response:
    try:
        await state.stores.ask(_probe)
    except (HolterError, Refusal):
        raise Refusal(
            503, "the store does not answer", "the collector's log says why", retry_after=5.0
        ) from None
    return answer({"ok": True})


async def about(request: Request, token: Token, state: State) -> Response:
    try:
        await state.stores.ask(_probe)
        ready = True
    except HolterError:
        ready = False
    said = {
        "holter": __version__,
        "scopes": list(token.scopes),
        "ready": ready,
        "project": token.project or "",
    }
    return answer(said)


async def openapi(request: Request, token: Token, state: State) -> Response:
    from .openapi import description

    return answer(description())


def any_scope(request: Request) -> str:
    """Whatever the token is for."""
    return ANY


def _probe(store: Backend) -> None:
    store.get("ready", "ready")
