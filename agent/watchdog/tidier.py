"""The forgetting half, with a store handle of its own: a history that is to go holds up nobody."""

from __future__ import annotations

from loguru import logger

from ...backends.clock import SYSTEM, Clock
from ..settings import Settings
from ..slot_tidy import tidy_limits
from . import outbox
from .steps import Half, Step
from .tidy import DAY, forget, forget_documents

EVERY = 3600.0


class Tidier(Half):
    """The forgetting half."""

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM) -> None:
        super().__init__(settings, clock=clock)
        self._stopped = False
        self.steps = [Step("forgetting old records", self._tidy, every=EVERY)]

    def stop(self) -> None:
        """From another thread: end between two transactions."""
        self._stopped = True

    def _tidy(self) -> None:
        store = self._store()
        gone = forget(store, self.settings, self.clock, lambda: self._stopped)
        if gone.runs or gone.logs:
            logger.info("forgot {} runs and {} log lines", gone.runs, gone.logs)
        outbox.tidy(store, self.clock)
        forget_documents(store, self.settings, self.clock)
        old = self.clock.wall() - self.settings.retention.days * DAY
        for limit in tidy_limits(self.settings.home, self.settings.limits, old):
            logger.info("took away the lock files of limit {}, unused for long", limit)
