"""Entries of shared limits, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from ..backends.records import Json
from ..backends.states import ENDINGS
from . import identity
from .leases import dead

if TYPE_CHECKING:
    from .slot_files import Place


@frozen
class Tenant:
    """Who holds, or waits for, slots of a shared limit, as it says of itself: times are its own clock's (Unix seconds).

    `lease` is in seconds, `renewed_at` when it was last renewed; nothing is decided by that. `token` is the fencing
    token, None for a waiter. `alive` is False where its process is gone by proof, None where nothing proves anything.
    """

    number: int
    host: str | None
    pid: int | None
    run_id: str | None
    run_name: str | None
    since: float | None
    occupy: int | None
    alive: bool | None
    token: int | None
    lease: float
    renewed_at: float | None


def tenant_of(number: int, entry: Json) -> Tenant:
    """Of the entry of a shared limit's document."""
    facts: Json = {key: entry.get(key) for key in ("host", "pid", "run_id", "run_name", "since", "occupy")}
    alive = False if dead(entry) else identity.alive(entry)
    times = {"lease": entry["lease"], "renewed_at": entry.get("renewed_at")}
    slot = (entry.get("numbers") or [number])[0]
    return Tenant(slot, **facts, alive=alive, token=entry.get("token"), **times)


def expires_in(tenant: Tenant, now: float) -> float | None:
    """Seconds until the lease runs out if it is not renewed, as far as clocks agree; negative where it has."""
    return None if tenant.renewed_at is None else tenant.renewed_at + tenant.lease - now


def is_gone(place: Place | Tenant, states: Mapping[str, str]) -> bool:
    """Whether it cannot be using its place any more: its process is gone, or its run has ended."""
    return place.alive is False or states.get(place.run_id or "") in ENDINGS
