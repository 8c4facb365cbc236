"""`holter alerts`: list, test, snooze, ack."""

from __future__ import annotations

import click

from . import screen
from .options import DURATION, as_json


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def alerts(ctx: click.Context, as_json: bool) -> None:
    """List alerts; test channels, snooze jobs, acknowledge trouble."""
    if ctx.invoked_subcommand is None:
        _list(as_json)


@alerts.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List alerts, newest first."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from ..watchdog.outbox import list_alerts, snoozes
    from .desk import reading

    with reading() as desk:
        found, quiet = list_alerts(desk.backend), snoozes(desk.backend, desk.now)
    if as_json:
        return screen.as_json(found)
    from .tables import alerts_table, snooze_text

    if found:
        screen.show(alerts_table(found, desk.now))
    else:
        screen.hint("No alert yet; `holter alerts test` tries the channels.")
    screen.show(*(snooze_text(each) for each in quiet))


@alerts.command()
@click.argument("channel", required=False)
def test(channel: str | None) -> int:
    """Send a test alert through every channel, or through CHANNEL."""
    from ..settings import load
    from ..watchdog.trial import trial

    failed = False
    for tried in trial(load().channels, channel):
        failed = failed or tried.error is not None
        click.echo(f"{tried.channel}: " + ("sent" if tried.error is None else f"failed, {tried.error}"))
    return 1 if failed else 0


@alerts.command()
@click.argument("job")
@click.argument("duration", type=DURATION)
def snooze(job: str, duration: float) -> None:
    """Send no alert about JOB (a name or shell pattern) for DURATION; 0s ends it."""
    from ..identity import me
    from ..watchdog import outbox
    from .desk import opened
    from .text import stamp

    with opened() as desk:
        until = desk.now + duration
        outbox.snooze(desk.backend, job, until, by=me()["user"])
    if duration:
        click.echo(f"No alert about {job} until {stamp(until)}; what happens is still recorded.")
    else:
        click.echo(f"{job} alerts again.")


@alerts.command()
@click.argument("job")
def ack(job: str) -> None:
    """Send no more reminders of the trouble that JOB (a name or shell pattern) is in."""
    from ..identity import me
    from ..watchdog import outbox
    from .desk import opened

    with opened() as desk:
        count = outbox.ack(desk.backend, job, by=me()["user"])
    said = f"{count} open alerts about {job}: no more reminders." if count else f"No open alert about {job}."
    click.echo(said)
