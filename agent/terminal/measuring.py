"""`holter metrics`: the page that Prometheus takes, once."""

from __future__ import annotations

import click


@click.command()
@click.option(
    "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Write it there, whole or not at all."
)
@click.option("--project", metavar="NAME", help="Only the jobs of this project.")
def metrics(output: str | None, project: str | None) -> None:
    """Print figures for Prometheus, or write them to a file."""
    from .. import sharing
    from ..exposition import text
    from ..watchdog.measures import measures
    from .desk import opened

    with opened() as desk:
        desk.refresh()
        page = text(measures(desk.backend, desk.settings, desk.now, project))
    if output is None:
        return click.echo(page, nl=False)
    sharing.write(output, page, public=True)
