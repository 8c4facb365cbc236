"""What the watchdog forgets: old runs and lines, and the oldest ones of a store that takes more room than it may.

In a thread of its own with its own handle on the store, in small transactions: a long history that is to go delays
neither a verdict nor an alert.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve
from loguru import logger

from ...backends.base import Backend
from ...backends.clock import SYSTEM, Clock
from ...backends.queries import Retention, RunQuery
from ...backends.records import Pruned
from ..settings import Settings
from . import counting, gaps, host_watch, incidents, pulse

STEP = 500  # root runs that go at once because of the size
DAY = 86400.0


def retention_of(settings: Settings, now: float) -> Retention:
    """The settings' periods as moments before `now` (Unix seconds)."""
    kept = settings.retention
    return Retention(
        runs_before=now - kept.days * DAY,
        failures_before=now - max(kept.keep_failures, kept.days * DAY),
        logs_before=now - kept.logs_days * DAY,
    )


def forget(
    store: Backend, settings: Settings, clock: Clock = SYSTEM, stop: Callable[[], bool] = lambda: False
) -> Pruned:
    """Forget by age, then by size, in steps between which `stop` is asked. Idempotent; may be interrupted anywhere."""
    retention = retention_of(settings, clock.wall())
    gone = store.prune(retention)
    most = settings.retention.max_bytes
    while most is not None and not stop():
        more = shrink(store, retention, most)
        if not more.runs:
            break
        gone = Pruned(gone.runs + more.runs, gone.logs + more.logs)
    return gone


def forget_documents(store: Backend, settings: Settings, clock: Clock = SYSTEM) -> int:
    """Forget what the watchdog itself wrote down, once it is as old as runs that go; how many documents that were.

    Those are pulses, gaps and figures of hosts, counts of jobs that are no more, and incidents that are over and that
    nobody was there to tell. What lasts on a host that no watchdog looked at for so long is over: nobody else could say
    so.
    """
    now = clock.wall()
    old = now - settings.retention.days * DAY
    silent = {held.value["host"] for _, held in store.list(pulse.KIND) if held.value["at"] < old}
    board = incidents.Board(store)
    for scope in board.scopes():
        if {each.host for each in board.open(scope).values()} <= silent:
            board.settle(scope, (), now)
    moments = dict.fromkeys((pulse.KIND, host_watch.KIND, counting.KIND), "at")
    moments |= {gaps.KIND: "until", incidents.KIND: "over_at"}
    gone = [
        (kind, key, held.version)
        for kind, moment in moments.items()
        for key, held in store.list(kind)
        if held.value[moment] is not None and held.value[moment] < old
    ]
    return sum(store.delete(kind, key, version) for kind, key, version in gone)


def size_of(store: Backend) -> int | None:
    """Bytes that the records in the store take, about; None where it cannot tell."""
    ask = getattr(store, "size", None)
    return None if ask is None else ask()


def shrink(store: Backend, retention: Retention, most: int) -> Pruned:
    """One step: the oldest ended root runs, at most `STEP`, if the store takes more than `most` bytes; none are left to
    go where nothing was pruned. Live runs and the last failure of each job stay, whatever they take."""
    size = size_of(store)
    if size is None or size <= most:
        return Pruned()
    roots = sum(job.runs for job in store.summarize(RunQuery(roots=True)))
    count = max(1, min(STEP, int(roots * (1 - most / size)) + 1))
    while count <= roots:  # the oldest may all be live, or last failures
        oldest = store.runs(RunQuery(roots=True, limit=1, offset=roots - count))
        before = oldest[0].created_at + 0.001 if oldest else 0.0
        gone = store.prune(evolve(retention, runs_before=before, failures_before=before))
        if gone.runs:
            return gone
        count = min(roots, 2 * count) if count < roots else roots + 1
    logger.warning("the store takes {:,} bytes, of {:,}, but nothing that is left may go", size, most)
    return Pruned()
