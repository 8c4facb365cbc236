"""`holter serve` and `holter token`: the collector, and who may talk to it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ...backends.errors import HolterError
from . import screen
from .options import as_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...backends.base import Backend

TIMEOUT = 5.0  # seconds that a verb waits for another writer of the store
_BACKEND = click.option("--backend", metavar="URL", help="The collector's store, not as the settings say.")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; all: 0.0.0.0.")
@click.option("--port", type=click.IntRange(0, 65535), default=8400, show_default=True, help="0: any.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@_BACKEND
@click.option("--certfile", type=click.Path(), help="Serve TLS with this certificate (PEM).")
@click.option("--keyfile", type=click.Path(), help="Its key, where it is not in the same file.")
def serve(
    host: str, port: int, workers: int, backend: str | None, certfile: str | None, keyfile: str | None
) -> int:
    """Collect the records of other hosts."""
    from ..settings import load

    settings = load(backend=backend)
    try:
        from ..web.options import Options
        from ..web.server import serve as go
    except ImportError as error:
        raise HolterError(f"`holter serve` needs {error.name}", hint="pip install 'holter[web]'") from None
    return go(Options(settings.backend, settings.home), host, port, workers, certfile, keyfile)


@contextmanager
def _opened(backend: str | None) -> Iterator[Backend]:
    from ...backends.urls import open_backend
    from ..settings import load

    settings = load(backend=backend)
    store = open_backend(settings.backend, settings.home, timeout=TIMEOUT)
    try:
        yield store
    finally:
        store.close()


@click.group()
def token() -> None:
    """Make, list and revoke tokens of a collector, on its host."""


@token.command()
@click.option("--ingest", is_flag=True, help="May append records, and hold leases.")
@click.option("--read", is_flag=True, help="May read.")
@click.option("--operate", is_flag=True, help="May read, and press the dashboard's buttons: snooze, cancel.")
@click.option("--watch", is_flag=True, help="May all that, and what a watchdog elsewhere does.")
@click.option("--ping", is_flag=True, help="Is the key in addresses of pings, /ping/KEY/JOB; nothing else.")
@click.option("--project", metavar="P", help="Only in this project.")
@click.option("--job", metavar="JOB", help="Of --ping: a uuid, whose address pings this job.")
@_BACKEND
@as_json
def new(
    ingest: bool,
    read: bool,
    operate: bool,
    watch: bool,
    ping: bool,
    project: str | None,
    job: str | None,
    backend: str | None,
    as_json: bool,
) -> None:
    """Make a token and print it, this once."""
    from ...backends.clock import SYSTEM
    from ..identity import me
    from ..web.tokens import mint

    asked = {"ingest": ingest, "read": read, "operate": operate, "watch": watch, "ping": ping}
    scopes = tuple(name for name, on in asked.items() if on)
    if not scopes:
        raise click.UsageError("say what it may: --ingest, --read, --operate, --watch or --ping")
    if ping and scopes != ("ping",):
        raise click.UsageError("a key for pings stands in addresses: let it do nothing else")
    if job is not None and not ping:
        raise click.UsageError("--job goes with --ping")
    if watch and project is not None:
        raise click.UsageError("a watchdog's token is bound to no project: leave out --project")
    with _opened(backend) as store:
        text, made = mint(store, scopes, project, str(me()["user"]), SYSTEM.wall(), job)
    if as_json:
        said = {"token": text, "id": made.id, "scopes": list(scopes), "project": project, "job": job}
        return screen.as_json(said)
    click.echo(text)
    where = f", in project {project}" if project else ""
    if ping:
        what = "" if job else "/JOB"
        return screen.hint(
            f"Ping https://COLLECTOR/ping/{text}{what}{where}; it is shown this once. "
            f"`holter token revoke {made.id}` ends it."
        )
    screen.hint(
        f"It may {' and '.join(scopes)}{where}, and is shown this once. Give it to a host as HOLTER_TOKEN or in "
        f"HOLTER_HOME/token; `holter token revoke {made.id}` ends it."
    )


@token.command()
@_BACKEND
@as_json
def ls(backend: str | None, as_json: bool) -> None:
    """List tokens, by id; their text is kept nowhere."""
    from ...backends.clock import rfc3339
    from ..web.tokens import everyone

    with _opened(backend) as store:
        found = everyone(store)
    if as_json:
        return screen.as_json(
            [
                {
                    "id": each.id,
                    "scopes": list(each.scopes),
                    "project": each.project,
                    "job": each.job,
                    "created_at": rfc3339(each.created_at),
                    "created_by": each.created_by,
                    "revoked_at": rfc3339(each.revoked_at),
                }
                for each in found
            ]
        )
    if not found:
        return screen.hint("No token yet; `holter token new --ingest` makes one.")
    from .tables import tokens_table

    screen.show(tokens_table(found))


@token.command()
@click.argument("token_id", metavar="ID")
@_BACKEND
def revoke(token_id: str, backend: str | None) -> None:
    """Take a token's rights, at once."""
    from ...backends.clock import SYSTEM
    from ..web.tokens import revoke as end

    with _opened(backend) as store:
        end(store, token_id, SYSTEM.wall())
    click.echo(f"{token_id} is revoked.")
