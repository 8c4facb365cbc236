"""`GET /metrics`: the figures of the collector's store for Prometheus, to whoever may read it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...backends.clock import SYSTEM
from ..exposition import CONTENT_TYPE, text
from ..watchdog.measures import measures
from .state import State
from .tokens import Token


async def metrics(request: Request, token: Token, state: State) -> Response:
    """A token that is bound to a project sees its jobs, and nothing else."""
    page = await state.stores.ask(
        lambda store: text(measures(store, state.settings, SYSTEM.wall(), token.project))
    )
    return Response(page.encode(), 200, {"Cache-Control": "no-store", "Content-Type": CONTENT_TYPE})
