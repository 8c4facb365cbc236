"""`--watch`: a verb's picture, drawn again and again until Ctrl-C."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import wraps
from typing import Any

import click

from . import screen
from .options import DURATION

EVERY = "2s"
QUICKEST = 1.0  # seconds


def watched(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The option `--watch [SECONDS]`. Where there is no terminal, or no table is asked for, there is one picture."""

    @wraps(verb)
    def again(*args: Any, watch: float | None, **asked: Any) -> Any:
        if watch is None or not screen.live() or asked.get("shape", "table") != "table":
            return verb(*args, **asked)
        return _go_on(lambda: verb(*args, **asked), max(QUICKEST, watch))

    return click.option(
        "--watch",
        type=_Seconds(),
        is_flag=False,
        flag_value=EVERY,
        metavar="[2s]",
        help="Draw it again every so often, until Ctrl-C.",
    )(again)


class _Seconds(click.ParamType):  # type: ignore[type-arg]  # generic only in recent versions of click
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        plain = str(value)
        return DURATION.convert(f"{plain}s" if plain.replace(".", "").isdigit() else plain, param, ctx)


class _Canvas(io.StringIO):
    """What is written while a picture is made; to those who ask it is the terminal that it goes to."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return sys.__stdout__.fileno() if sys.__stdout__ else 1

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return (sys.__stdout__ and sys.__stdout__.encoding) or "utf-8"


def _go_on(draw: Callable[[], Any], every: float) -> None:
    from ...backends.clock import SYSTEM

    sys.stdout.write("\x1b[2J")
    held = ""
    while True:
        held = _frame(draw, held)
        columns, lines = os.get_terminal_size()
        rows = [row if "\x1b" in row else row[:columns] for row in held.splitlines()[: lines - 1]]
        sys.stdout.write("\x1b[H" + "".join(f"\x1b[K{row}\n" for row in rows) + "\x1b[J")
        sys.stdout.flush()
        SYSTEM.sleep(every)


def _frame(draw: Callable[[], Any], before: str) -> str:
    """The picture; where the store is away, the one before, with a word of that."""
    from ...backends.errors import StorageError

    canvas = _Canvas()
    try:
        with redirect_stdout(canvas), redirect_stderr(canvas):
            draw()
    except StorageError as error:
        if not before:
            raise
        return before if before.startswith("! stale") else f"! stale: {error}\n{before}"
    return canvas.getvalue()
