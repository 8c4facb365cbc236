"""`holter explain`: why a run is what it is, and who was told."""

from __future__ import annotations

import click

from . import screen
from .options import RUN_HELP, as_json, run_argument

_TITLES = {
    "what": "What happened",
    "expected": "Expected",
    "alerts": "Alerts",
    "why_none": "Why no alert",
    "automations": "Automations",
    "next": "Next",
}


@click.command(epilog=RUN_HELP)
@run_argument
@as_json
def explain(run: str, as_json: bool) -> None:
    """Say who judged a run, against what, and who was told."""
    from ..explain import explain as account
    from ..explain import gather
    from ..lookup import find_run
    from .desk import reading
    from .text import line

    with reading() as desk:
        found = find_run(desk.backend, run)
        told = account(gather(desk.backend, desk.settings, found, desk.now)).to_json()
    if as_json:
        return screen.as_json(told)
    state = ", ".join([told["state"], *told["conditions"]])
    click.echo(f"{line(found.name)} {found.id} is {line(state)}.")
    for topic, title in _TITLES.items():
        if told[topic]:
            click.echo(f"\n{title}")
            for sentence in told[topic]:
                click.echo(f"  {line(sentence)}")
    return None
