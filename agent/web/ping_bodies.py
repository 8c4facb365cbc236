"""The body of a ping as lines: of a long one the beginning and the end, which says how it ended.

However large it is, it is taken: a job whose output is long must not pass for one that did not come.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from attrs import frozen
from starlette.requests import Request

from ..secrets import clean
from .admission import Load
from .state import State

LIMIT = 100_000  # bytes that are kept, half of them from the end
LINES = 2_000  # that are kept, likewise
PIECE = 32_000  # characters: a longer line is kept in pieces


@frozen
class Said:
    """Lines from the beginning and from the end, and how many lines and bytes between them were left out."""

    head: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    lines_left_out: int = 0
    bytes_left_out: int = 0


async def read(request: Request, state: State, load: Load) -> Said:
    """What comes within the time that a request may take. Raises Refusal (429)."""
    client = request.client.host if request.client else "?"
    kept = _Kept()
    with suppress(TimeoutError):  # what came until then counts
        async with asyncio.timeout(state.options.slow_seconds):
            async for part in request.stream():
                state.admission.charge(client, len(part), time.monotonic())
                load.take(kept.add(part))
    return said(bytes(kept.head), bytes(kept.tail), kept.left_out)


class _Kept:
    """The first and the last bytes of a stream."""

    def __init__(self) -> None:
        self.head, self.tail, self.left_out = bytearray(), bytearray(), 0

    def add(self, part: bytes) -> int:
        """How many more bytes are held now."""
        before = len(self.head) + len(self.tail)
        room = LIMIT // 2 - len(self.head)
        self.head += part[:room]
        self.tail += part[room:]
        more = len(self.tail) - LIMIT // 2
        if more > 0:
            del self.tail[:more]
            self.left_out += more
        return len(self.head) + len(self.tail) - before


def said(head: bytes, tail: bytes, left_out: int) -> Said:
    """The lines of a body of which `left_out` bytes are missing between its `head` and its `tail`."""
    if not left_out:
        lines = _lines(head + tail)
        gone = len(lines) - LINES
        if gone <= 0:
            return Said(lines)
        first, middle, last = lines[: LINES // 2], lines[LINES // 2 : -LINES // 2], lines[-LINES // 2 :]
        return Said(first, last, gone, sum(len(line.encode()) + 1 for line in middle))
    first, last = _lines(head)[: LINES // 2], _lines(tail)[-LINES // 2 :]
    gone = len(_lines(head)) + len(_lines(tail)) - len(first) - len(last)
    return Said(first, last, gone + 1, left_out)


def _lines(data: bytes) -> tuple[str, ...]:
    text = data.decode("utf-8", "replace")
    lines = text.removesuffix("\n").split("\n") if text else []
    return tuple(
        line[start : start + PIECE]
        for line in (clean(each.removesuffix("\r")) for each in lines)
        for start in range(0, len(line) or 1, PIECE)
    )
