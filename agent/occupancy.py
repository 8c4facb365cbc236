"""Who holds and who waits for each limit of this host, as the kernel tells it now."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from attrs import frozen

from ..backends.clock import rfc3339
from ..backends.errors import UnknownLimit
from ..backends.records import Json
from .slots import Place, holders, limits, waiters


@frozen
class Occupancy:
    """One limit. `slots` is how many the settings give it (None: they do not name it), `scope` is `host`
    or `shared`; `holders` are the places that are held, `waiters` the queue, the next one first."""

    limit: str
    slots: int | None
    scope: str
    holders: tuple[Place, ...]
    waiters: tuple[Place, ...]

    def to_json(self, now: float) -> Json:
        return {
            "limit": self.limit,
            "slots": self.slots,
            "scope": self.scope,
            "holders": [_place(each, now) for each in self.holders],
            "waiters": [_place(each, now) for each in self.waiters],
        }


def occupancy(home: str, configured: Mapping[str, Any], limit: str | None = None) -> list[Occupancy]:
    """Every limit that the settings name or that was ever used here, or only `limit`.

    Raises UnknownLimit where `limit` is neither, StorageError where the home cannot be read.
    """
    names = sorted({*configured, *limits(home)})
    if limit is not None and limit not in names:
        raise UnknownLimit(f"no limit {limit!r}", hint=_instead(limit, names))
    return [_of(home, name, configured.get(name)) for name in names if limit in (None, name)]


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


def _place(place: Place, now: float) -> Json:
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
