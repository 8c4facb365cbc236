"""A report as one page of HTML that may be sent around: style and pictures inside, no script, nothing loaded.

Two models, and the page is drawn from them alone. `Figures` is what anybody may see: names of jobs and projects,
states, counts and durations. `Private` has what only those may see who run the jobs: what is wrong in words, and why
runs failed. A public page is drawn without the second, so that it cannot leak what it does not have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from glob import escape as plain
from html import escape
from pathlib import Path

from attrs import evolve, frozen

from ..backends.base import Backend
from ..backends.clock import rfc3339, token
from ..backends.errors import HolterError
from ..backends.queries import RunQuery
from ..backends.records import Bucket, Json
from ..backends.schedule import format_duration
from ..backends.states import FAILURES
from . import drawings
from .reports import JobReport, Report, report, status_of
from .setting_types import Settings
from .trouble import trouble

TICKS, TREND, FAILED = (
    30,
    100,
    50,
)  # newest runs that are shown as ticks, as dots, and looked at for why they failed
CAUSES = 5  # that are shown of a job
DAY = 86400.0
_STYLE = Path(__file__).parent / "web" / "pages" / "static" / "holter.css"
_OWN_STYLE = """
.card { border: 1px solid var(--line); border-radius: 8px; padding: 4px 16px 12px; margin: 16px 0; }
.card { break-inside: avoid; }
.card h2 { margin-top: 12px; } .trend { width: 100%; max-width: 700px; height: 60px; }
.trend .good { fill: var(--good); } .trend .idle, .trend .busy { fill: var(--quiet); }
.trend .cross { stroke: var(--bad); stroke-width: 1.6; fill: none; }
.card .columns { height: 40px; }
.caption { color: var(--quiet); font-size: 12.5px; margin: 10px 0 2px; }
"""


@frozen
class Figures:
    """One job for anybody. `last` is its newest run (`state`, `conditions`, `created_at`, `duration_seconds`), `ticks`
    the newest ones likewise, oldest first; `days` are counts by state."""

    job: JobReport
    ticks: tuple[Json, ...]
    trend: tuple[Json, ...]
    days: tuple[Bucket, ...]
    well: bool


@frozen
class Private:
    """What is not for everybody: `problems` in words, `causes` as (what was said, how often, the newest run's id)."""

    problems: tuple[str, ...] = ()
    causes: tuple[tuple[str, int, str], ...] = ()


def figures(backend: Backend, settings: Settings, query: RunQuery) -> tuple[Report, list[Figures]]:
    """The jobs that ran in the query's time, those in trouble first. Raises StorageError, ScheduleError."""
    found = report(backend, settings.checks, query)
    shown = [_figures(backend, settings, each, query) for each in found.jobs]
    return found, sorted(shown, key=lambda each: each.well)


def _figures(backend: Backend, settings: Settings, job: JobReport, query: RunQuery) -> Figures:
    of = evolve(query, project=job.figures.project, job=plain(job.figures.name), kinds=(job.figures.kind,))
    newest = backend.newest(of, TREND)
    runs = newest[0].runs[::-1] if newest else ()
    told = status_of(backend, settings, job.figures.project, job.figures.name, query.until or 0.0)
    well = told.well if told else job.figures.last["state"] not in FAILURES
    return Figures(job, runs[-TICKS:], runs, tuple(backend.timeline(of, DAY)), well)


def private(backend: Backend, settings: Settings, job: Figures, until: float) -> Private:
    """Raises StorageError, ScheduleError."""
    name, project = job.job.figures.name, job.job.figures.project
    told = status_of(backend, settings, project, name, until)
    failed = backend.runs(
        RunQuery(project=project, job=plain(name), roots=True, states=FAILURES, limit=FAILED)
    )
    groups: dict[str, list[str]] = {}
    for run in failed:
        groups.setdefault(trouble(run.error, run.reason) or run.state.lower(), []).append(run.id)
    problems = (
        tuple(f"{each.event.replace('_', ' ')}: {each.reason}" for each in told.verdict.problems)
        if told
        else ()
    )
    causes = tuple((said, len(ids), ids[0]) for said, ids in list(groups.items())[:CAUSES])
    return Private(problems, causes)


def page(found: Report, jobs: Sequence[tuple[Figures, Private | None]], title: str) -> str:
    """The page. Who gives None for every `Private` gets one for anybody."""
    return "\n".join(_page(found, jobs, title))


def _page(found: Report, jobs: Sequence[tuple[Figures, Private | None]], title: str) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f"<title>{escape(title)}</title>\n<style>{_STYLE.read_text()}{_OWN_STYLE}</style>\n</head>\n<body>\n<main>"
    yield f"<h1>{escape(title)}</h1>"
    yield f'<p class="quiet">{_when(found.since)} to {_when(found.until)} · {_totals(found)}</p>'
    if not jobs:
        yield '<p class="empty">Nothing ran in that time.</p>'
    for job, secret in jobs:
        yield from _card(job, secret)
    yield "</main>\n</body>\n</html>\n"


def _when(at: float) -> str:
    text = str(rfc3339(at))
    return f'<time datetime="{text}">{text[:16].replace("T", " ")} UTC</time>'


def _totals(found: Report) -> str:
    states = [each.figures.by_state for each in found.jobs]
    runs = sum(sum(each.values()) for each in states)
    failed = sum(count for each in states for state, count in each.items() if state in FAILURES)
    return f"{len(found.jobs)} jobs, {runs:,} runs, {failed:,} in trouble"


def _card(job: Figures, secret: Private | None) -> Iterator[str]:
    figures = job.job.figures
    last = figures.last
    yield '<section class="card">'
    yield f'<h2>{escape(figures.name)} {_state(last)} <span class="quiet">{escape(figures.project)}</span></h2>'
    if secret:
        yield from (f'<p class="warning">▲ {escape(said[:400])}</p>' for said in secret.problems)
    elif not job.well:
        yield '<p class="warning">▲ This job is in trouble.</p>'
    yield f'<dl class="figures">{"".join(_pairs(job.job))}</dl>'
    yield drawings.ticks(job.ticks)
    if len(job.days) > 1:
        yield f'<p class="caption">Runs a day</p>{_days(job)}'
    if len(job.trend) > 1:
        longest = max((run["duration_seconds"] or 0.0 for run in job.trend), default=0.0)
        yield f'<p class="caption">Duration of the last {len(job.trend)} runs, up to {_lasted(longest)}</p>'
        yield drawings.trend(job.trend, width=700, height=60, label="Durations of the last runs")
    if secret and secret.causes:
        yield '<p class="caption">Why it failed</p><ul>'
        yield from (
            f'<li>{escape(said[:300])} <span class="quiet">{_times(count)}, last {escape(run)}</span></li>'
            for said, count, run in secret.causes
        )
        yield "</ul>"
    yield "</section>"


def _times(count: int) -> str:
    return f"{count} times" if count > 1 else "once"


def _state(last: Json) -> str:
    kind = drawings.kind_of(last["state"], last["conditions"])
    sign = {"bad": "▲", "busy": "◌", "good": "●", "idle": "-"}[kind]
    return f'<span class="state {kind}">{sign} {escape(last["state"].lower().replace("_", " "))}</span>'


def _pairs(job: JobReport) -> Iterable[str]:
    shares = {"Success": job.success_rate, "Came when expected": job.completeness}
    times = {
        "Median lateness": job.lateness_p50_seconds,
        "Median duration": job.figures.duration_p50_seconds,
        "95% within": job.figures.duration_p95_seconds,
    }
    told = {"Runs": f"{job.figures.runs:,}"}
    told |= {name: f"{share:.1%}" for name, share in shares.items() if share is not None}
    told |= {name: _lasted(seconds) for name, seconds in times.items() if seconds is not None}
    told["Last"] = _when(job.figures.last["created_at"])
    return (f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in told.items())


def _days(job: Figures) -> str:
    counts = {int(each.at // DAY): each.by_state for each in job.days}
    first, last = min(counts), max(counts)
    named = [(str(rfc3339(day * DAY))[:10], counts.get(day, {})) for day in range(first, last + 1)]
    return drawings.columns(named, width=700, height=36, label="Runs a day")


def _lasted(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else format_duration(round(seconds))


def write(path: str, text: str, *, public: bool) -> None:
    """Whole or not at all, in place of what is there. For its owner only (0600) unless `public` (0644). Raises
    HolterError where it cannot be written."""
    draft = f"{path}.{token(8)}"
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            os.chmod(draft, 0o644 if public else 0o600)
            os.replace(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
    except OSError as error:
        raise HolterError(
            f"cannot write {path}: {error.strerror}", hint="does its folder exist, and may you write there?"
        ) from None
