"""For who goes through many runs: one record that a disk has damaged must not hold up all others."""

from __future__ import annotations

from functools import lru_cache
from glob import escape
from typing import TYPE_CHECKING

from loguru import logger

from ...backends.errors import RecordDamaged, StorageError
from ...backends.queries import RunQuery

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...backends.records import Run


def run_of(store: Backend, run_id: str | None) -> Run | None:
    """The run; None where there is none (any more), or its record is damaged, which is said once."""
    if not run_id:
        return None
    try:
        return store.run(run_id)
    except RecordDamaged as error:
        say_once(run_id, str(error))
        return None


def runs_of(store: Backend, query: RunQuery) -> list[Run]:
    """The runs; none where the record of one of them is damaged, which is said once."""
    try:
        return store.runs(query)
    except RecordDamaged as error:
        say_once(f"of {query.job}", str(error))
        return []


def last_run(store: Backend, project: str, job: str, *, roots: bool = False) -> Run | None:
    """The newest run of a flow or command, of `roots` only where so said."""
    kinds = ("flow", "command")
    found = runs_of(store, RunQuery(project=project, job=escape(job), kinds=kinds, roots=roots, limit=1))
    return found[0] if found else None


def is_away(error: Exception) -> bool:
    """Whether the store could not be asked, so that the step is to be repeated; a damaged record stays as it is."""
    return isinstance(error, StorageError) and not isinstance(error, RecordDamaged)


@lru_cache(1024)
def say_once(run_id: str, text: str) -> None:
    """In the watchdog's log, about a run that it cannot make sense of."""
    logger.error("run {} cannot be looked at: {}", run_id, text)
