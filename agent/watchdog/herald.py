"""The alerting half: collects what is news in the store, delivers what is due. Detection it never asks."""

from __future__ import annotations

from ...backends.clock import SYSTEM, Clock
from ..settings import Settings
from . import notify
from .steps import Half, Step


class Herald(Half):
    """The alerting half, with a store handle of its own."""

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM) -> None:
        super().__init__(settings, clock=clock)
        self.steps = [Step("collecting alerts", self._collect), Step("delivering alerts", self._deliver)]

    def _collect(self) -> None:
        while notify.collect(self._store(), self.clock, self.settings):
            pass

    def _deliver(self) -> None:
        while notify.deliver(self._store(), self.clock, self.settings):
            pass
