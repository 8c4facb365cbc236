"""`emit_event`: a line in the current run's log. There is nobody else to hear it: alerts are for that."""

from __future__ import annotations

import json
from typing import Any

from .. import recorder
from .refusals import stand_in


def emit_event(
    event: str, resource: dict[str, str] | None = None, payload: dict[str, Any] | None = None, **_: Any
) -> None:
    """Record the event's name, its resource and its payload. Outside of a run nothing happens."""
    run = recorder.current()
    if run is not None:
        said = {"event": event, "resource": resource, "payload": payload}
        run.log(json.dumps(said, default=str), stream="event")


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return stand_in(name, "prefect.events")
