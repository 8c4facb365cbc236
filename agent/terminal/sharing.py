"""`holter report --html`: the report as a page in a file."""

from __future__ import annotations

from typing import Any

import click

from . import screen


def share(path: str | None, asked: dict[str, Any], since: float, *, public: bool) -> None:
    """Write the page to `path`, - for stdout. `asked` are fields of a RunQuery, `since` is in seconds."""
    from ...backends.queries import RunQuery
    from .. import sharing
    from .desk import reading

    if path is None:
        raise click.UsageError("--public is for a page: say --html FILE, too")
    with reading() as desk:
        query = RunQuery(**asked, since=desk.now - since, until=desk.now)
        found, jobs = sharing.figures(desk.backend, desk.settings, query)
        secrets = [
            None if public else sharing.private(desk.backend, desk.settings, job, desk.now) for job in jobs
        ]
    title = f"Jobs of {asked['project']}" if asked.get("project") else "Jobs"
    text = sharing.page(found, list(zip(jobs, secrets, strict=True)), title)
    if path == "-":
        return click.echo(text, nl=False)
    sharing.write(path, text, public=public)
    screen.hint(
        f"Wrote {path}: {len(jobs)} jobs" + (", for anybody." if public else ", for you only (0600).")
    )
    return None
