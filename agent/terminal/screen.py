"""The way out: JSON, plain text, tables. Colours only on a terminal, and not where NO_COLOR forbids them."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from .text import line

if TYPE_CHECKING:
    from rich.console import RenderableType

_CODES = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
UNBOUNDED = 100_000  # columns of a pipe
EMPTY = (
    "Nothing is recorded yet. Put @flow above a function, or type `holter run -- echo hello`; "
    "`holter demo` shows it all."
)


def say(message: str) -> None:
    """One line on stderr, as from every verb. The message may name what was recorded."""
    sys.stderr.write(f"holter: {line(message)}\n")


def hint(message: str) -> None:
    """What to type, where there is nothing to show; on stderr, so that a pipe gets nothing."""
    sys.stderr.write(f"{message}\n")


def as_json(value: Any, indent: int | None = 2) -> None:
    """`value` as ASCII JSON, and nothing else, on stdout. `indent` None: in one line, at once."""
    from json import dumps

    sys.stdout.write(dumps(value, indent=indent, default=str) + "\n")
    if indent is None:
        sys.stdout.flush()


def forced() -> bool:
    """Whether colours are wanted in a pipe too."""
    return bool(os.environ.get("FORCE_COLOR")) and "NO_COLOR" not in os.environ


def colours() -> bool:
    """Whether stdout takes colours."""
    return (
        (sys.stdout.isatty() or forced())
        and "NO_COLOR" not in os.environ
        and os.environ.get("TERM") not in ("dumb", "unknown")
    )


def live() -> bool:
    """Whether there is a terminal, at both ends, that pictures can be drawn on."""
    return (
        sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    )


def blocks() -> bool:
    """Whether stdout's encoding has the signs that bars and sparklines are drawn with."""
    try:
        "█▓░·▁▄".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


_SIGNS = {"✔": "+", "✘": "x", "■": "#", "»": ">", "▶": ">", "↻": "~", "…": "~", "▪": "+", "→": ">"}


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What a terminal shows that has no such signs: a sign of one character for each of ours, "?" for others."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SIGNS.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


IN_ASCII = "holter.in-ascii"  # a handler of encoding errors
codecs.register_error(IN_ASCII, _in_ascii)


def paint(text: str, colour: str) -> str:
    """The text in a colour, for lines that are too many for rich. It is clean, and `colours()` was asked."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def show(*parts: RenderableType) -> None:
    """Print rich's tables and texts. In a pipe there is no width to fit: nothing is cut or padded."""
    from rich.console import Console

    if sys.stdout.isatty():
        console = Console(highlight=False, markup=False, emoji=False)
        for part in parts:
            console.print(part, crop=False)
        return
    system: Literal["standard"] | None = "standard" if forced() else None
    console = Console(
        highlight=False,
        markup=False,
        emoji=False,
        color_system=system,
        force_terminal=forced(),
        width=UNBOUNDED,
    )
    with console.capture() as caught:
        for part in parts:
            console.print(part)
    sys.stdout.write("".join(f"{row.rstrip()}\n" for row in caught.get().splitlines()))


@contextmanager
def busy(what: str, worth: bool = True) -> Iterator[None]:
    """A spinner on stderr while something takes its time. `worth` False, or no terminal: nothing."""
    if not worth or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(what, total=None)
        yield
