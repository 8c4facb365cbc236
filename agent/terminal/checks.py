"""`holter checks`: what is expected of jobs, written into the store; no file is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import screen
from .naming import warn_of_unknown
from .options import DURATION, as_json

if TYPE_CHECKING:
    from ...backends.records import Json
    from ..jobs import Registered
    from ..setting_types import Check
    from .desk import Desk

_project = click.option(
    "--project", metavar="NAME", help="The job's project, if it is not the settings' own."
)


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def checks(ctx: click.Context, as_json: bool) -> None:
    """List what is expected of jobs; add, pause, resume and remove it."""
    if ctx.invoked_subcommand is None:
        _list(as_json)


@checks.command()
@as_json
def ls(as_json: bool) -> None:
    """List the jobs of which something is expected, with the schedule and where it was said."""
    _list(as_json)


@checks.command(context_settings={"max_content_width": 100})
@click.argument("job")
@_project
@click.option("--schedule", metavar="TEXT", help="Cron text, @daily, or 'every 15m'.")
@click.option("--timezone", metavar="ZONE", help="The schedule's zone, as Europe/Berlin.")
@click.option("--grace", type=DURATION, metavar="15m", help="How late it may start.")
@click.option("--finish-by", metavar="TIME", help="06:00, or 3h after the expected time.")
@click.option("--max-duration", type=DURATION, metavar="2h", help="Longer is overdue.")
@click.option(
    "--on-overdue", type=click.Choice(["alert", "kill"]), help="Of one that passes its max duration."
)
@click.option("--min-duration", type=DURATION, metavar="5s", help="Shorter is suspicious.")
@click.option("--stall-after", type=DURATION, metavar="10m", help="So long without progress is stalled.")
@click.option("--fresh-within", type=DURATION, metavar="26h", help="How old the last good run may be.")
@click.option("--max-runs-per", metavar="TEXT", help="'3 per 1h': more starts are suspicious.")
@click.option("--max-times-median", type=click.FloatRange(1, 1000, min_open=True), metavar="K",
              help="Longer than K times the usual is overdue.")  # fmt: skip
@click.option("--median-of", type=click.IntRange(3, 1000), metavar="N", help="Usual: the median of N runs.")
def add(job: str, project: str | None, **said: Any) -> None:
    """Expect something of JOB, from now on; what is not named stays as it was.

    It wins over the settings and the job's decorator, and holds for jobs that never ran too.
    """
    from attrs import evolve

    from ...backends.expected import Expectation
    from ...backends.schedule import parse_deadline
    from ..jobs import register

    new = {name: value for name, value in said.items() if value is not None}
    if not new:
        raise click.UsageError("say what is expected: `holter checks add etl --schedule '0 2 * * *'`")
    if "finish_by" in new:
        parse_deadline(new["finish_by"])
    if "timezone" in new:
        Expectation.of({"schedule": "@daily", "timezone": new["timezone"]})
    with _opened() as desk:
        held = _held(desk, job, project)
        check = {**held.check, **new}
        Expectation.of(check)
        register(desk.backend, evolve(held, check=check, since=held.since or desk.now))
    click.echo(f"{job}: {_words(check)}")


@checks.command()
@click.argument("job")
@_project
@click.option(
    "--for", "duration", type=DURATION, metavar="2h", help="For so long; without it until `resume`."
)
def pause(job: str, project: str | None, duration: float | None) -> None:
    """Expect nothing of JOB for a while: turns that come meanwhile are skipped, nothing is alerted of them."""
    from attrs import evolve

    from ..jobs import register
    from .text import stamp

    with _opened() as desk:
        warn_of_unknown(desk, job)
        held = _held(desk, job, project)
        until = None if duration is None else desk.now + duration
        register(desk.backend, evolve(held, pauses=(*_over(held, desk.now), (desk.now, until))))
    click.echo(
        f"Nothing is expected of {job} until {'`holter checks resume`' if until is None else stamp(until)}."
    )


@checks.command()
@click.argument("job")
@_project
def resume(job: str, project: str | None) -> int:
    """Expect of JOB again what was expected before its pause."""
    from attrs import evolve

    from ..jobs import register

    with _opened() as desk:
        held = _held(desk, job, project)
        if not _paused(held, desk.now):
            screen.say(f"{job} is not paused; `holter checks` lists what is")
            return 1
        register(desk.backend, evolve(held, pauses=_over(held, desk.now)))
    click.echo(f"{job} is expected again.")
    return 0


@checks.command()
@click.argument("job")
@_project
def rm(job: str, project: str | None) -> None:
    """Expect nothing of JOB any more, until a new run declares something, or the settings do."""
    from attrs import evolve

    from ..jobs import register

    with _opened() as desk:
        warn_of_unknown(desk, job)
        held = _held(desk, job, project)
        register(desk.backend, evolve(held, check={}, since=0.0, pauses=(), forgotten_at=desk.now))
        configured = job in desk.settings.checks
    click.echo(
        f"Nothing is expected of {job} any more"
        + (f", but for what {desk.settings.config} says." if configured else ".")
    )


def _opened() -> Any:
    from .desk import opened

    return opened()


def _held(desk: Desk, job: str, project: str | None) -> Registered:
    """What was said of the job so far."""
    from ..jobs import Registered, key_of, registered

    project = project or desk.settings.project
    return registered(desk.backend).get(key_of(project, job)) or Registered(job, project)


def _paused(held: Registered, now: float) -> bool:
    return any(start <= now < end for start, end in held.spans())


def _over(held: Registered, now: float) -> tuple[tuple[float, float | None], ...]:
    """Its pauses, of which none goes on."""
    return tuple((start, min(now, now if end is None else end)) for start, end in held.pauses)


def _list(as_json: bool) -> None:
    from .desk import reading

    with reading() as desk:
        found = _rows(desk)
    if as_json:
        return screen.as_json(found)
    if not found:
        screen.hint("Nothing is expected of any job; `holter checks add JOB --schedule '0 2 * * *'` does it.")
    for each in found:
        state = " (paused)" if each["paused"] else ""
        click.echo(f"{each['job']}{state}: {each['words']} [{', '.join(each['sources'])}]")


def _rows(desk: Desk) -> list[Json]:
    """Each job of which something is expected, and by whose word."""
    from ...backends.clock import rfc3339
    from ..jobs import registered
    from ..reports import status

    said = {(each.project, each.job): each for each in registered(desk.backend).values()}
    rows = []
    for each in status(desk.backend, desk.settings, desk.now):
        name, project, last = each.record.name, each.record.project, each.record.last
        mine, configured = said.get((project, name)), desk.settings.checks.get(name)
        declared = last.check if last and not (mine and last.created_at <= mine.forgotten_at) else None
        told = {
            "decorator": dict(declared or {}),
            "settings": _given(configured),
            "checks": mine.check if mine else {},
        }
        check = {key: value for source in told.values() for key, value in source.items()}
        if not check:
            continue
        ends = (
            next((end for start, end in mine.pauses if start <= desk.now < (end or desk.now + 1)), None)
            if mine
            else None
        )
        rows.append(
            {
                "job": name,
                "project": project,
                "check": check,
                "sources": [source for source, value in told.items() if value],
                "paused": bool(mine and _paused(mine, desk.now)),
                "paused_until": rfc3339(ends),
                "next_at": rfc3339(each.verdict.next_at),
                "well": each.well,
                "words": _words(check),
            }
        )
    return rows


def _given(configured: Check | None) -> Json:
    from attrs import asdict

    return {} if configured is None else {k: v for k, v in asdict(configured).items() if v is not None}


def _words(check: Json) -> str:
    """The expectation in a line, durations as people write them."""
    from ...backends.schedule import format_duration

    def shown(name: str, value: Any) -> str:
        plain = isinstance(value, str | list | tuple) or name in ("max_times_median", "median_of")
        return str(value) if plain else format_duration(value)

    return ", ".join(f"{name} {shown(name, value)}" for name, value in check.items())
