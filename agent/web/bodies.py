"""The body of a request, read within limit, room, rate and time."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request

from .admission import Load
from .inflate import too_large
from .refusals import Refusal
from .state import State


async def read(request: Request, state: State, load: Load, limit: int) -> bytes:
    """All of it, as it was sent. Raises Refusal."""
    declared = request.headers.get("content-length", "0")
    size = int(declared) if declared.isdigit() and len(declared) < 19 else 0
    if size > limit:
        raise too_large(limit)
    client = request.client.host if request.client else "?"
    state.admission.charge(client, size, time.monotonic())
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(state.options.slow_seconds):
            async for part in request.stream():
                load.take(len(part))
                parts.append(part)
                if load.bytes > limit:
                    raise too_large(limit)
                if not size and part:  # it did not say how much will come
                    state.admission.charge(client, len(part), time.monotonic())
    except TimeoutError:
        seconds = state.options.slow_seconds
        raise Refusal(408, f"the body took longer than {seconds:g} s", "send smaller batches") from None
    return b"".join(parts)


def gzipped(request: Request) -> bool:
    """Whether the body is; Refusal for what nobody here understands."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise Refusal(415, f"no body is taken in {encoding[:40]!r}", "send gzip, or no Content-Encoding")
    return encoding == "gzip"
