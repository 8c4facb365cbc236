"""`holter explain`: why a run is what it is, what changed, and who was told."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import click

from ...backends.errors import HolterError
from . import screen
from .options import RUN_HELP, as_json, run_argument

_ASKED = 600.0  # seconds that a command may think
_TITLES = {
    "causes": "Why, probably",
    "diverged": "Where it went another way",
    "before": "Before",
    "changes": "Different from the last success",
    "lines": "Lines that are new",
    "notes": "Its host said",
    "what": "What happened",
    "expected": "Expected",
    "alerts": "Alerts",
    "why_none": "Why no alert",
    "automations": "Automations",
    "next": "Next",
}


@click.command(epilog=RUN_HELP)
@run_argument
@click.option("--markdown", is_flag=True, help="As Markdown, to paste somewhere.")
@click.option(
    "--ask", metavar="COMMAND", help="Give all this to a command on its standard input; show its answer."
)
@as_json
def explain(run: str, markdown: bool, ask: str | None, as_json: bool) -> int:
    """Say why a run failed, what changed, and who was told."""
    told = _told(run)
    if ask is not None:
        return _ask(ask, "\n".join(as_markdown(told)))
    if as_json:
        screen.as_json(told)
    else:
        from .text import clean

        for row in as_markdown(told) if markdown else _as_text(told):
            click.echo(clean(row))
    return 0


def _told(run: str) -> dict[str, Any]:
    from ..explain import explain as account
    from ..explain import gather
    from ..lookup import find_run
    from ..why import why
    from .desk import reading

    with reading() as desk:
        found = find_run(desk.backend, run)
        told = account(gather(desk.backend, desk.settings, found, desk.now)).to_json()
        reasons = why(desk.backend, found).to_json()
    return {**told, **reasons, "name": found.name}


def _as_text(told: dict[str, Any]) -> Iterator[str]:
    from .text import line

    state = ", ".join([told["state"], *told["conditions"]])
    yield f"{line(told['name'])} {told['run_id']} is {line(state)}."
    for topic, title in _TITLES.items():
        if said := _sentences(told[topic]):
            yield f"\n{title}"
            yield from (f"  {line(sentence)}" for sentence in said)


def as_markdown(told: dict[str, Any]) -> Iterator[str]:
    """The same, for a ticket or a chat."""
    from .text import line

    state = ", ".join([told["state"], *told["conditions"]])
    yield f"# {_marked(line(told['name']))} is {line(state)}"
    yield f"\nRun `{told['run_id']}`" + (f", held against `{told['success']}`." if told["success"] else ".")
    for topic, title in _TITLES.items():
        if said := _sentences(told[topic]):
            yield f"\n## {title}\n"
            for number, sentence in enumerate(said, 1):
                yield (
                    f"{number}." * (topic == "causes")
                    + "-" * (topic != "causes")
                    + f" {_marked(line(sentence))}"
                )


def _sentences(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _marked(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>#|" else sign for sign in text)


def _ask(command: str, text: str) -> int:
    """Run the command, without a shell, and show what it answers. Raises HolterError where it cannot or fails."""
    from .text import clean

    try:
        argv = shlex.split(command)
        done = subprocess.run(
            argv, check=False, input=text.encode("utf-8", "replace"), stdout=subprocess.PIPE, timeout=_ASKED
        )
    except ValueError as error:
        raise click.UsageError(f"--ask {command!r}: {error}") from None
    except (OSError, IndexError) as error:
        raise HolterError(
            f"cannot start {command!r}: {error}", hint="give a command that reads its standard input"
        ) from None
    except subprocess.TimeoutExpired:
        raise HolterError(
            f"{argv[0]} did not answer within {_ASKED:g} s", hint="ask something quicker"
        ) from None
    click.echo(clean(done.stdout.decode("utf-8", "replace")), nl=False)
    if done.returncode:
        raise HolterError(
            f"{argv[0]} failed with exit code {done.returncode}", hint="its own message is above"
        )
    return 0
