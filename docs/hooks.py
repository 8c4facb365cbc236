"""What mkdocs does not do by itself: the commands' reference from click, the package's sources where they can be found
by name (its folder is the repository), and no page that the navigation forgets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
COMMANDS = "<!-- every command -->"
ELSEWHERE = re.compile(
    r"\[([^\]]+)\]\((?:\.\./)+((?:agent|backends|bench|examples|tests)/[^)]*|[A-Z]+\.md)(?:#[^)]*)?\)"
)
WIDTH = 78  # of a terminal with 80 columns, as click sees it
SOURCES = ROOT / "build/sources/holter"  # links, by the name of the package: mkdocs.yml names their folder


def on_startup(**_: Any) -> None:
    """Before anybody looks: a folder that is not there yet would be no place to look for the package."""
    SOURCES.mkdir(parents=True, exist_ok=True)
    for path in (*ROOT.glob("*.py"), *(ROOT / name for name in ("agent", "backends", "testing"))):
        SOURCES.joinpath(path.name).unlink(missing_ok=True)
        SOURCES.joinpath(path.name).symlink_to(path)


def on_config(config: Any) -> Any:
    config.nav = with_all_pages(config.nav)
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The commands where they belong; and files of the repository by their name, since they are not on the site."""
    markdown = ELSEWHERE.sub(r"\1 (`\2`)", markdown)
    return markdown.replace(COMMANDS, commands()) if COMMANDS in markdown else markdown


def with_all_pages(nav: list[Any]) -> list[Any]:
    """The navigation, with pages that it does not name at its end."""
    named = set(_named(nav))
    pages = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
    others = [page for page in pages if page not in named]
    return [*nav, {"More": others}] if others else nav


def _named(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from _named(each)


def commands() -> str:
    """Every command with its `--help`, word for word, as Markdown."""
    from holter.cli import cli

    return "\n".join(f"## `{name}`\n\n```text\n{text}\n```\n" for name, text in helps(cli, "holter"))


def helps(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """The full name and the help of a command and of those below it."""
    word = name.rpartition(" ")[2]
    context = click.Context(
        command, info_name=word, parent=parent, terminal_width=WIDTH, **command.context_settings
    )
    if not command.hidden:
        yield name, command.get_help(context).rstrip()
    if isinstance(command, click.Group) and not command.hidden:
        for each in command.list_commands(context):
            yield from helps(command.commands[each], f"{name} {each}", context)
