"""What a page's form sends: names and texts, bounded."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from starlette.requests import Request

from ..refusals import Refusal
from ..state import State

LIMIT = 64 * 1024  # bytes
FIELDS = 50


async def form_of(request: Request) -> dict[str, str]:
    """Raises Refusal (408, 413, 415, 400)."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise Refusal(415, "this takes a form", "send it from the page")
    state: State = request.app.state.holter
    body = b""
    try:
        async with asyncio.timeout(state.options.slow_seconds):  # anybody may post to the sign-in
            async for part in request.stream():
                body += part
                if len(body) > LIMIT:
                    raise Refusal(413, "the form is too large", "say less")
    except TimeoutError:
        raise Refusal(408, "the form did not arrive in time", "send it again") from None
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS))
