"""Steps, one unit of work each with its own back-off, and halves of the watchdog: steps on one handle of the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from attrs import define, field
from loguru import logger

from ...backends.base import Backend
from ...backends.clock import SYSTEM, Clock
from ...backends.errors import HolterError, OffsetMismatch, Refused, StorageError, StoreTooNew
from ...backends.urls import open_backend
from ..settings import Settings
from .readable import is_away

NOT_NOW = object()  # the answer of a step that was not its turn: it says nothing about whether it works
WAITED = 1.0  # seconds in which a store that is there says so
BACK_OFF_AT_MOST = 60.0  # seconds between tries of a step that keeps failing


@define
class Step:
    """One step of a loop with its back-off: `every` seconds (0: each pass), sooner only after a failure. `last_error`
    is what it failed of, "" once it works again; `away` is whether it was the store that could not be asked."""

    name: str
    act: Callable[[], object]
    every: float = 0.0
    failures: int = 0
    last_error: str = ""
    away: bool = False
    _due: float = field(default=0.0)

    def run(self, now: float) -> None:
        """Do it if it is due. `now` is monotonic seconds. Errors are logged and backed off, never raised."""
        if now < self._due:
            return
        try:
            idle = self.act() is NOT_NOW
        except Exception as error:  # noqa: BLE001 - a step that fails cannot stop the others
            self.last_error = str(error) or type(error).__name__
            self.failures, self.away = self.failures + 1, _is_silent(error)
            wait = min(BACK_OFF_AT_MOST, 2.0 ** min(self.failures, 6) / 2)
            self._due = now + wait
            logger.opt(exception=not isinstance(error, HolterError | OSError)).error(
                "{} failed ({} in a row, next try in {:.0f} s): {}", self.name, self.failures, wait, error
            )
        else:
            if idle:
                return
            if self.failures:
                logger.info("{} works again", self.name)
            self.failures, self.last_error, self.away = 0, "", False
            self._due = now + self.every

    def hurry(self) -> None:
        """Make it due in this pass, unless it is backed off."""
        if not self.failures:
            self._due = 0.0


@define
class Pace:
    """Work that may take a `share` of all time (0..1): what takes t seconds rests for t / `share`, `most` at most. The
    shortest of the last few times counts: on a busy machine the others were spent waiting."""

    share: float
    most: float = 30.0
    _took: deque[float] = field(factory=lambda: deque(maxlen=5))
    _due: float = float("-inf")

    def due(self, now: float) -> bool:
        """Whether it may be done at `now` (monotonic seconds)."""
        return now >= self._due

    def hurry(self) -> None:
        self._due = float("-inf")

    def took(self, began: float, ended: float) -> None:
        self._took.append(ended - began)
        self._due = ended + min(self.most, min(self._took) / self.share)


class Half:
    """`steps` on one handle of the store, which the first step that needs it opens. `settings` may be replaced."""

    steps: list[Step]

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM) -> None:
        self.settings = settings
        self.clock = clock
        self._backend: Backend | None = None
        self._away = ""  # in this pass a step waited in vain for the store

    def step(self, until: float = inf) -> object:
        """One pass over every step, none begun after `until` (monotonic seconds). Raises nothing. Where a step waited
        in vain for the store, the others do not: one time limit is enough for a pass."""
        for step in self.steps:
            now = self.clock.monotonic()
            if now > until:
                break
            step.run(now)
            if step.away and self.clock.monotonic() - now >= WAITED:
                self._away = step.last_error
        self._away = ""
        return None

    def use(self, settings: Settings) -> None:
        """Go on with these settings, from the next step on; the store stays the one that is open."""
        self.settings = settings

    def close(self) -> None:
        """Let go of everything; further steps would open the store again."""
        if self._backend is not None:
            self._backend.close()

    def _store(self) -> Backend:
        if self._away:
            raise StorageError(self._away)
        if self._backend is None:
            self._backend = open_store(self.settings, self.clock)
        return self._backend


def _is_silent(error: Exception) -> bool:
    """Whether the store gave no answer, so that asking it for something else is in vain too."""
    return is_away(error) and not isinstance(error, Refused | OffsetMismatch | StoreTooNew)


def open_store(settings: Settings, clock: Clock = SYSTEM) -> Backend:
    return open_backend(settings.backend, settings.home, clock=clock)
