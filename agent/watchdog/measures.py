"""All that monitoring systems are told: of jobs, slots, alerts and watchdogs, as families of samples.

Labels are bounded: at most JOBS jobs (those that ran last), and per job only states and events, of which there is a
fixed number. No run id, host of a run or parameter is ever a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from ... import __version__
from ...backends.base import Backend
from ...backends.errors import StorageError
from ...backends.records import Json, Run
from ..exposition import COUNTER, GAUGE, HISTOGRAM, Distribution, Family, Labels, Sample
from ..occupancy import occupancy
from ..reports import JobStatus, status
from ..settings import Settings
from . import outbox, pulse
from .counting import BOUNDS, JOBS, Ended, count, counted
from .incidents import open_incidents

HOSTS = 200  # watchdogs that are told of


def measures(store: Backend, settings: Settings, now: float, project: str | None = None) -> list[Family]:
    """Every family as of `now` (Unix seconds). With a `project`, what is of its jobs alone. Raises StorageError,
    ScheduleError."""
    ended = [each for each in _counts(store, now) if project in (None, each.project)]
    known = [each for each in status(store, settings, now) if project in (None, each.record.project)]
    shown = sorted(known, key=_last_start, reverse=True)[:JOBS]
    families = [*_of_ends(ended), *_of_jobs(shown, now), _left_out(len(known) - len(shown))]
    if project is None:
        families += [*_of_slots(store, settings), *_of_alerts(store), *_of_watchdogs(store, now)]
    return [*families, gauge("holter_build_info", "The version of Holter.", [(1, {"version": __version__})])]


def _counts(store: Backend, now: float) -> list[Ended]:
    try:
        return count(store, now)
    except StorageError:  # whoever may only read a store is told what others counted
        return counted(store)


def gauge(name: str, said: str, values: Iterable[tuple[float | None, Labels]]) -> Family:
    """A family of those values that are not None."""
    return Family(name, GAUGE, said, tuple(Sample(value, of) for value, of in values if value is not None))


def _last_start(job: JobStatus) -> float:
    return job.record.last.created_at if job.record.last else 0.0


def _left_out(number: int) -> Family:
    said = f"Jobs that are not shown, since {JOBS} others ran later."
    return gauge("holter_jobs_left_out", said, [(number, {})])


# --- jobs ----------------------------------------------------------------------------------------------------


def _of_ends(ended: list[Ended]) -> Iterator[Family]:
    since = min((each.since for each in ended), default=0.0)
    counts = (
        Sample(number, {**_of(each.project, each.job, each.kind), "state": state.lower()})
        for each in ended
        for state, number in sorted(each.states.items())
    )
    said = "Root runs that ended, by state, since counting began."
    yield Family("holter_runs_ended_total", COUNTER, said, tuple(counts), since)
    spans = (
        Sample(Distribution(BOUNDS, tuple(each.spans), each.seconds), _of(each.project, each.job, each.kind))
        for each in ended
        if any(each.spans)
    )
    said = "How long completed runs took, in seconds."
    yield Family("holter_run_duration_seconds", HISTOGRAM, said, tuple(spans), since)


def _of(project: str, job: str, kind: str) -> dict[str, str]:
    return {"project": project, "job": job, "kind": kind}


def _labels(job: JobStatus) -> dict[str, str]:
    return _of(job.record.project, job.record.name, job.record.last.kind if job.record.last else "")


def _of_jobs(jobs: list[JobStatus], now: float) -> Iterator[Family]:
    named = [(job, _labels(job)) for job in jobs]
    yield gauge(
        "holter_job_well",
        "1 where all is as expected of the job, else 0.",
        [(int(job.well), of) for job, of in named],
    )
    yield gauge(
        "holter_job_problem",
        "1 for each thing that is wrong with a job now.",
        [(1, {**of, "event": event}) for job, of in named for event in sorted(_events(job))],
    )
    yield gauge(
        "holter_runs_open",
        "Root runs that have not ended, by state.",
        [(number, {**of, "state": state}) for job, of in named for state, number in _live(job)],
    )
    yield gauge(
        "holter_job_last_start_timestamp_seconds",
        "When the newest run was started.",
        [(_last_start(job) or None, of) for job, of in named],
    )
    yield gauge(
        "holter_job_last_success_timestamp_seconds",
        "When a run last completed.",
        [(_end(job.record.completed), of) for job, of in named],
    )
    yield gauge(
        "holter_job_last_duration_seconds",
        "How long the last run that completed took.",
        [(_took(job.record.completed), of) for job, of in named],
    )
    yield gauge(
        "holter_job_next_start_timestamp_seconds",
        "When the job should start next.",
        [(job.verdict.next_at, of) for job, of in named],
    )
    yield gauge(
        "holter_job_lateness_seconds",
        "For how long a run has been expected that is not there; 0 where none is.",
        [(_lateness(job, now), of) for job, of in named if job.schedule is not None],
    )


def _events(job: JobStatus) -> set[str]:
    return {each.event for each in job.verdict.problems}


def _live(job: JobStatus) -> list[tuple[str, int]]:
    return sorted(Counter(run.state.lower() for run in job.record.live).items())


def _end(run: Run | None) -> float | None:
    return None if run is None else run.ended_at or run.created_at


def _took(run: Run | None) -> float | None:
    return None if run is None else run.duration_seconds


def _lateness(job: JobStatus, now: float) -> float:
    """Since when a turn is open beyond its grace."""
    for each in job.verdict.problems:
        if each.event in ("late", "missed"):
            expected = datetime.fromisoformat(str(each.details["expected_at"])).timestamp()
            return round(max(0.0, now - expected), 3)
    return 0.0


# --- all the rest --------------------------------------------------------------------------------------------


def _of_slots(store: Backend, settings: Settings) -> Iterator[Family]:
    found = occupancy(settings.home, settings.limits, store)
    named = [(each, {"limit": each.limit, "scope": each.scope}) for each in found[:JOBS]]
    yield gauge("holter_slots", "Places that a limit has.", [(each.slots, of) for each, of in named])
    yield gauge(
        "holter_slots_held",
        "Places that are held.",
        [
            (sum(1 if each.scope == "host" else place.occupy or 1 for place in each.holders), of)
            for each, of in named
        ],
    )
    yield gauge(
        "holter_slots_waiting", "Who waits for places.", [(len(each.waiters), of) for each, of in named]
    )


def _of_alerts(store: Backend) -> Iterator[Family]:
    docs = [held.value for _, held in store.list(outbox.ALERT)]
    events = Counter(str(doc["alert"]["event"]) for doc in docs if doc.get("open"))
    yield gauge(
        "holter_alerts_open",
        "Alerts about trouble that lasts, by event.",
        [(number, {"event": event}) for event, number in sorted(events.items())],
    )
    states = Counter(str(doc["state"]) for doc in docs)
    yield gauge(
        "holter_alerts_unsent",
        "Alerts that are not sent: pending ones wait for their channel, undelivered ones were taken by none.",
        [(states[state], {"state": state}) for state in ("pending", "undelivered")],
    )
    incidents = Counter(each.event for each in open_incidents(store))
    yield gauge(
        "holter_incidents_open",
        "What is wrong and is no run, by event.",
        [(number, {"event": event}) for event, number in sorted(incidents.items())],
    )
    broken = len(outbox.broken_channels(store))
    yield gauge("holter_channels_broken", "Channels whose last delivery failed.", [(broken, {})])


def _of_watchdogs(store: Backend, now: float) -> Iterator[Family]:
    pulses = sorted((held.value for _, held in store.list(pulse.KIND)), key=lambda each: -each["at"])[:HOSTS]
    named = [(each, {"host": str(each["host"])}) for each in pulses]
    yield gauge(
        "holter_watchdog_up",
        "1 where a watchdog watches, 0 where it stopped or fell silent.",
        [(int(not pulse.stale(each, now)), of) for each, of in named],
    )
    yield gauge(
        "holter_watchdog_pulse_timestamp_seconds",
        "When a watchdog last gave a sign of life.",
        [(each["at"], of) for each, of in named],
    )
    passes: list[tuple[Json, Labels]] = [(each.get("passes") or {}, of) for each, of in named]
    yield gauge(
        "holter_watchdog_pass_seconds",
        "How long its last pass took.",
        [(each.get("seconds"), of) for each, of in passes],
    )
    yield gauge(
        "holter_watchdog_failing_steps",
        "How many of its steps fail.",
        [(len(each.get("errors") or {}), of) for each, of in passes],
    )
    yield gauge(
        "holter_watchdog_journals",
        "Live processes that it watches.",
        [(each.get("journals"), of) for each, of in passes],
    )
