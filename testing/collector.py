"""A collector in a thread of this process, on a socket of loopback: for tests of what speaks HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..backends.clock import SYSTEM, Clock

SECONDS = 20.0  # to start, and to stop


@contextmanager
def collector(
    folder: str, clock: Clock = SYSTEM, backend: str = "sqlite:///holter.db", **options: Any
) -> Iterator[str]:
    """Serve the store at `backend` (relative to `folder`) while the block runs; gives the URL. `options` are those of
    the collector (`holter.agent.web.options`). Needs `holter[web]`."""
    served = _Served(folder, clock, backend, options)
    thread = threading.Thread(target=lambda: asyncio.run(served.run()), daemon=True)
    thread.start()
    try:
        if not served.started.wait(SECONDS):
            raise TimeoutError("the collector did not start")
        yield f"http://127.0.0.1:{served.port}"
    finally:
        served.stop()
        thread.join(SECONDS)


class _Served:
    """The application on a bare event loop: uvicorn's own server looks only ten times a second whether it is to end,
    which a suite of hundreds of tests would wait for."""

    def __init__(self, folder: str, clock: Clock, backend: str, options: dict[str, Any]) -> None:
        from ..agent.web.app import make_app
        from ..agent.web.options import Options

        self.app = make_app(Options(backend, folder, **{"trusting": True, **options}), clock)
        self.started, self.port = threading.Event(), 0

    async def run(self) -> None:
        import uvicorn
        from uvicorn.server import ServerState

        from ..agent.web.connections import Connection

        self.loop, self.ended = asyncio.get_running_loop(), asyncio.Event()
        config = uvicorn.Config(self.app, http=Connection, ws="none", log_config=None, access_log=False)
        config.load()
        state = ServerState()
        async with self.app.router.lifespan_context(self.app):
            server = await self.loop.create_server(
                lambda: Connection(config=config, server_state=state, app_state={}), "127.0.0.1", 0
            )
            self.port = server.sockets[0].getsockname()[1]
            self.started.set()
            await self.ended.wait()
            server.close()
            for each in tuple(state.connections):
                each.shutdown()

    def stop(self) -> None:
        if self.started.is_set():
            self.loop.call_soon_threadsafe(self.ended.set)
