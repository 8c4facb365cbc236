"""What `holter top` shows at one moment, and how it is read from a store."""

from __future__ import annotations

from collections.abc import Mapping
from glob import escape
from statistics import median

from attrs import evolve, field, frozen

from ...backends.base import Backend
from ...backends.clock import rfc3339
from ...backends.queries import RunQuery
from ...backends.records import Json, Run
from ...backends.states import ENDINGS, OPEN
from ..identity import host
from ..lookup import steps_now
from ..occupancy import Occupancy, occupancy
from ..settings import Settings
from ..watchdog import outbox, pulse
from ..watchdog.incidents import open_incidents
from .tables import lasting
from .text import line

LIVE = 200  # live runs that are looked at, the newest
RECENT = 50  # ended ones
SAMPLE = 20  # newest runs of a job, whose median is what is usual
KEPT = 60.0  # seconds for which that holds


@frozen
class Flow:
    """A run on the screen. `progress` is its own or that of the step that last told of its, as recorded. `usual` is the
    median duration in seconds of the job's newest completed runs, None where there is none. `waits` is the limit for
    whose slot it waits, "" if for none."""

    run: Run
    progress: Json | None = None
    usual: float | None = None
    waits: str = ""


@frozen
class Trouble:
    """An alert or incident that lasts `since` (Unix seconds); `about` is a job, host or limit."""

    event: str
    about: str
    reason: str
    since: float


@frozen
class Picture:
    """A store at `now` (Unix seconds): live runs, the longest-running last; ended ones, newest first; limits; trouble,
    oldest first. `more` is how many live runs are not among `live`. `unwatched` says that nobody watches, None where
    somebody does. `stale` is why the store could not be read since."""

    now: float
    host: str
    store: str
    live: tuple[Flow, ...] = ()
    recent: tuple[Flow, ...] = ()
    limits: tuple[Occupancy, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    states: Mapping[str, str] = field(factory=dict)
    unwatched: str | None = None
    watcher: str = ""
    more: int = 0
    stale: str = ""

    def to_json(self) -> Json:
        """Times as RFC 3339, durations in seconds."""
        return {
            "at": rfc3339(self.now),
            "host": self.host,
            "store": self.store,
            "watched": self.unwatched is None,
            "live": [_json(each, self.now) for each in self.live],
            "recent": [_json(each, self.now) for each in self.recent],
            "slots": [each.to_json(self.now, self.states) for each in self.limits],
            "alerts": [
                {
                    "event": each.event,
                    "about": each.about,
                    "reason": each.reason,
                    "since": rfc3339(each.since),
                }
                for each in self.troubles
            ],
        }


def _json(flow: Flow, now: float) -> Json:
    run = flow.run.to_json()
    keys = "id name run_name kind project state conditions attempt host started_at ended_at".split()
    return {
        **{key: run[key] for key in keys},
        "elapsed_seconds": lasting(flow.run, now),
        "usual_seconds": flow.usual,
        "progress": flow.progress and {key: flow.progress.get(key) for key in ("done", "total", "text")},
        "waits_for": flow.waits or None,
    }


class Observer:
    """Takes pictures of one store; what is usual is asked once a minute for each job."""

    def __init__(self, settings: Settings, store: Backend, query: RunQuery) -> None:
        self._settings = settings
        self._store = store
        self._query = query
        self._usual: dict[tuple[str, str, str], tuple[float, float | None]] = {}

    def look(self, now: float) -> Picture:
        """Raises StorageError."""
        store = self._store
        live = store.runs(evolve(self._query, states=OPEN, limit=LIVE + 1))
        recent = store.runs(evolve(self._query, states=ENDINGS, limit=RECENT))
        found = occupancy(self._settings.home, self._settings.limits, store)
        waiting = {place.run_id: each.limit for each in found for place in each.waiters}
        steps = steps_now(store, live)
        seen = pulse.latest(store)
        return Picture(
            now,
            host(),
            store.url,
            live=tuple(self._flow(run, steps, waiting, now) for run in live[:LIVE]),
            recent=tuple(Flow(run, usual=self._usually(run, now)) for run in recent),
            limits=tuple(found),
            troubles=tuple(troubles(store)),
            unwatched=pulse.warning(store, now),
            watcher=str(seen["host"]) if seen else "",
            more=max(0, len(live) - LIVE),
        )

    def _flow(
        self, run: Run, steps: Mapping[str, Run], waiting: Mapping[str | None, str], now: float
    ) -> Flow:
        progress = run.progress or steps.get(run.id, run).progress
        held = next((limit for run_id, limit in waiting.items() if _inside(run_id, run.id)), "")
        return Flow(run, progress, self._usually(run, now), held)

    def _usually(self, run: Run, now: float) -> float | None:
        key = (run.project, run.name, run.kind)
        if key not in self._usual or now - self._usual[key][0] > KEPT:
            query = RunQuery(project=run.project, job=escape(run.name), kinds=(run.kind,))
            jobs = self._store.newest(query, SAMPLE)
            spent = [
                each["duration_seconds"]
                for job in jobs
                for each in job.runs
                if each["state"] == "COMPLETED" and each["duration_seconds"] is not None
            ]
            self._usual[key] = (now, median(spent) if spent else None)
        return self._usual[key][1]


def _inside(run_id: str | None, root: str) -> bool:
    return run_id is not None and (run_id == root or run_id.startswith(f"{root}."))


def troubles(store: Backend) -> list[Trouble]:
    """Incidents and alerts that last, each once, oldest first. Raises StorageError."""
    found = {
        each.key: Trouble(each.event, line(each.job or each.host or ""), line(each.reason), each.since)
        for each in open_incidents(store)
    }
    for held in outbox.still_open(store).values():
        alert = held["alert"]
        about = alert.get("job") or alert.get("host") or ""
        said = Trouble(alert["event"], line(about), line(alert.get("reason") or ""), float(held["since"]))
        found.setdefault(alert["dedupe_key"], said)
    return sorted(found.values(), key=lambda each: each.since)
