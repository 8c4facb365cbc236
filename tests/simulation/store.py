"""The store as the simulated processes and watchdogs reach it: a real one, behind a door that the world may shut.

Each call is a point at which the world can do something: fail it (before or after it was applied), kill the caller, or
let somebody else act first.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from holter.backends import urls
from holter.backends.clock import Clock

CALLS = (
    *("append", "runs", "run", "events", "logs", "summarize", "transitions", "processes", "prune"),
    *("get", "put", "list", "delete"),
)


class SimulatedStore:
    """A handle on the world's store, opened by whoever acts in it just now."""

    world: ClassVar[Any] = None

    def __init__(self, url: str, *, home: str, clock: Clock, timeout: float | None = None) -> None:
        self.url = url
        self._actor = self.world.actor
        self._inner = self.world.open_inner(clock)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name not in CALLS:
            return call
        actor, world = self._actor, self.world

        def through(*args: Any, **kwargs: Any) -> Any:
            return world.pass_through(actor, name, call, args, kwargs)

        self.__dict__[name] = through
        return through

    def close(self) -> None:
        """The world closes what is behind this door."""

    def check(self) -> dict[str, Any]:
        return {"ok": True, "detail": "simulated"}


def install() -> None:
    """Make `sim:` a scheme, as another package's backend would be."""
    sys.modules["holter_simulated_store"] = sys.modules[__name__]
    urls._BUILT_IN["sim"] = "holter_simulated_store:SimulatedStore"
