"""One run, whole: what it is, what it did, why it ended so, its last lines, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from json import dumps
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from ...backends.globs import quoted
from ...backends.records import Json, Log, Run
from ..trouble import trouble
from ..waterfall import waterfall
from .grid import Grid
from .tables import far, lasting, note, state_text
from .text import NOTHING, clean, line, moment, size, stamp, took
from .waterfall import lines

VALUE = 400  # characters of a parameter or result


def whole(
    run: Run, family: Sequence[Run], logs: Sequence[Log], now: float, *, unicode: bool = True
) -> Iterator[RenderableType]:
    """The parts of `holter show`. `family` are the run's descendants, oldest first, `logs` its last lines. Without
    `unicode` bars are drawn in ASCII."""
    yield _title(run, now)
    yield _facts(run, now)
    if run.parameters:
        yield from _section("Parameters", _pairs(run.parameters))
    if len(run.attempts) > 1:
        yield from _section("Attempts", [_attempts(run, now)])
    if run.error:
        yield from _section("Error", [_error(run.error, run.reason)])
    if run.result is not None:
        yield from _section("Result", [Text(f"  {_value(run.result)}")])
    if run.artifacts:
        yield from _section("Artifacts", [_artifact(each) for each in run.artifacts])
    if family:
        yield from _section("Steps", [_Steps(run, family, now, unicode)])
    if logs:
        yield from _section(
            "Last lines", [Text(f"  {row}") for log in logs for row in clean(log.text).splitlines()]
        )
    yield from _section("Next", [Text(f"  {command}", "cyan") for command in _next(run, family)])


def _section(title: str, parts: Sequence[RenderableType]) -> Iterator[RenderableType]:
    yield Text(f"\n{title}", "bold")
    yield from parts


def _title(run: Run, now: float) -> Text:
    seconds = lasting(run, now)
    lasted = "" if seconds is None else f" after {took(seconds)}" if run.ended else f" for {took(seconds)}"
    named = f" ({line(run.run_name)})" if run.run_name else ""
    return Text.assemble(
        (line(run.name), "bold"), f"{named}  ", state_text(run.state, run.conditions), lasted
    )


def _facts(run: Run, now: float) -> RenderableType:
    """Names and values; a long value goes on under itself."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _fact_pairs(run, now):
        if value:
            table.add_row(Text(f"  {name}", "dim"), Text(value))
    return table


def _fact_pairs(run: Run, now: float) -> Iterator[tuple[str, str]]:
    yield "run", run.id
    yield "part of", line(run.parent_id or "")
    yield "what", f"{line(run.kind)} in project {line(run.project)}"
    yield "why", "" if run.error else line(run.reason or "")
    yield "cause", _cause(run.cause)
    yield "exit", _exit(run)
    yield (
        "started",
        stamp(run.started_at) if run.started_at else f"not yet (created {moment(run.created_at, now)})",
    )
    yield "ended", stamp(run.ended_at) if run.ended_at else ""
    yield "progress", far(run.progress)
    yield "attempt", str(run.attempt) if run.attempt > 1 else ""
    yield "tags", ", ".join(line(tag) for tag in run.tags)
    yield "host", line(f"{run.host or '?'}, pid {run.pid or '?'}, user {run.user or '?'}")
    yield "command", line(" ".join(run.argv))
    yield "folder", line(run.cwd or "")
    yield "code", _code(run.code)
    yield "usage", _usage(run.usage)
    for slot in run.slots:
        yield "slot", _slot(slot)
    yield "left out", _dropped(run.dropped)


def _cause(cause: Json | None) -> str:
    if not cause:
        return ""
    what = f"rerun of {cause['rerun_of']}" if cause.get("rerun_of") else "started"
    return line(
        f"{what} by {cause.get('by') or '?'}" + (f", alert {cause['alert']}" if cause.get("alert") else "")
    )


