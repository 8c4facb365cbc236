"""The ledger of expected times in a store: one document for each job and UTC day, and one for the job itself.

Whoever watches writes it, by compare-and-set; writing the same again changes nothing, so restarts and several watchdogs
are harmless. A stretch of at most a day is done at a time: after a week of downtime it is caught up with in bounded
steps. Evidence that arrives up to seven days late corrects what was written.
"""

from __future__ import annotations

from glob import escape

from attrs import asdict, evolve, frozen

from ..backends import ledger
from ..backends.base import Backend, Registry
from ..backends.clock import rfc3339
from ..backends.expected import EARLY, Expectation
from ..backends.ledger import DAY, Entry, Evidence, Span, day_of
from ..backends.queries import RunQuery
from .jobs import key_of

HEAD = "ledger"  # kind of document: since when a schedule holds, and up to when its ledger is written
PAGE = "ledger_day"
BEGUN = ("ledger", "")  # when the first watchdog of this store began: before, nobody watched
CORRECTED = 7 * DAY  # how late evidence may arrive
KEPT = 100 * DAY


@frozen
class Head:
    """A job's schedule, since when it holds, and up to when all its turns have an outcome (Unix seconds)."""

    schedule: str
    timezone: str | None
    since: float
    until: float


@frozen
class Job:
    """Whose ledger it is, what is expected, and when it was paused."""

    project: str
    name: str
    expected: Expectation
    pauses: tuple[Span, ...] = ()

    @property
    def key(self) -> str:
        return key_of(self.project, self.name)


def begun(store: Registry, now: float) -> float:
    """When the first watchdog of this store began; now, if this is it."""
    store.put(*BEGUN, {"at": now}, 0)
    held = store.get(*BEGUN)
    return float(held.value["at"]) if held else now


def head(store: Registry, key: str) -> Head | None:
    held = store.get(HEAD, key)
    return Head(**held.value) if held else None


def opened(store: Backend, job: Job, since: float | None, now: float) -> Head | None:
    """The job's head, for the schedule that holds now; None without one. A schedule that is new begins `since` then
    (None: with the run that taught it to us, a week back at most), one that was changed begins now."""
    schedule = job.expected.schedule
    if schedule is None:
        return None
    held = store.get(HEAD, job.key)
    if held and (held.value["schedule"], held.value["timezone"]) == (schedule.text, schedule.timezone):
        return Head(**held.value)
    start = now if held else _beginning(store, job, now) if since is None else max(since, now - CORRECTED)
    store.put(
        HEAD,
        job.key,
        asdict(Head(schedule.text, schedule.timezone, start, start)),
        held.version if held else 0,
    )
    return head(store, job.key)


def _beginning(store: Backend, job: Job, now: float) -> float:
    """The turn that the first run of the last week answered, or that run."""
    mine = _mine(job, now - CORRECTED, None)
    count = sum(each.runs for each in store.summarize(mine))
    first = store.runs(evolve(mine, limit=1, offset=max(0, count - 1)))
    if not first or job.expected.schedule is None:
        return now
    at = first[0].created_at
    turn = None if job.expected.period else job.expected.schedule.last_before(at + EARLY)
    return at if turn is None or at > turn + job.expected.grace else turn - 0.001


def redo_from(store: Backend, job: Job, top: Head, created_at: float, now: float) -> float:
    """From where on to write, when something is new of a run that was created at that time (Unix seconds)."""
    return max(top.since, now - CORRECTED, min(top.until, _before(store, job, created_at)))


def write(
    store: Backend, job: Job, unwatched: tuple[Span, ...], now: float, since: float
) -> tuple[float | None, float | None]:
    """Write one stretch of the ledger, from `since` on, and answer from where on more is to be done at once, and if
    nothing, when the next outcome is due (Unix seconds)."""
    until = min(now, day_of(since) + DAY)
    evidence = _evidence(store, job, since, until, unwatched)
    entries, done, due = ledger.decide(job.expected, evidence, since, until, now)
    if not _file(store, job, entries, since, done, evidence):
        return since, None
    held = store.get(HEAD, job.key)
    if held and held.value["until"] < done:
        store.put(HEAD, job.key, {**held.value, "until": done}, held.version)
    if due is None and until < now:
        return until, None
    return None, due if due is not None else _due(job, evidence, until)


def _due(job: Job, evidence: Evidence, until: float) -> float | None:
    started = max((at for at in evidence.starts if at <= until), default=None)
    turn = job.expected.first_turn(started if job.expected.period else None, until)
    return None if turn is None else turn + job.expected.grace


def _before(store: Backend, job: Job, at: float) -> float:
    """A moment just before the turn that a start at `at` answers, if it answers one."""
    schedule = job.expected.schedule
    if schedule is None or job.expected.period is not None:
        last = store.runs(_mine(job, None, at, limit=1))
        return last[0].created_at if last else at - (job.expected.period or 0.0)
    turn = schedule.last_before(at + EARLY)
    return at if turn is None else turn - 0.001


def _evidence(store: Backend, job: Job, since: float, until: float, unwatched: tuple[Span, ...]) -> Evidence:
    ends = job.expected.following(until) or until
    runs = store.runs(_mine(job, since - EARLY, ends, limit=None))
    if job.expected.period is not None:
        runs += store.runs(_mine(job, None, since, limit=1))
    starts = sorted({run.created_at for run in runs})
    idle = frozenset(run.created_at for run in runs if run.state == "SKIPPED")
    done = {run.created_at for run in runs if run.state != "SKIPPED"}
    return Evidence(tuple(starts), idle - done, unwatched, job.pauses)


def _mine(job: Job, since: float | None, until: float | None, limit: int | None = None) -> RunQuery:
    return RunQuery(
        project=job.project, job=escape(job.name), roots=True, since=since, until=until, limit=limit
    )


def _file(
    store: Registry, job: Job, entries: list[Entry], since: float, until: float, evidence: Evidence
) -> bool:
    """Put the entries into the pages of their days; False where somebody was faster on one of them."""
    day = day_of(since)
    while day <= until:
        mine = [each for each in entries if day <= each.expected_at < day + DAY]
        held = store.get(PAGE, _page(job.key, day))
        old = ledger.unpack(held.value) if held else []
        new = ledger.merge(old, mine, since, until, evidence.starts)
        if (
            new != old
            and store.put(PAGE, _page(job.key, day), ledger.pack(new, day), held.version if held else 0)
            is None
        ):
            return False
        if held is None and new:
            _forget(store, _page(job.key, day - KEPT))
        day += DAY
    return True


def _page(key: str, day: float) -> str:
    return f"{key}~{str(rfc3339(day))[:10]}"


def _forget(store: Registry, page: str) -> None:
    if (held := store.get(PAGE, page)) is not None:
        store.delete(PAGE, page, held.version)


def entries(store: Registry, key: str, since: float, until: float) -> list[Entry]:
    """The outcomes of the turns from `since` on and before `until`, in order."""
    found: list[Entry] = []
    day = day_of(max(since, until - KEPT))
    while day < until:
        if (held := store.get(PAGE, _page(key, day))) is not None:
            found += [each for each in ledger.unpack(held.value) if since <= each.expected_at < until]
        day += DAY
    return found
