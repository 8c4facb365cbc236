"""History turned into figures: how each job did, whether each is well now, what `prune` would forget."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from glob import escape
from typing import Any

from attrs import frozen

from ..backends.base import Backend
from ..backends.clock import rfc3339
from ..backends.fold import ENDINGS, OPEN
from ..backends.records import JobSummary, Json, Retention, Run, RunQuery
from ..backends.verdicts import (
    FAILURES,
    Expectation,
    JobRecord,
    Turn,
    Verdict,
    completeness,
    judge,
    lateness,
    turns,
)
from .settings import Settings

NO_ATTEMPT = ("SKIPPED", "CANCELLED")  # endings that say nothing about whether the job can succeed
SAYING = tuple(state for state in ENDINGS if state != "SKIPPED")  # endings that say how a job is


@frozen
class JobReport:
    """One job over the period. Rates are 0..1, durations seconds; None where there is nothing to measure.

    `success_rate`: COMPLETED among the ended runs, SKIPPED and CANCELLED ones aside.
    `completeness`: expected times that were answered by a run, since the job's first run.
    `lateness_p50_seconds`: median from expected time to start.
    """

    figures: JobSummary
    success_rate: float | None
    completeness: float | None
    lateness_p50_seconds: float | None

    def to_json(self) -> Json:
        figures = self.figures
        return {
            "name": figures.name,
            "project": figures.project,
            "kind": figures.kind,
            "runs": figures.runs,
            "by_state": figures.by_state,
            "success_rate": self.success_rate,
            "completeness": self.completeness,
            "duration_p50_seconds": figures.duration_p50_seconds,
            "duration_p95_seconds": figures.duration_p95_seconds,
            "lateness_p50_seconds": self.lateness_p50_seconds,
            "last": _last(figures.last),
        }


@frozen
class Report:
    """All jobs that ran from `since` to `until` (Unix seconds)."""

    since: float
    until: float
    jobs: tuple[JobReport, ...]

    def to_json(self) -> Json:
        return {
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "jobs": [job.to_json() for job in self.jobs],
        }


def report(backend: Backend, checks: Mapping[str, Any], query: RunQuery) -> Report:
    """Figures of the runs that `query` selects; it names `since` and `until`. `checks` are the settings' own.

    Raises ScheduleError where an expectation does not parse.
    """
    if query.since is None or query.until is None:
        raise ValueError("a report has a beginning and an end")
    jobs = tuple(_job_report(backend, checks, query, figures) for figures in backend.summarize(query))
    return Report(query.since, query.until, jobs)


def _job_report(
    backend: Backend, checks: Mapping[str, Any], query: RunQuery, figures: JobSummary
) -> JobReport:
    counts = figures.by_state
    tried = sum(count for state, count in counts.items() if state in ENDINGS and state not in NO_ATTEMPT)
    last = backend.run(figures.last["id"])
    expected = Expectation.of(last.check if last else None, checks.get(figures.name))
    kept = _kept(backend, expected, query, figures)
    return JobReport(
        figures=figures,
        success_rate=counts.get("COMPLETED", 0) / tried if tried else None,
        completeness=completeness(kept),
        lateness_p50_seconds=lateness(kept),
    )


def _kept(backend: Backend, expected: Expectation, query: RunQuery, figures: JobSummary) -> list[Turn]:
    """How the job kept its schedule in the period, or since its first run where that came later."""
    since, until = query.since or 0.0, query.until or 0.0
    if expected.schedule is None:
        return []
    of_job = _of(figures, query.roots)
    starts = [
        run.created_at for run in backend.runs(RunQuery(**of_job, since=since, until=until, limit=None))
    ][::-1]
    if starts and not backend.runs(RunQuery(**of_job, until=since, limit=1)):
        since = max(since, starts[0] - expected.grace)
    return turns(expected, starts, since, until)


def _of(figures: JobSummary, roots: bool) -> Json:
    return {"project": figures.project, "job": escape(figures.name), "kinds": (figures.kind,), "roots": roots}


def _last(last: Json) -> Json:
    return {**last, "created_at": rfc3339(last["created_at"])}


# --- is every job well? -------------------------------------------------------------------------------------


@frozen
class JobStatus:
    """A job, what was recorded of it, and what is to be said about it."""

    record: JobRecord
    schedule: str | None
    verdict: Verdict

    @property
    def well(self) -> bool:
        return self.verdict.well

    def to_json(self) -> Json:
        run, verdict = self.record.last, self.verdict
        return {
            "name": self.record.name,
            "project": self.record.project,
            "well": self.well,
            "problems": [
                {"event": each.event, "reason": each.reason, "run_id": each.run_id}
                for each in verdict.problems
            ],
            "schedule": self.schedule,
            "next_at": rfc3339(verdict.next_at),
            "last": run
            and {
                "id": run.id,
                "state": run.state,
                "conditions": list(run.conditions),
                "created_at": rfc3339(run.created_at),
                "duration_seconds": run.duration_seconds,
            },
        }


def status(
    backend: Backend, settings: Settings, now: float, *, since: float = 0.0, job: str | None = None
) -> list[JobStatus]:
    """Expectation against reality, per job with a root run created after `since` or a check in the settings.

    `job` is a shell pattern. A job that has never run is expected from the time of the settings file on.
    Raises ScheduleError where an expectation does not parse.
    """
    wanted = [name for name in settings.checks if job is None or fnmatchcase(name, job)]
    found = backend.summarize(RunQuery(roots=True, since=since, job=job))
    found += [
        old
        for name in _unseen(wanted, found)
        for old in backend.summarize(RunQuery(roots=True, job=escape(name)))
    ]
    live = backend.runs(RunQuery(states=OPEN, roots=True, limit=None))
    records = [_record(backend, figures, live) for figures in found]
    written_at = os.stat(settings.config).st_mtime if settings.config else now
    records += [JobRecord(name, settings.project, since=written_at) for name in _unseen(wanted, found)]
    return [
        _status(record, settings.checks, now)
        for record in sorted(records, key=lambda each: (each.project, each.name))
    ]


def _unseen(names: list[str], found: list[JobSummary]) -> list[str]:
    seen = {figures.name for figures in found}
    return [name for name in names if name not in seen]


def _status(record: JobRecord, checks: Mapping[str, Any], now: float) -> JobStatus:
    declared, configured = record.last.check if record.last else None, checks.get(record.name)
    text = getattr(configured, "schedule", None) or (declared or {}).get("schedule")
    return JobStatus(record, text, judge(record, Expectation.of(declared, configured), now))


def _record(backend: Backend, figures: JobSummary, live: list[Run]) -> JobRecord:
    last = backend.run(figures.last["id"])
    ended = last if last and last.state in SAYING else _newest(backend, figures, SAYING)
    completed = ended if ended and ended.state == "COMPLETED" else _newest(backend, figures, ("COMPLETED",))
    return JobRecord(
        name=figures.name,
        project=figures.project,
        last=last,
        ended=ended,
        completed=completed,
        live=tuple(
            run
            for run in live
            if (run.project, run.name, run.kind) == (figures.project, figures.name, figures.kind)
        ),
        since=completed.created_at if completed else _oldest(backend, figures),
    )


def _newest(backend: Backend, figures: JobSummary, states: tuple[str, ...]) -> Run | None:
    found = backend.runs(RunQuery(**_of(figures, True), states=states, limit=1))
    return found[0] if found else None


def _oldest(backend: Backend, figures: JobSummary) -> float:
    found = backend.runs(RunQuery(**_of(figures, True), limit=1, offset=figures.runs - 1))
    return found[0].created_at if found else float(figures.last["created_at"])


# --- what prune would forget --------------------------------------------------------------------------------


def forecast(backend: Backend, retention: Retention) -> int:
    """How many root runs `prune(retention)` would remove (fewer where a task of an ended run still lives)."""
    return sum(
        count for _, count in _doomed(backend, retention.runs_before, lambda state: state not in FAILURES)
    ) + sum(
        count - _last_failure_is_before(backend, job, retention.failures_before)
        for job, count in _doomed(backend, retention.failures_before, lambda state: state in FAILURES)
    )


def _doomed(backend: Backend, before: float, of: Any) -> Iterator[tuple[tuple[str, str], int]]:
    counts: dict[tuple[str, str], int] = {}
    for figures in backend.summarize(RunQuery(roots=True, until=before)):
        ended = sum(count for state, count in figures.by_state.items() if state in ENDINGS and of(state))
        counts[figures.project, figures.name] = counts.get((figures.project, figures.name), 0) + ended
    return ((job, count) for job, count in counts.items() if count)


def _last_failure_is_before(backend: Backend, job: tuple[str, str], before: float) -> bool:
    """Whether the job's last failure is among those before: that one is kept."""
    later = RunQuery(project=job[0], job=escape(job[1]), states=FAILURES, roots=True, since=before, limit=1)
    return not backend.runs(later)
