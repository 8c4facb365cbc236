"""News for an open page, as server-sent events: that something changed, never what. The page then asks again.

Not guaranteed: that each change has a message of its own; several within a look are one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ....backends.base import Backend
from ....backends.clock import SYSTEM, root_of
from ....backends.errors import HolterError
from ....backends.queries import LogQuery
from ..refusals import Refusal
from ..state import State
from ..tokens import Token

EVERY = 0.25  # seconds between two looks
SIGN_EVERY = 10.0  # seconds between two signs of life
STREAMS = 200  # at once, in one process
_PAGE = 500


async def live(request: Request, token: Token, state: State) -> Response:
    """`?run=ID` tells of this run and its parts, with its lines; without it, of every root run."""
    if state.streams >= STREAMS:
        raise Refusal(429, "too many pages are told of news", "reload this one by hand", retry_after=30.0)
    watch = _Watch(request.query_params.get("run"), token, state)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_told(request, watch, state), 200, headers, "text/event-stream")


async def _told(request: Request, watch: _Watch, state: State) -> AsyncIterator[bytes]:
    state.streams += 1
    said = SYSTEM.monotonic()
    try:
        yield b"retry: 1000\n\n"
        away = False
        while not await request.is_disconnected():
            try:
                news = await state.stores.ask(watch.look)
                word = b"event: back\ndata: \n\n" if away else b""
                away = False
            except (HolterError, Refusal):
                news, word, away = [], b"" if away else b"event: away\ndata: \n\n", True
            word += b"".join(b"event: %s\ndata: \n\n" % name for name in news)
            if not word and SYSTEM.monotonic() - said >= SIGN_EVERY:
                word = b": here\n\n"
            if word:
                said = SYSTEM.monotonic()
                yield word
            await asyncio.sleep(EVERY)
    finally:
        state.streams -= 1


class _Watch:
    """What was seen at the last look."""

    def __init__(self, run_id: str | None, token: Token, state: State) -> None:
        self._run, self._token, self._state = run_id, token, state
        self._seq: int | None = None
        self._line: int | None = None
        self._mark: Any = None

    def look(self, store: Backend) -> list[bytes]:
        """`change` and `lines`, as far as there is any."""
        if self._seq is None:
            self._seq = newest_transition(store)
        rows = self._rows(store)
        changed = any(self._concerns(row.run_id) for row in rows)
        return [b"change"] * (self._moved(store) or changed) + [b"lines"] * self._spoke(store)

    def _rows(self, store: Backend) -> list[Any]:
        rows = store.transitions(self._seq or 0, _PAGE)
        if rows:
            self._seq = rows[-1].seq
        if self._token.project is None:
            return rows
        mine = self._token.project
        return [row for row in rows if self._state.projects.of_run(row.run_id, lambda: store) == mine]

    def _concerns(self, run_id: str) -> bool:
        return "." not in run_id if self._run is None else root_of(run_id) == root_of(self._run)

    def _moved(self, store: Backend) -> bool:
        """Progress, and what else of a run is no change of state."""
        if self._run is None or not self._sees(store):
            return False
        run = store.run(self._run)
        mark = run and (run.state, run.conditions, run.progress, run.artifacts, run.attempt)
        before, self._mark = self._mark, mark
        return before is not None and before != mark

    def _spoke(self, store: Backend) -> bool:
        if self._run is None or not self._sees(store):
            return False
        found = store.logs(LogQuery(self._run, after=self._line or 0, limit=1, last=True))
        newest = found[-1].seq if found else self._line or 0
        before, self._line = self._line, newest
        return before is not None and newest > before

    def _sees(self, store: Backend) -> bool:
        project = self._token.project
        return project is None or self._state.projects.of_run(self._run or "", lambda: store) == project


def newest_transition(store: Backend) -> int:
    """The seq of the newest transition, found by halving: they are only told oldest first."""
    low, high = 0, 1
    while store.transitions(high, 1):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if store.transitions(middle, 1):
            low = middle
        else:
            high = middle
    return high if store.transitions(low, 1) else low
