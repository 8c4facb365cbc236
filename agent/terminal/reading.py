"""The verbs that read: runs, show, logs, report, status. What they need is imported inside them."""

from __future__ import annotations

from typing import Any

import click

from ...backends.states import CONDITIONS, KINDS, STATES
from . import formats, screen
from .formats import shaped
from .options import DURATION, RUN_HELP, AnyCase, as_json, run_argument
from .watching import watched

of_job = click.option(
    "--job", metavar="NAME", help="Only this job; a shell pattern such as 'nightly-*' works."
)
of_project = click.option("--project", metavar="NAME", help="Only this project.")
of_kind = click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=AnyCase(*KINDS),
    help="Runs of this kind, also those inside others.",
)


@click.command()
@of_job
@of_kind
@click.option(
    "--state",
    "states",
    multiple=True,
    type=AnyCase(*STATES, *CONDITIONS, "stale"),
    metavar="STATE",
    help="Only runs in this state or condition; may be given again.",
)
@click.option("--tag", "tags", multiple=True, help="Only runs with this tag; given again, with all of them.")
@click.option("--host", metavar="NAME", help="Only runs of this host; a shell pattern.")
@of_project
@click.option("--since", type=DURATION, metavar="24h", help="Only runs of the last so much time.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="At most so many."
)
@shaped
@watched
def runs(since: float | None, limit: int, shape: str, **asked: Any) -> None:
    """List what ran, newest first."""
    from ...backends.queries import RunQuery
    from ..lookup import steps_now
    from .desk import reading

    with reading() as desk:
        start = None if since is None else desk.now - since
        query = RunQuery(**asked, since=start, limit=limit, roots=not asked["kinds"])
        found = desk.backend.runs(query)
        steps = steps_now(desk.backend, found) if shape == "table" else {}
    if shape == "json":
        screen.as_json([run.to_json() for run in found])
    elif shape != "table":
        formats.put(shape, formats.RUN, (formats.run_row(run.to_json()) for run in found))
    elif not found:
        screen.hint("No run matches." if any(asked.values()) or since is not None else screen.EMPTY)
    else:
        from .tables import runs_table

        screen.show(runs_table(found, steps, desk.now))
        if len(found) == limit:
            screen.hint(f"The newest {limit}; `--limit {limit * 4}` shows more.")


@click.command(epilog=RUN_HELP)
@run_argument
@as_json
def show(run: str, as_json: bool) -> None:
    """Show one run whole: what it got, did and said, and why it ended."""
    from ...backends.queries import LogQuery
    from ..lookup import descendants, find_run, nested
    from .desk import reading

    with reading() as desk:
        found = find_run(desk.backend, run)
        family = descendants(desk.backend, found)
        events = desk.backend.events(found.id) if as_json else []
        logs = [] if as_json else desk.backend.logs(LogQuery(found.id, limit=10, last=True))
    if as_json:
        screen.as_json({**nested(found, family), "events": events})
    else:
        from .show import whole

        screen.show(*whole(found, family, logs, desk.now, unicode=screen.blocks()))


@click.command(epilog=RUN_HELP)
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends, and exit with its code.")
@click.option(
    "--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines (and what comes, with -f)."
)
@click.option("--grep", metavar="WORDS", help="Only lines that have all these words.")
@click.option(
    "--level",
    type=AnyCase("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    help="Only lines from this level up.",
)
@as_json
def logs(
    run: str, follow: bool, tail: int | None, grep: str | None, level: str | None, as_json: bool
) -> int | None:
    """Print what a run, and everything inside it, said."""
    from ..lookup import find_run
    from . import logs as lines
    from .desk import reading

    with reading() as desk:
        found = find_run(desk.backend, run)
        wanted = lines.Wanted(found.id, grep, level, tail)
        put = lines.put_json if as_json else lines.Printer(desk.backend, found).put
        if follow:
            return lines.code_of(lines.follow(desk.backend, wanted, put, desk.refresh))
        said = wanted.pick(desk.backend.logs(wanted.query()))
        if as_json:
            screen.as_json([line.to_json() for line in said])
        elif said:
            put(said)
        else:
            screen.hint("No line matches." if grep or level else "It said nothing.")
    return None


@click.command()
@click.option(
    "--since", type=DURATION, default="7d", show_default=True, metavar="7d", help="How far to look back."
)
@of_job
@of_kind
@of_project
@click.option("--html", metavar="FILE", help="As one page to send around; - prints it.")
@click.option("--public", is_flag=True, help="Of that page, only what anybody may see.")
@shaped
@watched
def report(
    since: float, kinds: tuple[str, ...], html: str | None, public: bool, shape: str, **asked: Any
) -> None:
    """Figures per job: success, completeness, durations, lateness."""
    if html is not None or public:
        from .sharing import share

        return share(html, {**asked, "kinds": kinds, "roots": not kinds}, since, public=public)
    from ...backends.queries import RunQuery
    from ..reports import report as figures
    from .desk import reading
    from .trends import trends

    with reading() as desk:
        query = RunQuery(**asked, kinds=kinds, roots=not kinds, since=desk.now - since, until=desk.now)
        found = figures(desk.backend, desk.settings.checks, query)
        over_time = trends(desk.backend, query, found) if shape == "table" else {}
    if shape == "json":
        screen.as_json(found.to_json())
    elif shape != "table":
        formats.put(shape, formats.JOB, (formats.job_row(job.to_json()) for job in found.jobs))
    elif not found.jobs:
        screen.hint("Nothing ran in that time; `--since 30d` looks further back.")
    else:
        from .tables import ReportTable

        screen.show(ReportTable(found, desk.now, over_time, unicode=screen.blocks()))


@click.command()
@of_job
@click.option(
    "--since",
    type=DURATION,
    default="30d",
    show_default=True,
    metavar="30d",
    help="Jobs that ran in this time.",
)
@shaped
@watched
def status(job: str | None, since: float, shape: str) -> int:
    """Say whether each job is well; exit 1 if one is not."""
    from ..reports import status as judged
    from .desk import reading

    with reading() as desk:
        jobs = judged(desk.backend, desk.settings, desk.now, since=desk.now - since, job=job)
    if shape == "json":
        screen.as_json([each.to_json() for each in jobs])
    elif shape != "table":
        formats.put(shape, formats.STATUS, (formats.status_row(each.to_json()) for each in jobs))
    elif not jobs:
        screen.hint("No such job." if job else screen.EMPTY)
    else:
        from .tables import status_table

        screen.show(status_table(jobs, desk.now))
    return 0 if all(each.well for each in jobs) else 1


VERBS = (runs, show, logs, report, status)
