"""One job: how long its runs take, when they come and when they should, why they fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from json import dumps

from attrs import frozen
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from ....backends.base import Backend
from ....backends.clock import SYSTEM
from ....backends.ledger import Entry
from ....backends.queries import RunQuery
from ....backends.records import Bucket, Json, Run
from ....backends.schedule import time_zone
from ....backends.states import FAILURES
from ... import jobs, ledgers, reports
from ...drawings import kind_of
from ...trouble import trouble
from ...watchdog import outbox
from ..refusals import Refusal
from ..state import State
from ..tokens import Token
from .lines import number_of
from .marks import columns, utc
from .render import page

TREND = 200  # newest runs whose durations are drawn
ROWS = 50  # runs on a page
GROUPED = 200  # newest failed runs that are grouped
DAY = 86400.0
FIGURES = 30 * DAY  # the span of the figures at the top
HOURS = 90 * DAY  # and of the pattern of hours
TURNS = 30  # newest expected times that are drawn


@frozen
class Group:
    """Failures of one fingerprint among the newest GROUPED, the newest run first. Times are Unix seconds."""

    said: str
    count: int
    first_at: float
    last: Run


def groups_of(failed: Iterable[Run]) -> list[Group]:
    """`failed`: newest first. Those without an error are grouped by their reason."""
    found: dict[str, list[Run]] = {}
    for run in failed:
        found.setdefault(_print_of(run), []).append(run)
    groups = [Group(_said(runs[0]), len(runs), runs[-1].created_at, runs[0]) for runs in found.values()]
    return sorted(groups, key=lambda each: -each.last.created_at)


def _print_of(run: Run) -> str:
    return str((run.error or {}).get("fingerprint") or run.reason or run.state)


def _said(run: Run) -> str:
    return trouble(run.error, run.reason) or run.state.lower()


def trend_of(runs: Sequence[Run]) -> str:
    """Durations of runs (newest first) for the plot, as JSON: `x` Unix seconds, `good` and `bad` seconds or null."""
    drawn = [run for run in runs[::-1] if run.duration_seconds is not None]
    seconds = [round(run.duration_seconds or 0.0, 3) for run in drawn]
    bad = [kind_of(run.state) == "bad" for run in drawn]
    return dumps(
        {
            "x": [round(run.created_at) for run in drawn],
            "good": [None if wrong else each for each, wrong in zip(seconds, bad, strict=True)],
            "bad": [each if wrong else None for each, wrong in zip(seconds, bad, strict=True)],
            "ids": [run.id for run in drawn],
        },
        separators=(",", ":"),
    )


def calendar_of(days: Iterable[Bucket], now: float) -> Markup:
    """A year of days (UTC), a column a week: how many runs, and whether any was in trouble."""
    counts = {int(each.at // DAY): each.by_state for each in days}
    today = datetime.fromtimestamp(now, UTC).date()
    first = today - timedelta(days=364 + today.weekday())
    most = max((sum(each.values()) for each in counts.values()), default=1)
    cells = []
    for number in range((today - first).days + 1):
        day = first + timedelta(days=number)
        states = counts.get((day - date(1970, 1, 1)).days, {})
        total, bad = sum(states.values()), sum(states.get(state, 0) for state in FAILURES)
        kind = "bad" if bad else f"good{min(3, 3 * total // most)}" if total else "none"
        title = f"{day}: {total} run{'s' * (total != 1)}" + (f", {bad} in trouble" if bad else "")
        cells.append(
            f'<rect class="{kind}" x="{number // 7 * 12}" y="{number % 7 * 12}" width="10" height="10">'
            f"<title>{title}</title></rect>"
        )
    worst = sum(1 for each in counts.values() if any(each.get(state) for state in FAILURES))
    label = f"The last year: runs on {len(counts)} days, trouble on {worst}"
    return Markup(  # noqa: S704 - dates and numbers
        f'<svg class="calendar" role="img" aria-label="{label}" viewBox="0 0 {53 * 12 + 12} 84">{"".join(cells)}</svg>'
    )


def hours_of(hours: Iterable[Bucket], zone: str | None) -> Markup:
    """Runs by the hour of the day at which they began, in the zone of the job's schedule (None: UTC)."""
    where, counts = (time_zone(zone) if zone else UTC), [Counter[str]() for _ in range(24)]
    for each in hours:
        counts[datetime.fromtimestamp(each.at, where).hour].update(each.by_state)
    named = [(f"{hour:02}:00 {zone or 'UTC'}", counted) for hour, counted in enumerate(counts)]
    return columns(named, width=480, height=60, label="Runs by hour of the day")


