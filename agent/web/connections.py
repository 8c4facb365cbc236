"""A client's connection, closed where it only takes up room: no request in it for long, or an answer nobody reads.

uvicorn bounds the time between two requests, but not how long somebody may take to begin one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

STREAM = "/live"
LOOK_SECONDS = 30.0  # a connection is closed at the second look at which nothing has moved


class Connection(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """uvicorn's HTTP, looked after."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._seen: Any = None
        self._watch = self.loop.call_later(LOOK_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """At the server's end a stream of news has none of its own; all else is answered to its end."""
        super().shutdown()
        if self.cycle is not None and self.cycle.scope["path"] == STREAM:
            self.transport.close()

    def _look(self) -> None:
        cycle, unread = self.cycle, self.transport.get_write_buffer_size()
        idle = cycle is None or cycle.response_complete or unread
        now = (id(cycle), unread) if idle else None
        if now is not None and now == self._seen:
            self.transport.abort()
            return
        self._seen = now
        self._watch = self.loop.call_later(LOOK_SECONDS, self._look)
