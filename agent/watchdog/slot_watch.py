"""Who waits for a limit, or holds it, for too long: the incidents `slot_wait` and `slot_hold`.

Judged are the places of this host, in limits whose settings say `wait_alert` or `hold_alert`; of a shared limit, each
host's watchdog judges its own. A place is judged by what the kernel, or the lease, says of it now, and by its age as
this watchdog saw it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...backends.base import Backend
from ...backends.clock import Clock
from ...backends.schedule import format_duration
from .. import identity
from ..occupancy import Occupancy, occupancy
from ..setting_types import Limit
from ..slots import Place
from ..tenants import Tenant
from .incidents import Board, Incident
from .sightings import Ages

EVERY = 5.0  # seconds between looks


class SlotWatch:
    """`look` is the step. It keeps since when each place was seen."""

    def __init__(self, home: str, clock: Clock) -> None:
        self._home, self._clock = home, clock
        self._ages = Ages()
        # Incidents of ours, from before the settings changed or the watchdog was started.
        self._may_be_open = True

    def look(self, store: Backend, limits: Mapping[str, Limit]) -> int:
        """Open and close incidents; how many changed. Costs nothing where no limit is to be watched."""
        watched = {name: each for name, each in limits.items() if each.wait_alert or each.hold_alert}
        if not watched and not self._may_be_open:
            return 0
        board = Board(store)
        wanted: dict[str, list[Incident]] = {
            scope: [] for scope in board.scopes("limit:") if self._mine(scope)
        }
        found = [(name, each) for name in watched for each in occupancy(self._home, limits, store, name)]
        for name, place, event, age in self._places(found):
            patience = watched[name].wait_alert if event == "slot_wait" else watched[name].hold_alert
            if patience is not None and age > patience:
                scope = f"limit:{name}{self._here()}"
                wanted.setdefault(scope, []).append(self._incident(store, scope, name, event, place, age))
        now = self._clock.wall()
        changed = sum(board.settle(scope, incidents, now) for scope, incidents in wanted.items())
        self._may_be_open = any(wanted.values())
        return changed

    def _here(self) -> str:
        return f"@{identity.host()}:{self._home}"

    def _mine(self, scope: str) -> bool:
        return scope.endswith(self._here())

    def _places(self, found: list[tuple[str, Occupancy]]) -> Iterator[tuple[str, Place | Tenant, str, float]]:
        """Every place of this host that says since when: its limit, the event that it may be, its age in seconds."""
        places = {
            f"{event} {name} {place.pid} {place.run_id} {place.since} {place.number}": (name, place, event)
            for name, each in found
            for event, group in (("slot_hold", each.holders), ("slot_wait", each.waiters))
            for place in group
            if place.since is not None and place.host == identity.host()
        }
        ages = self._ages.look(
            {key: place.since or 0.0 for key, (_, place, _) in places.items()}, self._clock
        )
        return ((*places[key], age) for key, age in ages.items())

    def _incident(
        self, store: Backend, scope: str, limit: str, event: str, place: Place | Tenant, age: float
    ) -> Incident:
        run = store.run(place.run_id) if place.run_id else None
        who = f"{run.name if run else place.run_name or 'a process'} (pid {place.pid} on {place.host})"
        many = f"{place.occupy} slots" if (place.occupy or 1) > 1 else "a slot"
        verb = "waits for" if event == "slot_wait" else "holds"
        gone = "; it is gone, and a process that it started keeps the lock" if place.alive is False else ""
        since = place.since or 0.0
        return Incident(
            event,
            f"{scope}:{event}:{place.pid}:{int(since)}",
            f"{who} {verb} {many} of {limit} since more than {format_duration(age // 60 * 60 or age // 1)}{gone}",
            since,
            project=run.project if run else "default",
            job=run.name if run else None,
            host=place.host,
            run_id=place.run_id,
        )
