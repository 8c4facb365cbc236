"""`holter mark`: a person says how a run ended that cannot say so itself.
It is on record who said it, and why."""

from __future__ import annotations

from ...backends.base import Backend
from ...backends.clock import SYSTEM, Clock
from ...backends.errors import HolterError
from ...backends.records import Run
from .. import identity
from ..lookup import descendants
from .judgements import Judge


class OwnEnding(HolterError, RuntimeError):
    """The run's own process wrote how it ended, and nobody else's word changes that."""


def mark(
    backend: Backend, home: str, project: str, run: Run, state: str, reason: str, clock: Clock = SYSTEM
) -> list[Run]:
    """Give `run`, and what is inside it and has not ended, the ending `state`; return them as they are now.

    A verdict by proof or an earlier mark is overruled. Should the process live after all and end by itself,
    its own word wins. Raises OwnEnding where it has ended so already, OSError and StorageError where nothing
    can be written.
    """
    if _spoke(backend, run):
        raise OwnEnding(
            f"run {run.id} ended by itself as {run.state}, and what a run said of itself stands",
            hint=f"`holter show {run.id}` tells how it ended",
        )
    marked = [run, *(each for each in descendants(backend, run) if not each.ended)]
    said = f"marked by {identity.me()['user']}" + (f": {reason}" if reason else "")
    judge = Judge(home, project, backend, clock)
    try:
        for each in reversed(marked):  # innermost first, as a process ends its runs
            judge.end(each.id, state, said, by="mark")
    finally:
        judge.close()
    return [backend.run(each.id) or each for each in marked]


def _spoke(backend: Backend, run: Run) -> bool:
    return run.ended and any(event["event"] == "end" for event in backend.events(run.id))
