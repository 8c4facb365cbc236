"""History turned into figures: how each job did, whether each is well now, what `prune` would forget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from glob import escape
from typing import Any

from attrs import evolve, frozen

from ..backends.base import Backend
from ..backends.clock import rfc3339
from ..backends.ledger import Entry, Evidence, completeness, decide, lateness
from ..backends.queries import Retention, RunQuery
from ..backends.records import JobSummary, Json
from ..backends.states import ENDINGS, FAILURES
from ..backends.verdicts import UNJUDGED, Expectation, JobRecord, Problem, Turn, Verdict, judge, turns
from . import jobs, ledgers
from .jobs import Registered
from .settings import Settings
from .watchdog.gaps import unwatched

NO_ATTEMPT = ("SKIPPED", "CANCELLED")  # endings that say nothing about whether the job can succeed


@frozen
class JobReport:
    """One job over the period. Rates are 0..1, durations seconds; None where there is nothing to measure.

    `success_rate`: COMPLETED among the ended runs, SKIPPED and CANCELLED ones aside.
    `completeness`: expected times that were answered by a run, since the job's first run.
    `lateness_p50_seconds`: median from expected time to start. `turns`: what became of each expected time, in order.
    """

    figures: JobSummary
    success_rate: float | None
    completeness: float | None
    lateness_p50_seconds: float | None
    turns: tuple[Entry, ...] = ()

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
    said = jobs.registered(backend)
    found = tuple(_job_report(backend, checks, said, query, figures) for figures in backend.summarize(query))
    return Report(query.since, query.until, found)


def _job_report(
    backend: Backend,
    checks: Mapping[str, Any],
    registered: Mapping[str, Registered],
    query: RunQuery,
    figures: JobSummary,
) -> JobReport:
    counts = figures.by_state
    tried = sum(count for state, count in counts.items() if state in ENDINGS and state not in NO_ATTEMPT)
    last = backend.run(figures.last["id"])
    said = registered.get(jobs.key_of(figures.project, figures.name))
    expected, _ = jobs.usable(last, checks.get(figures.name), said)
    kept = _kept(backend, expected, query, figures)
    return JobReport(
        figures=figures,
        success_rate=counts.get("COMPLETED", 0) / tried if tried else None,
        completeness=completeness(kept),
        lateness_p50_seconds=lateness(kept),
        turns=tuple(kept),
    )


def _kept(backend: Backend, expected: Expectation, query: RunQuery, figures: JobSummary) -> list[Entry]:
    """How the job kept its schedule in the period, or since its first run where that came later: by the ledger as far
    as it goes, before it by the runs alone, after it by the runs and by when somebody watched."""
    since, until = query.since or 0.0, query.until or 0.0
    if expected.schedule is None:
        return []
    of_job = _of(figures, query.roots)
    runs = backend.runs(RunQuery(**of_job, since=since, until=until, limit=None))[::-1]
    starts = [run.created_at for run in runs]
    if starts and not backend.runs(RunQuery(**of_job, until=since, limit=1)):
        since = max(since, starts[0] - expected.grace)
    key = jobs.key_of(figures.project, figures.name)
    head = ledgers.head(backend, key) if query.roots else None
    if head is None:
        return [_entry(turn, expected) for turn in turns(expected, starts, since, until)]
    kept = [_entry(turn, expected) for turn in turns(expected, starts, since, min(until, head.since))]
    kept += ledgers.entries(backend, key, max(since, kept[-1].expected_at + 0.001 if kept else since), until)
    skipped = frozenset(run.created_at for run in runs if run.state == "SKIPPED")
    evidence = Evidence(tuple(starts), skipped, tuple(unwatched(backend, until)))
    newest, _, _ = decide(expected, evidence, max(since, head.until), until, until)
    return kept + newest


def _entry(turn: Turn, expected: Expectation) -> Entry:
    if turn.started_at is None:
        return Entry(turn.expected_at, "missed")
    late = turn.started_at > turn.expected_at + expected.grace
    return Entry(turn.expected_at, "late" if late else "on_time", turn.started_at)


def _of(figures: JobSummary, roots: bool) -> Json:
    return {"project": figures.project, "job": escape(figures.name), "kinds": (figures.kind,), "roots": roots}


def _last(last: Json) -> Json:
    return {**last, "created_at": rfc3339(last["created_at"])}


# --- is every job well? -------------------------------------------------------------------------------------


@frozen
class JobStatus:
    """A job, what was recorded of it, and what is to be said about it. `zone` is its schedule's (None: the host's)."""

    record: JobRecord
    schedule: str | None
    verdict: Verdict
    zone: str | None = None

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

    `job` is a shell pattern. A job that has never run is expected from when its check was written down.
    Raises ScheduleError where an expectation does not parse.
    """
    said = jobs.registered(backend)
    named = {(settings.project, name) for name in settings.checks}
    named |= {(each.project, each.job) for each in said.values() if each.check}
    wanted = {each for each in named if job is None or fnmatchcase(each[1], job)}
    found = backend.summarize(RunQuery(roots=True, since=since, job=job))
    found += [
        old
        for name in sorted(_unseen(wanted, found))
        for old in backend.summarize(RunQuery(roots=True, project=name[0], job=escape(name[1])))
    ]
    kinds = [(figures.project, figures.name, figures.kind) for figures in found]
    kinds += [(*name, "") for name in _unseen(wanted, found)]
    return [_status(backend, settings, said, each, now) for each in sorted(kinds)]


def _unseen(named: set[tuple[str, str]], found: list[JobSummary]) -> set[tuple[str, str]]:
    """Those that did not run; a check in the settings is about a job of this name in any project."""
    return {each for each in named if not any(figures.name == each[1] for figures in found)}


def _status(
    backend: Backend,
    settings: Settings,
    said: Mapping[str, Registered],
    which: tuple[str, str, str],
    now: float,
) -> JobStatus:
    project, name, kind = which
    key, configured = jobs.key_of(project, name), settings.checks.get(name)
    of: Json = {"kinds": (kind,)} if kind else {}
    newest = backend.runs(evolve(jobs.newest_of(project, name), **of))
    last, mine = (newest[0] if newest else None), said.get(key)
    expected, wrong = jobs.usable(last, configured, mine)
    head = ledgers.head(backend, key) if expected.schedule else None
    since = 0.0 if last else jobs.declared_since(settings, name, mine, now)
    record = jobs.record_of(backend, project, name, expected, mine, head.since if head else since, **of)
    text = expected.schedule.text if expected.schedule else None
    zone = expected.schedule.timezone if expected.schedule else None
    verdict = judge(record, expected, now)
    if wrong and last:
        verdict = evolve(
            verdict, problems=(*verdict.problems, Problem(UNJUDGED, wrong, last.id, last.created_at))
        )
    return JobStatus(record, text, verdict, zone)


def status_of(backend: Backend, settings: Settings, project: str, name: str, now: float) -> JobStatus | None:
    """As `status`, of one job; None where it neither ran nor is expected to."""
    newest, said = backend.runs(jobs.newest_of(project, name)), jobs.registered(backend)
    if not newest and name not in settings.checks and jobs.key_of(project, name) not in said:
        return None
    return _status(backend, settings, said, (project, name, newest[0].kind if newest else ""), now)


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