def outcomes_of(entries: Sequence[Entry]) -> str:
    """How many of each, in words."""
    counts = Counter(each.outcome for each in entries)
    return ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in counts.items())


def strip_of(entries: Sequence[Entry], now: float) -> Markup:
    """Expected times above, what came below, on one axis."""
    if not entries:
        return Markup("")
    since, until = entries[0].expected_at, max(now, entries[-1].expected_at)
    scale = 980 / max(1.0, until - since)
    parts = []
    for each in entries:
        x = 10 + (each.expected_at - since) * scale
        title = f"{utc(each.expected_at)} UTC: {each.outcome.replace('_', ' ')}"
        kind = {"on_time": "good", "late": "late", "missed": "bad"}.get(each.outcome, "idle")
        came = ""
        if each.started_at is not None:
            to = 10 + (each.started_at - since) * scale
            title += f", started {utc(each.started_at)}"
            came = f'<path class="link" d="M{x:.1f} 14L{to:.1f} 26"/>'
            came += f'<circle class="{kind}" cx="{to:.1f}" cy="31" r="4"/>'
        elif each.outcome == "missed":
            came = f'<path class="bad cross" d="M{x - 4:.1f} 27l8 8m0 -8l-8 8"/>'
        parts.append(
            f'<g><title>{title}</title><rect class="turn" x="{x - 1:.1f}" y="3" width="2" height="11"/>{came}</g>'
        )
    label = f"Expected times: {outcomes_of(entries)}"
    return Markup(  # noqa: S704 - times and words of ours
        f'<svg class="strip" role="img" aria-label="{label}" viewBox="0 0 1000 40">{"".join(parts)}</svg>'
    )


def of_job(store: Backend, state: State, project: str, name: str, params: Json, now: float) -> Json:
    """All that the page shows. Raises Refusal (404) for a job that neither ran nor is expected to."""
    mine, key = jobs.query_of(project, name), jobs.key_of(project, name)
    told = reports.status_of(store, state.settings, project, name, now)
    if told is None:
        raise Refusal(
            404, f"there is no job {name[:100]!r} in project {project[:100]!r}", "its runs may be gone"
        )
    recent = store.runs(RunQuery(**mine, limit=TREND))
    number, wanted = number_of(params.get("page")) or 1, params.get("state", "")
    states = (wanted,) if wanted else ()
    rows = store.runs(RunQuery(**mine, states=states, limit=ROWS + 1, offset=(number - 1) * ROWS))
    month = RunQuery(**mine, since=now - FIGURES, until=now)
    figures = next(iter(reports.report(store, state.settings.checks, month).jobs), None)
    turns = (figures.turns if figures else ledgers.entries(store, key, now - FIGURES, now))[-TURNS:]
    zone = told.zone
    return {
        "name": name,
        "project": project,
        "told": told,
        "figures": figures,
        "trend": trend_of(recent),
        "drawn": sum(run.duration_seconds is not None for run in recent),
        "turns": turns,
        "outcomes": outcomes_of(turns),
        "strip": strip_of(turns, now),
        "calendar": calendar_of(store.timeline(RunQuery(**mine, since=now - 372 * DAY), DAY), now),
        "hours": hours_of(store.timeline(RunQuery(**mine, since=now - HOURS), 3600.0), zone),
        "zone": zone or "UTC",
        "groups": groups_of(store.runs(RunQuery(**mine, states=FAILURES, limit=GROUPED)))[:20],
        "rows": rows[:ROWS],
        "more": len(rows) > ROWS,
        "number": number,
        "wanted": wanted,
        "snoozes": [each for each in outbox.snoozes(store, now) if outbox.is_snoozed([each], name)],
        "now": now,
    }


async def job_page(request: Request, token: Token, state: State) -> Response:
    project, name = (request.query_params.get(each, "") for each in ("project", "name"))
    if token.project not in (None, project):
        raise Refusal(404, f"there is no job {name[:100]!r} in project {project[:100]!r}", "look at all jobs")
    params, now = dict(request.query_params), SYSTEM.wall()
    return await state.stores.ask(
        lambda store: page(request, "job.html", token, of_job(store, state, project, name, params, now))
    )
