"""Figures for other programs: JSON, CSV that no spreadsheet obeys, tables in Markdown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from .options import AnyCase
from .text import line

SHAPES = ("table", "json", "csv", "markdown")
Rows = Iterable[Mapping[str, Any]]


def shaped(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options `--format` and, short for one of them, `--json`: the verb gets `shape`, one of SHAPES."""
    asked = click.option(
        "--format",
        "shape",
        type=AnyCase(*SHAPES),
        default="table",
        show_default=True,
        help="Print it as this.",
    )
    return asked(
        click.option("--json", "shape", flag_value="json", help="Print JSON and nothing else.")(verb)
    )


def put(shape: str, columns: Sequence[str], rows: Rows) -> None:
    """Print rows as `csv` or `markdown`; what a row lacks is empty."""
    cells = ([_plain(row.get(name)) for name in columns] for row in rows)
    if shape == "csv":
        from csv import writer

        out = writer(sys.stdout, lineterminator="\n")
        out.writerow(columns)
        out.writerows([guarded(cell) for cell in row] for row in cells)
        return
    sys.stdout.write(_markdown(columns) + _markdown(["---"] * len(columns)))
    sys.stdout.writelines(_markdown([escaped(cell) for cell in row]) for row in cells)


def guarded(cell: str) -> str:
    """A cell that a spreadsheet takes as text: one that would be a formula gets an apostrophe. Numbers stay."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") and not _number(cell) else cell


def escaped(cell: str) -> str:
    """A cell that ends no column and begins no markup of its own."""
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return line(", ".join(map(str, value)) if isinstance(value, list | tuple) else value)


def _markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


# --- rows of the verbs ---------------------------------------------------------------------------------------

RUN = (
    "id name run_name kind project state conditions started_at ended_at duration_seconds attempt host tags "
    "exit_code reason error"
).split()
JOB = (
    "name project kind runs COMPLETED FAILED TIMED_OUT CRASHED CANCELLED SKIPPED success_rate completeness "
    "duration_p50_seconds duration_p95_seconds lateness_p50_seconds last_state last_at last_id"
).split()
STATUS = "name project well problems schedule next_at last_state last_at last_id".split()


def run_row(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run as JSON, in a row."""
    error = run["error"]
    said = f"{error.get('type')}: {error.get('message') or ''}".rstrip(": ") if error else None
    return {**run, "error": said}


def job_row(job: Mapping[str, Any]) -> dict[str, Any]:
    """A job of a report as JSON, in a row."""
    return {**job, **job["by_state"], **_last(job["last"])}


def status_row(job: Mapping[str, Any]) -> dict[str, Any]:
    """A job of `holter status` as JSON, in a row."""
    problems = [f"{each['event']}: {each['reason']}" for each in job["problems"]]
    return {**job, "problems": "; ".join(problems), **_last(job["last"])}


def _last(last: Mapping[str, Any] | None) -> dict[str, Any]:
    return {f"last_{name}": last[key] for name, key in _LAST.items()} if last else {}


_LAST = {"state": "state", "at": "created_at", "id": "id"}
