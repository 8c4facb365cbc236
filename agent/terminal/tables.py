"""Tables: runs, jobs, figures, alerts, slots, findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from ...backends.records import Json, Run
from ..tenants import Tenant, expires_in, is_gone
from ..trouble import trouble
from .grid import GAP, Grid
from .sparkline import sparkline, ticks
from .text import NOTHING, line, moment, share, stamp, took, unix

if TYPE_CHECKING:
    from ..occupancy import Occupancy
    from ..reports import JobReport, JobStatus, Report
    from ..slots import Place
    from ..watchdog.finding import Finding
    from ..web.tokens import Token
    from .trends import Trend

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
    """A state with its sign and colour; the conditions of a live run take its place where there are any."""
    troubles = ", ".join(conditions)
    if troubles:
        return Text(f"! {line(troubles)}", "yellow")
    sign, style = STYLES.get(state, ("?", ""))
    return Text(f"{sign} {line(state)}", style)


def runs_table(runs: Sequence[Run], steps: Mapping[str, Run], now: float) -> Grid:
    """`steps`: for live runs the step that tells how far they are, by the id of the run."""
    notes = [note(run) or note(steps.get(run.id, run)) for run in runs]
    columns = ["ID", "JOB", "STATE", "STARTED", "TOOK", *(["NOTE"] if any(notes) else [])]
    table = Grid(*columns, right=("TOOK",), elastic={"JOB": 14, "NOTE": 12}, optional=("NOTE",))
    for run, said in zip(runs, notes):
        table.add(
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
        return line(trouble(run.error, run.reason)) or _code(run)
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


def status_table(jobs: Sequence[JobStatus], now: float) -> Grid:
    scheduled = any(job.schedule for job in jobs)
    columns = ["JOB", "STATUS", "LAST RUN", "TOOK", *(["NEXT"] if scheduled else []), "WHAT IS WRONG"]
    table = Grid(*columns, right=("TOOK",), elastic={"JOB": 16, "WHAT IS WRONG": 16}, wrap=("WHAT IS WRONG",))
    named = namer(job.record.project for job in jobs)
    for job in jobs:
        last = job.record.last
        problems = job.verdict.problems
        table.add(
            Text(named(job.record.project, job.record.name), "bold"),
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


def namer(projects: Iterable[str]) -> Callable[[str, str], str]:
    """How a table names jobs: with their project only where there are several."""
    return (lambda _, name: line(name)) if len(set(projects)) == 1 else job_name


class ReportTable:
    """Figures per job, as many as there is room for. `over_time` is by (project, name, kind)."""

    def __init__(
        self, found: Report, now: float, over_time: Mapping[Any, Trend], *, unicode: bool = True
    ) -> None:
        self._kept = any(job.completeness is not None for job in found.jobs)
        named = namer(job.figures.project for job in found.jobs)
        self._rows = [_report_cells(job, now, named) for job in found.jobs]
        for row, job in zip(self._rows, found.jobs):
            figures = job.figures
            trend = over_time.get((figures.project, figures.name, figures.kind))
            row["OVER TIME"] = sparkline(trend.counts, trend.bad, unicode=unicode) if trend else Text()
            row["NEWEST"] = ticks(trend.newest, unicode=unicode) if trend else Text()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Grid]:
        room = options.max_width
        wide, narrow = room >= WIDE, room < NARROW
        left_out = {*([] if wide else ["ENDINGS", "P95", "LATE"]), *([] if self._kept else ["KEPT", "LATE"])}
        left_out |= {"KEPT", "P50", "OVER TIME"} if narrow else set()
        columns = [name for name in _REPORT if name not in left_out]
        for name in ("KEPT", "P50"):
            if name in columns and self._short_of_name(columns, room):
                columns.remove(name)
        table = Grid(*columns, right=("RUNS", "OK", "KEPT", "P50", "P95", "LATE"), elastic={"JOB": 8})
        for row in self._rows:
            table.add(*(row[name] for name in columns))
        yield table

    def _short_of_name(self, columns: Sequence[str], room: int) -> bool:
        """Whether the names of jobs, or NAME characters of them, have no room beside the other columns."""
        widths = {
            name: max([cell_len(name), *(row[name].cell_len for row in self._rows)]) for name in columns
        }
        return sum(widths.values()) - widths["JOB"] + GAP * (len(columns) - 1) > room - min(
            NAME, widths["JOB"]
        )


NAME = 20  # characters of a job's name, for which less important columns make room
WIDE, NARROW = 110, 70  # columns from which a report has all its figures, and below which only the main ones
_REPORT = "JOB,RUNS,ENDINGS,OK,KEPT,P50,P95,LATE,OVER TIME,NEWEST,LAST".split(",")


def _report_cells(job: JobReport, now: float, named: Callable[[str, str], str]) -> dict[str, Text]:
    figures = job.figures
    last = figures.last
    sign, style = STYLES.get(last["state"], ("?", ""))
    return {
        "JOB": Text(named(figures.project, figures.name), "bold"),
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


def alerts_table(alerts: Sequence[Json], now: float) -> Grid:
    table = Grid("WHEN", "ABOUT", "EVENT", "CHANNEL", "STATE", "RUN", elastic={"ABOUT": 10, "CHANNEL": 5})
    for alert in alerts:
        table.add(
            Text(moment(unix(alert["created_at"]), now)),
            Text(line(alert["about"] or NOTHING), "bold"),
            Text(line(alert["event"])),
            Text(line(alert["channel"])),
            Text(line(alert["state"]), _DELIVERY.get(alert["state"], "yellow")),
            Text(line(alert["run_id"] or NOTHING)),
        )
    return table


def delivery_errors(alerts: Sequence[Json]) -> list[Text]:
    """Why channels did not take alerts, each reason once."""
    said = {
        (line(each["channel"]), line(each["last_error"])): None for each in alerts if each.get("last_error")
    }
    return [Text(f"{channel}: {error}", "dim") for channel, error in said]


_DELIVERY = {"sent": "green", "digest": "green", "undelivered": "red", "snoozed": "dim"}


def snooze_text(snooze: Json) -> Text:
    until, by = stamp(snooze["until"]), line(snooze["by"] or NOTHING)
    return Text(f"snoozed: {snooze_target(snooze)} until {until}, by {by}", "yellow")


def snooze_target(snooze: Json) -> str:
    """`etl`, `all jobs on web-1`, `etl on web-1`."""
    job, host = snooze.get("job"), snooze.get("host")
    return line(job or "all jobs") + (f" on {line(host)}" if host else "")


_HOW = {"holds": "cyan", "waits": "yellow"}
_SLOTS = ("LIMIT", "HELD", "", "RUN", "JOB", "HOST", "PID", "AGE", "TOKEN", "EXPIRES")


def slots_table(limits: Sequence[Occupancy], now: float, states: Mapping[str, str]) -> Grid:
    """`states`: those of the runs that hold and wait, by id."""
    shared = any(limit.scope == "shared" for limit in limits)
    table = Grid(
        *(_SLOTS if shared else _SLOTS[:-2]),
        right=("PID", "AGE", "TOKEN", "EXPIRES"),
        elastic={"HOST": 5, "JOB": 8, "LIMIT": 8},
    )
    for limit in limits:
        held = Text(f"{limit.held} of {limit.slots if limit.slots is not None else '?'}")
        head: Sequence[Text] = (Text(line(limit.limit), "bold"), held)
        places = [
            *((place, "holds") for place in limit.holders),
            *((place, "waits") for place in limit.waiters),
        ]
        if not places:
            table.add(*head, Text("free", "green"))
        for place, what in places:
            table.add(
                *head,
                Text("gone", "red") if is_gone(place, states) else Text(what, _HOW[what]),
                Text(line(place.run_id or NOTHING)),
                Text(line(place.run_name or NOTHING)),
                Text(line(place.host or NOTHING)),
                Text(str(place.pid or NOTHING)),
                Text(took(None if place.since is None else max(0.0, now - place.since))),
                *(_lease(place, now) if shared else ()),
            )
            head = (Text(""), Text(""))
    return table


def _lease(place: Place | Tenant, now: float) -> tuple[Text, Text]:
    if not isinstance(place, Tenant):
        return Text(""), Text("")
    left = expires_in(place, now)
    token = Text(str(place.token or NOTHING))
    if place.alive is False:
        return token, Text("dead", "red")
    return token, Text(took(left)) if left is None or left > 0 else Text("over", "red")


_LEVELS = {"ok": ("✔", "green"), "warn": ("!", "yellow"), "fail": ("✘", "red")}


def findings_table(findings: Iterable[Finding]) -> Table:
    """The lines of `holter doctor`, what to do about each beneath it."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        sign, style = _LEVELS[finding.level]
        detail = Text(line(finding.detail))
        if finding.todo:
            detail.append(f"\n{line(finding.todo)}", "cyan" if finding.level != "ok" else "dim")
        table.add_row(Text(f"{sign} {finding.level}", style), Text(finding.about, "bold"), detail)
    return table


def tokens_table(tokens: Iterable[Token]) -> Table:
    """The lines of `holter token ls`."""
    table = Table("id", "may", "project", "made", "by", box=None, pad_edge=False, header_style="dim")
    for each in tokens:
        may = (
            ", ".join(each.scopes) + (f" {line(each.job)}" if each.job else "")
            if each.revoked_at is None
            else f"nothing: revoked {stamp(each.revoked_at)}"
        )
        style = "" if each.revoked_at is None else "dim"
        project = line(each.project or NOTHING)
        table.add_row(each.id, may, project, stamp(each.created_at), line(each.created_by), style=style)
    return table
