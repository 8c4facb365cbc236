"""What a watchdog measures of its own passes: it rides in the pulse, so that `holter doctor` can say it anywhere."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import asdict, define

from ...backends.base import Backend
from ...backends.records import Json
from . import outbox
from .incidents import open_incidents
from .steps import Half


@define
class Passes:
    """How many passes there were, how long the last one and the slowest took (seconds)."""

    count: int = 0
    seconds: float = 0.0
    slowest_seconds: float = 0.0

    def took(self, seconds: float) -> None:
        self.count, self.seconds = self.count + 1, round(seconds, 6)
        self.slowest_seconds = max(self.slowest_seconds, self.seconds)


def figures(store: Backend, passes: Passes, journals: int, halves: Iterable[Half]) -> Json:
    """The document: passes, journals of live processes, open incidents, alerts that wait or found no channel while
    their trouble lasts, and what steps fail of."""
    alerts = [held.value["state"] for _, held in store.list(outbox.ALERT)]
    return {
        **asdict(passes),
        "journals": journals,
        "incidents": len(open_incidents(store)),
        "alerts_pending": alerts.count("pending"),
        "alerts_undelivered": alerts.count("undelivered"),
        "errors": errors(halves),
    }


def errors(halves: Iterable[Half]) -> dict[str, str]:
    """What steps failed of the last time, by their names."""
    return {step.name: step.last_error for half in halves for step in half.steps if step.failures}
