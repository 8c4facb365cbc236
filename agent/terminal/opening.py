"""`holter ui`: the dashboard over the configured store, for the person who typed it."""

from __future__ import annotations

import click

from ...backends.errors import HolterError


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Listen there; else any free one."
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def ui(port: int, no_browser: bool) -> int:
    """Look at everything in a browser; Ctrl-C ends it."""
    from ..settings import load

    settings = load()
    try:
        from ..web.options import Options
        from ..web.personal import show
    except ImportError as error:
        raise HolterError(f"`holter ui` needs {error.name}", hint="pip install 'holter[web]'") from None
    return show(Options(settings.backend, settings.home), port, browser=not no_browser)
