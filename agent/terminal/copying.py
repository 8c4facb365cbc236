"""`holter copy`: from any store to any other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import click

from ...backends.errors import UnknownBackend
from ...backends.urls import path_of
from . import screen
from .options import as_json

TIMEOUT = 60.0  # seconds that a copy waits for another writer
SHOWN = ("runs", "events", "lines", "transitions", "checksum")


@click.command()
@click.option(
    "--from", "source", required=True, metavar="URL", help="The store that is read; it stays as it is."
)
@click.option("--to", "target", required=True, metavar="URL", help="The store that gets it all.")
@as_json
def copy(source: str, target: str, as_json: bool) -> int:
    """Copy all history from one store to another, and compare.

    What was interrupted is simply started again: nothing arrives twice. Runs, attempts, lines, transitions, alerts and
    snoozes go over; leases, the watchdog's pulse and a collector's tokens do not. A live run goes on in the old store:
    copy again after it ended. Nothing that happened before is alerted from the new store.
    """
    from ...backends.urls import open_backend, redacted
    from ..copying import copy as go
    from ..settings import load

    home = load().home
    if source == target:
        raise click.UsageError("--from and --to name the same store")
    _must_be_there(source, home)
    with (
        closing(open_backend(source, home, timeout=TIMEOUT)) as old,
        closing(open_backend(target, home, timeout=TIMEOUT)) as new,
        _bar() as progress,
    ):
        done = go(old, new, progress)
    if as_json:
        screen.as_json({"from": redacted(source), "to": redacted(target), **done.to_json()})
        return 0 if done.ok else 1
    click.echo(f"{done.runs:,} runs went over or were completed. Now there are:\n")
    for name in SHOWN:
        here, there = getattr(done.source, name), getattr(done.target, name)
        click.echo(f"  {name:<12} {_figure(here):>34} {'=' if here == there else '≠'} {_figure(there)}")
    if done.live:
        click.echo(f"\n{done.live} runs are live and go on where they are: copy again after they ended.")
    for root in done.differ[:10]:
        screen.say(f"run {root} is not the same on both sides: copy again, and see `holter doctor`")
    return 0 if done.ok else 1


def _must_be_there(source: str, home: str) -> None:
    """Opening a store makes it where there is none: the copy of nothing would be a success."""
    plain = source.partition("?")[0]
    if plain.startswith(("sqlite:", "file:")) and not os.path.exists(path := path_of(plain, home)):
        raise UnknownBackend(f"there is no store at {path}", hint="look at what --from says")


def _figure(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Copying", total=None)

        def show(done: int, of: int) -> None:
            what = "Comparing" if done * 2 > of else "Copying"
            bar.update(task, completed=done, total=of, description=what)

        yield show
