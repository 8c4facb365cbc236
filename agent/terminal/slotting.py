"""`holter slots`: who holds and who waits for each limit, and freeing what nobody can be using any more."""

from __future__ import annotations

from typing import Any

import click

from . import screen
from .options import as_json


class Listing(click.Group):
    """What is no verb of its own is an argument of `ls`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["ls", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Listing)
def slots() -> None:
    """Show who holds and who waits for limits; free a slot."""


@slots.command()
@click.argument("limit", required=False)
@as_json
def ls(limit: str | None, as_json: bool) -> None:
    """Show who holds and who waits for each limit (or just LIMIT)."""
    from ..occupancy import occupancy, run_states
    from .desk import reading

    with reading() as desk:
        found = occupancy(desk.settings.home, desk.settings.limits, desk.backend, limit)
        states = run_states(desk.backend, found)
    if as_json:
        screen.as_json([each.to_json(desk.now, states) for each in found])
    elif not found:
        screen.hint(
            'No limit yet; `with concurrency("database"):` or `holter run --limit database:3` makes one.'
        )
    else:
        from .tables import slots_table

        screen.show(slots_table(found, desk.now, states))


@slots.command("break")
@click.argument("limit")
@click.option("--slot", type=click.IntRange(0), metavar="N", help="Only this one.")
def break_(limit: str, slot: int | None) -> int:
    """Free slots of LIMIT whose holder is gone by proof.

    What a dead process left holding a slot of this host is ended; the lease of one is taken out of a shared limit. Who
    lives, or may live, keeps its slot, and is named.
    """
    from ..occupancy import occupancy
    from ..watchdog.breaking import Broken, break_local, break_shared
    from .desk import opened

    said: list[Broken] = []
    with opened() as desk:
        desk.refresh()
        for each in occupancy(desk.settings.home, desk.settings.limits, desk.backend, limit):
            if each.scope == "shared":
                said += break_shared(desk.backend, limit, slot)
            else:
                said += break_local(desk.settings.home, limit, slot)
    for one in said:
        _tell(one)
    if not said:
        click.echo(f"nobody holds {limit if slot is None else f'slot {slot} of {limit}'}")
    return 0 if all(one.freed for one in said) else 1


def _tell(one: Any) -> None:
    text = f"slot {one.slot} of {one.limit}: {'freed' if one.freed else 'not freed'}: {one.said}"
    click.echo(text) if one.freed else screen.say(text)
