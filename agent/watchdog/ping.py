"""The outward ping: an HTTP GET after good passes, so that somebody elsewhere notices when they stay away.

In a thread of its own, one at a time: a server that hangs costs a pass nothing.
"""

from __future__ import annotations

import threading

from loguru import logger

from ...backends.errors import HolterError
from ..settings import WatchdogSettings, expand

TIMEOUT = 10.0  # seconds for one ping


class Pinger:
    """Calls `ping` at most every `ping_every` seconds. `error` is what the last one failed of, "" if it arrived."""

    def __init__(self) -> None:
        self.error = ""
        self._next = 0.0
        self._thread: threading.Thread | None = None

    def passed(self, settings: WatchdogSettings, now: float) -> None:
        """A pass was completed in which nothing failed. `now` is monotonic seconds. Never blocks, never raises."""
        if settings.ping is None or now < self._next or (self._thread and self._thread.is_alive()):
            return
        self._next = now + settings.ping_every
        self._thread = threading.Thread(
            target=self._call, args=(settings.ping,), name="holter-ping", daemon=True
        )
        self._thread.start()

    def _call(self, url: str) -> None:
        from http.client import HTTPException
        from urllib.error import URLError

        from .redirects import opener

        error = ""
        try:
            with opener().open(expand(url), timeout=TIMEOUT):
                pass
        except URLError as problem:
            error = str(problem.reason)
        except (OSError, HTTPException, ValueError, HolterError) as problem:
            error = str(problem) or type(problem).__name__
        if error and not self.error:
            logger.error("the ping does not arrive: {}", error)
        elif self.error and not error:
            logger.info("the ping arrives again")
        self.error = error
