"""Tables: runs, jobs, figures, slots, alerts. Ids are never cut; in a terminal other columns give way, in a pipe none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ...backends.records import Json, Run
from ..occupancy import Occupancy
from ..reports import JobReport, JobStatus, Report
from .text import NOTHING, error_line, line, moment, share, stamp, took, unix

if TYPE_CHECKING:
    from ..doctor import Finding

STYLES = {
    "PENDING": ("·", "dim"),
    "RUNNING": ("▶", "cyan"),
    "RETRYING": ("↻", "yellow"),
    "COMPLETED": ("✔", "green"),
    "FAILED": ("✘", "red"),
    "TIMED_OUT": ("✘", "red"),
    "CRASHED": ("✘", "bold red"),
    "CANCELLED": ("■", "yellow"),
    "SKIPPED": ("»", "dim"),
}


def state_text(state: str, conditions: Iterable[str] = ()) -> Text:
    """A state with its sign and colour; conditions of a live run take the state's place where there are any."""
    troubles = ", ".join(conditions)
    if troubles:
        return Text(f"! {line(troubles)}", "yellow")
    sign, style = STYLES.get(state, ("?", ""))
    return Text(f"{sign} {line(state)}", style)


def grid(*columns: str, right: Sequence[str] = (), whole: Sequence[str] = ()) -> Table:
    """An empty table. Columns in `right` are aligned to the right; those in `whole` are never cut."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        keep = name in whole or name in right
        table.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if keep else 8,
        )
    return table


def runs_table(runs: Sequence[Run], now: float) -> Table:
    notes = [note(run) for run in runs]
    columns = ["ID", "JOB", "STATE", "STARTED", "TOOK", *(["NOTE"] if any(notes) else [])]
    table = grid(*columns, right=("TOOK",), whole=("ID", "STATE", "STARTED"))
    for run, said in zip(runs, notes):
        table.add_row(
            Text(line(run.id)),
            Text(line(run.name), "bold"),
            state_text(run.state, run.conditions),
            Text(moment(run.started_at or run.created_at, now)),
            Text(took(lasting(run, now))),
            *([Text(said, "dim")] if any(notes) else []),
        )
    return table


def lasting(run: Run, now: float) -> float | None:
    """Seconds that the run took, or takes so far."""
    if run.ended or run.started_at is None:
        return run.duration_seconds
    return max(0.0, now - run.started_at)


def note(run: Run) -> str:
    """What a glance at a run should tell besides its state: how far it is, or why it ended so."""
    if run.ended:
        return error_line(run.error) or line(run.reason or "") or _code(run)
    parts = [far(run.progress), f"attempt {run.attempt}" if run.attempt > 1 else ""]
    return ", ".join(part for part in parts if part)


def _code(run: Run) -> str:
    return f"exit code {run.exit_code}" if run.exit_code else ""


def far(progress: Json | None) -> str:
    """`340/1000 34% reading`."""
    if not progress or progress.get("done") is None:
        return ""
    done, total = progress["done"], progress.get("total")
    share_of = (
        f"/{_number(total)} {int(100 * done / total)}%" if isinstance(total, int | float) and total else ""
    )
    return line(f"{_number(done)}{share_of} {progress.get('text') or ''}")


def _number(value: Any) -> str:
    return f"{value:,.10g}" if isinstance(value, int | float) else line(value)


def status_table(jobs: Sequence[JobStatus], now: float) -> Table:
    scheduled = any(job.schedule for job in jobs)
    columns = ["JOB", "STATUS", "LAST RUN", "TOOK", *(["NEXT"] if scheduled else []), "WHAT IS WRONG"]
    table = grid(*columns, right=("TOOK",), whole=("STATUS", "LAST RUN", "NEXT"))
    for job in jobs:
        last = job.record.last
        problems = job.verdict.problems
        table.add_row(
            Text(job_name(job.record.project, job.record.name), "bold"),
            Text("✔ well", "green") if job.well else Text(f"✘ {problems[0].event}", "red"),
            Text(moment(last.created_at if last else None, now)),
            Text(took(lasting(last, now) if last else None)),
            *([Text(moment(job.verdict.next_at, now))] if scheduled else []),
            Text("; ".join(_wrong(each.event, each.reason, problems[0].event) for each in problems)),
        )
    return table


def _wrong(event: str, reason: str, first: str) -> str:
    return line(reason) if event == first else line(f"{event}: {reason}")


def job_name(project: str, name: str) -> str:
    return line(name if project == "default" else f"{project}/{name}")


def report_table(found: Report, now: float) -> Table:
    columns = ["JOB", "RUNS", "ENDINGS", "OK", "KEPT", "P50", "P95", "LATE", "LAST"]
    kept = any(job.completeness is not None for job in found.jobs)
    columns = [name for name in columns if kept or name not in ("KEPT", "LATE")]
    table = grid(*columns, right=("RUNS", "OK", "KEPT", "P50", "P95", "LATE"), whole=("LAST", "ENDINGS"))
    for job in found.jobs:
        cells = _report_cells(job, now)
        table.add_row(*(cells[name] for name in columns))
    return table


def _report_cells(job: JobReport, now: float) -> dict[str, Text]:
    figures = job.figures
    last = figures.last
    sign, style = STYLES.get(last["state"], ("?", ""))
    return {
        "JOB": Text(job_name(figures.project, figures.name), "bold"),
        "RUNS": Text(f"{figures.runs:,}"),
        "ENDINGS": Text(" ").join(_count(state, count) for state, count in figures.by_state.items()),
        "OK": Text(share(job.success_rate)),
        "KEPT": Text(share(job.completeness)),
        "P50": Text(took(figures.duration_p50_seconds)),
        "P95": Text(took(figures.duration_p95_seconds)),
        "LATE": Text(took(job.lateness_p50_seconds)),
        "LAST": Text.assemble((f"{sign} ", style), moment(last["created_at"], now)),
    }


def _count(state: str, count: int) -> Text:
    sign, style = STYLES.get(state, ("?", ""))
    return Text(f"{sign}{count}", style)


def alerts_table(alerts: Sequence[Json], now: float) -> Table:
    errors = any(alert.get("last_error") for alert in alerts)
    columns = ["WHEN", "JOB", "EVENT", "CHANNEL", "STATE", "RUN", *(["ERROR"] if errors else [])]
    table = grid(*columns, whole=("WHEN", "RUN", "EVENT", "STATE"))
    for alert in alerts:
        table.add_row(
            Text(moment(unix(alert["created_at"]), now)),
            Text(line(alert["job"] or ""), "bold"),
            Text(line(alert["event"])),
            Text(line(alert["channel"])),
            Text(line(alert["state"]), _DELIVERY.get(alert["state"], "yellow")),
            Text(line(alert["run_id"] or NOTHING)),
            *([Text(line(alert.get("last_error") or ""), "dim")] if errors else []),
        )
    return table


_DELIVERY = {"sent": "green", "undelivered": "red"}


def snooze_text(snooze: Json) -> Text:
    return Text(
        f"snoozed: {line(snooze['job'])} until {stamp(snooze['until'])}, by {line(snooze['by'] or NOTHING)}",
        "yellow",
    )


def slots_table(limits: Sequence[Occupancy], now: float) -> Table:
    table = grid(
        "LIMIT",
        "HELD",
        "",
        "RUN",
        "JOB",
        "HOST",
        "PID",
        "AGE",
        right=("PID", "AGE"),
        whole=("RUN", "HELD", ""),
    )
    for limit in limits:
        held = Text(f"{len(limit.holders)} of {limit.slots if limit.slots is not None else '?'}")
        head: Sequence[Text] = (Text(line(limit.limit), "bold"), held)
        places = [
            *((place, "holds") for place in limit.holders),
            *((place, "waits") for place in limit.waiters),
        ]
        if not places:
            table.add_row(*head, Text("free", "green"))
        for place, what in places:
            table.add_row(
                *head,
                Text(what, "cyan" if what == "holds" else "yellow"),
                Text(line(place.run_id or NOTHING)),
                Text(line(place.run_name or NOTHING)),
                Text(line(place.host or NOTHING)),
                Text(str(place.pid or NOTHING)),
                Text(took(None if place.since is None else max(0.0, now - place.since))),
            )
            head = (Text(""), Text(""))
    return table


_LEVELS = {"ok": ("✔", "green"), "warn": ("!", "yellow"), "fail": ("✘", "red")}


def finding_text(finding: Finding) -> Text:
    """One line of `holter doctor`, and what to do about it beneath it."""
    sign, style = _LEVELS[finding.level]
    text = Text.assemble(
        (f"{sign} {finding.level:<5}", style), (f"{finding.about:<12} ", "bold"), line(finding.detail)
    )
    if finding.todo:
        text.append(f"\n{'':20}{line(finding.todo)}", "cyan" if finding.level != "ok" else "dim")
    return text
