"""The alerting half: collects what is news in the store, delivers what is due. Detection it never asks."""

from __future__ import annotations

from math import inf

from ...backends.clock import SYSTEM, Clock
from ..settings import Settings
from . import gaps, notify
from .account import EVERY, grace
from .steps import Half, Step


class Herald(Half):
    """The alerting half, with a store handle of its own.

    `patient`: where nobody watched for a while, it collects nothing until the grace is over, so that what happened
    meanwhile is told together. `until`: so many seconds after its start it sends nothing more.
    """

    def __init__(
        self, settings: Settings, *, clock: Clock = SYSTEM, patient: bool = False, until: float = inf
    ) -> None:
        super().__init__(settings, clock=clock)
        self.steps = [Step("collecting alerts", self._collect), Step("delivering alerts", self._deliver)]
        self._began = clock.monotonic()
        self._until = self._began + until
        self._patient = patient

    def _collect(self) -> None:
        if self._patient and self._waits():
            return
        while notify.collect(self._store(), self.clock, self.settings) and self._in_time():
            pass

    def _deliver(self) -> None:
        while self._in_time() and notify.deliver(self._store(), self.clock, self.settings):
            pass

    def _waits(self) -> bool:
        """Asked from the start on until it was answered with no: later gaps are another matter."""
        # By then the account of the gap is there, to be told with the rest.
        patience = grace(self.settings) + 2 * EVERY
        over = self.clock.monotonic() - self._began >= patience
        self._patient = not over and gaps.ended_since(self._store(), self.clock.wall(), patience)
        return self._patient

    def _in_time(self) -> bool:
        return self.clock.monotonic() < self._until
