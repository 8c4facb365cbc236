"""`holter alerts`: list, test, snooze, ack."""

from __future__ import annotations

import click

from . import screen
from .options import DURATION, as_json

_limit = click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many."
)
_host = click.option("--host", metavar="NAME", help="Only on this host; a shell pattern.")


_all = click.option("--all", "members", is_flag=True, help="Also those that were told in a digest.")


@click.group(invoke_without_command=True)
@_limit
@_all
@as_json
@click.pass_context
def alerts(ctx: click.Context, limit: int, members: bool, as_json: bool) -> None:
    """List alerts; test channels, snooze jobs, acknowledge trouble."""
    if ctx.invoked_subcommand is None:
        _list(limit, members, as_json)


@alerts.command("list")
@_limit
@_all
@as_json
def list_(limit: int, members: bool, as_json: bool) -> None:
    """List alerts, newest first."""
    _list(limit, members, as_json)


def _list(limit: int, members: bool, as_json: bool) -> None:
    from ..watchdog.outbox import list_alerts, snoozes
    from .desk import reading

    with reading() as desk:
        every, quiet = list_alerts(desk.backend), snoozes(desk.backend, desk.now)
    found = [each for each in every if members or each["state"] != "digest"]
    if as_json:
        return screen.as_json(found[:limit])
    from .tables import alerts_table, delivery_errors, snooze_text

    if found:
        screen.show(alerts_table(found[:limit], desk.now), *delivery_errors(found[:limit]))
    else:
        screen.hint("No alert yet; `holter alerts test` tries the channels.")
    if len(found) > limit:
        screen.hint(f"{len(found) - limit} older ones: --limit {len(found)} shows them.")
    if len(every) > len(found):
        screen.hint(f"{len(every) - len(found)} more were told in digests: --all lists them.")
    screen.show(*(snooze_text(each) for each in quiet))


@alerts.command()
@click.argument("channel", required=False)
@click.option(
    "--as",
    "kind",
    metavar="EVENT",
    help="As this event would look: crashed, failed, late, recovered, digest ...",
)
def test(channel: str | None, kind: str | None) -> int:
    """Send a test alert through every channel, or through CHANNEL."""
    from ..settings import load
    from ..watchdog.trial import trial

    failed = False
    for tried in trial(load().channels, channel, kind=kind):
        failed = failed or tried.error is not None
        click.echo(f"{tried.channel}: " + ("sent" if tried.error is None else f"failed, {tried.error}"))
    return 1 if failed else 0


@alerts.command()
@click.argument("words", nargs=-1, required=True, metavar="[JOB] DURATION")
@_host
def snooze(words: tuple[str, ...], host: str | None) -> None:
    """Send no alert about JOB (a name or shell pattern), or about a whole host, for DURATION; 0s ends it.

    It lasts until then, whatever happens meanwhile; what happens is still recorded.
    """
    from ..identity import me
    from ..watchdog import outbox
    from .desk import opened
    from .naming import warn_of_unknown
    from .tables import snooze_target
    from .text import stamp

    *jobs, last = words
    if len(jobs) > 1 or not (jobs or host):
        raise click.UsageError("say whom and how long: `holter alerts snooze etl 2h` or `--host web-1 2h`")
    duration: float = DURATION.convert(last, None, None)
    about = {"job": jobs[0] if jobs else None, "host": host}
    with opened() as desk:
        until = desk.now + duration
        if jobs and duration:
            warn_of_unknown(desk, jobs[0])
        outbox.snooze(desk.backend, about["job"], until, by=me()["user"], host=host)
    if duration:
        click.echo(
            f"No alert about {snooze_target(about)} until {stamp(until)}; what happens is still recorded."
        )
    else:
        click.echo(f"{snooze_target(about)} alerts again.")


@alerts.command()
@as_json
def snoozes(as_json: bool) -> None:
    """List the snoozes that hold, and when they end."""
    from ...backends.clock import rfc3339
    from ..watchdog import outbox
    from .desk import opened
    from .tables import snooze_text

    with opened() as desk:
        held = outbox.snoozes(desk.backend, desk.now)
    if as_json:
        return screen.as_json(
            [{"job": None, "host": None, **each, "until": rfc3339(each["until"])} for each in held]
        )
    if not held:
        screen.hint("Nothing is snoozed; `holter alerts snooze JOB 2h` does it.")
    screen.show(*(snooze_text(each) for each in held))


@alerts.command()
@click.argument("job", required=False)
@_host
def ack(job: str | None, host: str | None) -> None:
    """Send no more reminders of the trouble that JOB (a name or shell pattern) or a host is in."""
    from ..identity import me
    from ..watchdog import outbox
    from .desk import opened
    from .naming import warn_of_unknown
    from .tables import snooze_target

    if not (job or host):
        raise click.UsageError("say of whom: `holter alerts ack etl` or `holter alerts ack --host web-1`")
    about = snooze_target({"job": job, "host": host})
    with opened() as desk:
        count = outbox.ack(desk.backend, job, by=me()["user"], host=host)
        if job and not count:
            warn_of_unknown(desk, job)
    said = (
        f"{count} open alerts about {about}: no more reminders." if count else f"No open alert about {about}."
    )
    click.echo(said)
