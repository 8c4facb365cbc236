"""Who holds and who waits for each limit: on this host as the kernel tells it now, shared ones as the store does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from attrs import frozen

from ..backends.base import Ledger, Registry
from ..backends.clock import rfc3339
from ..backends.errors import UnknownLimit
from ..backends.records import Json
from .leases import KIND
from .slots import Place, holders, limits, waiters
from .tenants import Tenant, expires_in, tenant_of


@frozen
class Occupancy:
    """One limit. `slots` is how many the settings give it (None: they do not name it), `scope` is `host`
    or `shared`; `holders` are the places that are held, `waiters` the queue, the next one first."""

    limit: str
    slots: int | None
    scope: str
    holders: tuple[Place | Tenant, ...]
    waiters: tuple[Place | Tenant, ...]

    @property
    def held(self) -> int:
        """How many slots are held: of this host's each has a place of its own, a shared lease may be of several."""
        return sum((place.occupy or 1) if self.scope == "shared" else 1 for place in self.holders)

    def to_json(self, now: float, states: Mapping[str, str] | None = None) -> Json:
        """`states`: those of the runs that hold and wait (see `run_states`)."""
        known = states or {}
        return {
            "limit": self.limit,
            "slots": self.slots,
            "scope": self.scope,
            "holders": [_place(each, now, known) for each in self.holders],
            "waiters": [_place(each, now, known) for each in self.waiters],
        }


def occupancy(
    home: str, configured: Mapping[str, Any], store: Registry, limit: str | None = None
) -> list[Occupancy]:
    """Every limit that the settings name or that was ever used here or in the store, or only `limit`. One that was
    used both ways is there twice.

    Raises UnknownLimit where `limit` is neither, StorageError where the home or the store cannot be read.
    """
    shared = {name: document.value for name, document in store.list(KIND)}
    here = limits(home)
    names = sorted({*configured, *here, *shared})
    if limit is not None and limit not in names:
        raise UnknownLimit(f"no limit {limit!r}", hint=_instead(limit, names))
    found = []
    for name in names if limit is None else [limit]:
        given = configured.get(name)
        far = given is not None and given.scope == "shared"
        if far or name in shared:
            found.append(_shared(name, given if far else None, shared.get(name)))
        if name in here or (given is not None and not far):
            found.append(_of(home, name, None if far else given))
    return found


def _shared(name: str, given: Any, document: Json | None) -> Occupancy:
    said = document or {"slots": None, "holders": [], "queue": []}
    slots = given.slots if given is not None else said["slots"]
    held, waiting = (
        tuple(tenant_of(number, entry) for number, entry in enumerate(said[place]))
        for place in ("holders", "queue")
    )
    return Occupancy(name, slots, "shared", held, waiting)


def _of(home: str, name: str, given: Any) -> Occupancy:
    held = tuple(place for place in holders(home, name) if place.held)
    slots, scope = (given.slots, given.scope) if given is not None else (None, "host")
    return Occupancy(name, slots, scope, held, tuple(waiters(home, name)))


def _instead(limit: str, names: list[str]) -> str:
    near = get_close_matches(limit, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    known = f"known limits: {', '.join(names)}; " if names else ""
    return f"{known}`limits: {{{limit}: 1}}` in holter.yaml makes it one"


def run_states(store: Ledger, found: Iterable[Occupancy]) -> dict[str, str]:
    """The state of each run that holds or waits, by id, as far as the store knows it."""
    ids = {
        place.run_id for each in found for place in (*each.holders, *each.waiters) if place.run_id is not None
    }
    return {run_id: run.state for run_id in ids if (run := store.run(run_id)) is not None}


def places_of(found: Iterable[Occupancy], run_id: str) -> list[tuple[str, str, float | None]]:
    """What a run and its parts hold (`holds`) and wait for (`waits for`), by limit, and since when (Unix seconds)."""
    return [
        (kind, each.limit, place.since)
        for each in found
        for kind, places in (("waits for", each.waiters), ("holds", each.holders))
        for place in places
        if place.run_id is not None and f"{place.run_id}.".startswith(f"{run_id}.")
    ]


def _place(place: Place | Tenant, now: float, states: Mapping[str, str]) -> Json:
    about = {**_common(place, now), "run_state": states.get(place.run_id or "")}
    return {**about, **(_of_lease(place, now) if isinstance(place, Tenant) else {})}


def _of_lease(tenant: Tenant, now: float) -> Json:
    left = expires_in(tenant, now)
    return {
        "token": tenant.token,
        "lease_seconds": tenant.lease,
        "renewed_at": rfc3339(tenant.renewed_at),
        "expires_in_seconds": None if left is None else round(left, 3),
    }


def _common(place: Place | Tenant, now: float) -> Json:
    return {
        "slot": place.number,
        "host": place.host,
        "pid": place.pid,
        "run_id": place.run_id,
        "run_name": place.run_name,
        "since": rfc3339(place.since),
        "age_seconds": None if place.since is None else round(max(0.0, now - place.since), 3),
        "occupy": place.occupy,
        "alive": place.alive,
    }