def _exit(run: Run) -> str:
    said = [f"code {run.exit_code}"] if run.exit_code is not None else []
    return ", ".join([*said, *([f"signal {line(run.signal)}"] if run.signal else [])])


def _code(code: Json | None) -> str:
    if not code:
        return ""
    commit = f" at {line(code['git_commit'])[:12]}" if code.get("git_commit") else ""
    return f"{line(code.get('file') or '')}{commit}"


def _usage(usage: Json | None) -> str:
    if not usage:
        return ""
    cpu, peak = usage.get("cpu_seconds"), usage.get("max_rss_bytes")
    return ", ".join(
        [
            *([f"{took(cpu)} of CPU"] if cpu is not None else []),
            *([f"{size(peak)} of memory"] if peak else []),
        ]
    )


def _slot(slot: Json) -> str:
    held = f", held {took(slot['held'])}" if slot.get("held") is not None else ""
    return line(f"{slot['occupy']} of {slot['limit']}, waited {took(slot.get('waited'))}{held}")


def _dropped(dropped: Json | None) -> str:
    return f"{dropped['lines']:,} lines, {size(dropped['bytes'])}" if dropped else ""


def _pairs(values: Json) -> list[Text]:
    return [
        Text.assemble((f"  {line(name)}", "dim"), f" = {_value(value)}") for name, value in values.items()
    ]


def _value(value: Any) -> str:
    shown = line(dumps(value, ensure_ascii=False))
    return shown if len(shown) <= VALUE else f"{shown[:VALUE]}... ({len(shown):,} characters; --json has all)"


def _attempts(run: Run, now: float) -> RenderableType:
    table = Grid("  #", "STARTED", "TOOK", "THEN", "ERROR", right=("TOOK",), elastic={"ERROR": 10})
    for each in run.attempts:
        began, ended = each["started_at"], each["ended_at"]
        delay = each.get("delay_seconds")
        table.add(
            Text(f"  {each['attempt']}"),
            Text(moment(began, now)),
            Text(took(ended - began if began and ended else None)),
            Text(NOTHING if delay is None else f"again in {took(delay)}" if delay else "again at once"),
            Text(line(trouble(each.get("error"), each.get("reason"))), "red"),
        )
    return table


def _error(error: Json, reason: str | None) -> Text:
    trace = clean(error.get("traceback") or line(trouble(error, reason))).rstrip()
    return Text("\n".join(f"  {row}" for row in trace.splitlines()), "red")


def _artifact(each: Json) -> Text:
    data = each.get("data")
    shown = f"table of {len(data)} rows" if isinstance(data, list) else line(data)[:VALUE]
    about = f" ({line(each['description'])})" if each.get("description") else ""
    return Text.assemble((f"  {line(each.get('key'))}", "bold"), about, f" {line(each.get('type'))}: {shown}")


class _Steps:
    """The waterfall of what ran inside, as wide as there is room. In a pipe there is room for whole notes."""

    def __init__(self, run: Run, family: Sequence[Run], now: float, unicode: bool) -> None:
        self._fall = waterfall(run, family, now)
        rows = {row.id for row in self._fall.rows}
        self._notes = {each.id: note(each) for each in family if each.id in rows}
        self._unicode = unicode

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield from lines(self._fall, options.max_width, unicode=self._unicode, notes=self._notes)


def _next(run: Run, family: Sequence[Run]) -> Iterator[str]:
    if not run.ended:
        yield f"holter logs -f {run.id}"
    elif run.log_lines or any(each.log_lines for each in family):
        yield f"holter logs {run.id}"
    if run.ended and not run.well:
        yield f"holter explain {run.id}"
    worst = next((each for each in family if each.ended and not each.well), None)
    if worst is not None:
        yield f"holter show {worst.id}"
    if run.parent_id:
        yield f"holter show {run.parent_id}"
    yield f"holter runs --job {quoted(line(run.name))}"
