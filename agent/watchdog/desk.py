"""What one pass of collecting works with: the rules, the snoozes, and the alerts that are open, read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import asdict, define, evolve, field

from . import outbox
from .message import compose
from .quiet import held_back

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...backends.records import Json, Run
    from ..settings import Rule
    from .message import Facts

_BULKY = ("log_tail", "body")


@define
class Desk:
    """`now` is Unix seconds, `seq` the last transition that was collected before. The open alerts are read only when
    something may concern them, and are looked up by job: 10,000 of them cost no more than one."""

    backend: Backend
    rules: Sequence[Rule]
    now: float
    seq: int
    _snoozes: list[Json] = field(factory=list)
    _open: dict[tuple[str, str | None], dict[str, Json]] | None = None

    def __attrs_post_init__(self) -> None:
        self._snoozes = outbox.snoozes(self.backend, self.now)

    def post(self, run: Run | None, facts: Facts, order: outbox.Order, told: bool = False) -> None:
        """Put one alert into the outbox. Its lines and figures are added when it goes out alone: one of thousands
        never needs them. `told`: people know of this trouble from an alert that this one takes the place of."""
        alert = {name: value for name, value in compose(run, facts).items() if name not in _BULKY}
        if isinstance(alert["error"], dict):
            alert["error"] = {name: str(alert["error"].get(name) or "")[:500] for name in ("type", "message")}
        new = outbox.draft(alert, order, self.now, facts=_plain(facts))
        if self.snoozed(alert):
            new["state"] = "snoozed"
        elif held_back(new, self.now) is not None:
            new["state"] = "held"
        new["told"] = told or new["state"] == "waiting"
        key, doc = outbox.post(self.backend, new)
        if doc["open"]:
            self.open_of(alert["project"], alert["job"])[key] = doc

    def snoozed(self, alert: Json) -> bool:
        return outbox.is_snoozed(self._snoozes, alert["job"], alert.get("host"))

    def open_of(self, project: str, job: str | None) -> dict[str, Json]:
        """The open alerts of a job (of None: of what is no job), by key."""
        if self._open is None:
            self._open = {}
            for key, doc in outbox.still_open(self.backend).items():
                about = (doc["alert"]["project"], doc["alert"]["job"])
                self._open.setdefault(about, {})[key] = doc
        return self._open.setdefault((project, job), {})

    def close(self, docs: dict[str, Json], *, over: bool) -> None:
        """The trouble of these is over, or (`over` false) a later alert tells of it."""
        for key, doc in docs.items():
            outbox.resolve(self.backend, key, self.now, over=over)
            self.open_of(doc["alert"]["project"], doc["alert"]["job"]).pop(key, None)

    def hush(self, docs: dict[str, Json]) -> dict[str, Json]:
        """Close those that nobody was told of, and return those that somebody was, by the store as it is now: another
        watchdog may be telling of them at this very moment."""
        told = {}
        for key, doc in docs.items():
            if doc["told"] or not outbox.resolve(self.backend, key, self.now, over=True, untold=True):
                held = self.backend.get(outbox.ALERT, key)
                told[key] = held.value if held else doc
            else:
                self.open_of(doc["alert"]["project"], doc["alert"]["job"]).pop(key, None)
        return {key: doc for key, doc in told.items() if doc["open"]}


def _plain(facts: Facts) -> Json:
    return {
        name: value
        for name, value in asdict(evolve(facts, tail=(), notes=(), causes=())).items()
        if value or name == "at"
    }
