"""Conditions of live runs: what should be, computed from the record and the clock, against what the store says.

* `unresponsive`: the process lives (its lock is held) but its journal has not grown for three heartbeats: stopped,
  swapped out, or C code that holds the GIL. Judged on this watchdog's own monotonic clock, from when it first looked.
* `overdue`: runs longer than its `max_duration`, or than so many times the median of its job's runs.
* `stalled`: nothing has come from the run or its descendants for `stall_after`.
* `lost`: the store has heard nothing of its process, which is none of this home's, for `lost_after`. See `afar`.

None of them is an ending, and each is taken back when it is no longer true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from ...backends.base import Backend
from ...backends.clock import Clock
from ...backends.queries import LogQuery, RunQuery
from ...backends.records import Run
from ...backends.schedule import format_duration
from ...backends.states import OPEN
from .. import identity
from .adopt import Live
from .afar import Afar
from .bounds import Expected, moments
from .judgements import Judge
from .readable import is_away, say_once
from .replaced import close_replaced
from .sightings import Ages

MISSED_BEATS = 3
JUDGED = ("overdue", "stalled", "unresponsive")


def reconcile(
    asked: Expected,
    judge: Judge,
    live: list[Live],
    silence: dict[str, float],
    clock: Clock,
    far: Afar | None = None,
    dues: list[float] | None = None,
    ages: Ages | None = None,
) -> int:
    """Write every condition that is not as it should be; return how many were written.

    `asked` knows what is expected of each, and the store. `silence`: seconds by journal, as this watchdog saw it.
    `far` is what was heard of processes elsewhere. `dues` takes the moments (Unix seconds) at which a run may pass a
    limit. `ages` remembers how long each has run, from pass to pass.
    """
    judge.ship()  # what the store did not take the last time, before it is said again
    mute = {each.journal: silence.get(each.journal, 0.0) for each in live if _is_mute(each, silence)}
    far = far or Afar()
    for journal, newest in far.here.items():  # a run keeps its journal when its process goes on in another
        silent = mute.get(newest)
        mute.pop(journal, None) if silent is None else mute.update({journal: silent})
    written = 0
    backend, runs = asked.store, asked.store.runs(RunQuery(states=OPEN, limit=None))
    started = {run.id: run.started_at for run in runs if run.started_at is not None}
    old = (ages or Ages()).look(started, clock, _at_most(runs, live, far, clock))

    def look(run: Run) -> int:
        check = asked.of(run)
        now = clock.wall() if run.started_at is None else run.started_at + old[run.id]
        wanted = conditions_of(run, check, now, mute, lambda: last_activity(backend, run), clock.wall())
        if dues is not None:
            dues.extend(moments(run, check))
        return _judge_lost(backend, judge, run, far) + _judge_rest(backend, judge, run, far, wanted)

    for run in runs:
        try:
            written += look(run)
        except Exception as error:
            if is_away(error):
                raise
            say_once(run.id, f"{type(error).__name__}: {error}")
    if written:
        judge.ship()
    close_replaced(backend, far.replaced, {run.journal for run in runs}, clock.wall())
    return written


def _at_most(runs: list[Run], live: list[Live], far: Afar, clock: Clock) -> Callable[[str], float]:
    """No run is older than its process, of which the kernel knows how old it is: the wall clock may have been set
    before we first looked."""
    headers = {each.journal: each.header for each in live}
    journals = {run.id: run.journal for run in runs}

    def seconds(run: str) -> float:
        journal = journals[run] or ""
        age = identity.age(headers.get(far.here.get(journal, journal), {}), clock.since_boot())
        return inf if age is None else age

    return seconds


def _judge_lost(backend: Backend, judge: Judge, run: Run, far: Afar) -> int:
    """Say that a run is lost, or is not any more; whether that was news."""
    reason = far.lost(run)
    if reason is None:
        return 0
    judge.condition(run.id, "lost", bool(reason), reason, _spoken(backend, run, "lost"))
    return 1


def _judge_rest(backend: Backend, judge: Judge, run: Run, far: Afar, wanted: Mapping[str, str]) -> int:
    written = 0
    for name in JUDGED:
        if far.is_foreign(run) and (name == "unresponsive" or run.host in far.watched):
            continue  # its own host's watchdog can tell, by the clock that the run goes by
        if (name in wanted) != (name in run.conditions):
            after = _spoken(backend, run, name) if name == "unresponsive" else 0.0
            judge.condition(run.id, name, name in wanted, wanted.get(name, ""), after)
            written += 1
    return written


def _spoken(backend: Backend, run: Run, name: str) -> float:
    """When the condition was last spoken of: by a clock that may have been set back since, or another host's."""
    return max(
        (event["at"] for event in backend.events(run.id) if event.get("condition") == name), default=0.0
    )


def conditions_of(
    run: Run,
    check: dict[str, Any],
    now: float,
    mute: dict[str, float],
    last_activity: Any,
    wall: float = inf,
) -> dict[str, str]:
    """The conditions that a live run should have, each with its reason. `last_activity()` is asked where needed.

    `now` is when it is by the clock that the run started by, `wall` what the wall clock says; where one of them was
    set meanwhile, nobody is stalled by that alone.
    """
    wanted: dict[str, str] = {}
    if run.journal in mute and (run.parent_id is None or run.kind != "task"):
        wanted["unresponsive"] = (
            f"its process lives but has not said a word for {format_duration(mute[run.journal])}"
        )
    if run.started_at is None:
        return wanted
    if (bound := check.get("bound")) is not None and now - run.started_at > bound[0]:
        wanted["overdue"] = bound[1]
    patience = check.get("stall_after")
    sure = min(now, wall)
    if patience is not None and sure - run.active_at > patience and sure - last_activity() > patience:
        wanted["stalled"] = f"no progress, line or step for {format_duration(patience)}"
    return wanted


def last_activity(backend: Backend, run: Run) -> float:
    """Unix seconds of the newest event or line of the run's tree, as far as its open and newest descendants tell."""
    family = backend.runs(RunQuery(root_id=run.root_id, states=OPEN, limit=1000))
    family += backend.runs(RunQuery(root_id=run.root_id, limit=1))
    lines = backend.logs(LogQuery(run.id, limit=1, last=True))
    return max([run.active_at, *(each.active_at for each in family), *(line.at for line in lines)])


def _is_mute(each: Live, silence: dict[str, float]) -> bool:
    beat = each.header.get("heartbeat")
    return isinstance(beat, int | float) and beat > 0 and silence.get(each.journal, 0.0) > MISSED_BEATS * beat
