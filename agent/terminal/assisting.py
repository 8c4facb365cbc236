"""`holter mcp`: for coding assistants."""

from __future__ import annotations

import click

from ...backends.errors import HolterError


@click.command()
def mcp() -> int:
    """Let coding assistants read (Model Context Protocol)."""
    try:
        from .assistant import serve
    except ImportError as error:
        raise HolterError(f"`holter mcp` needs {error.name}", hint="pip install 'holter[mcp]'") from None
    return serve()
