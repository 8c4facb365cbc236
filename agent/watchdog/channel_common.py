"""What channels share: a bound in time, and what the other side said in one safe line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ...backends.errors import ChannelError
from ..secrets import clean

T = TypeVar("T")
_MESSAGE = 200  # characters of what a channel said about its failure


def within(seconds: float, place: str, act: Callable[[], T]) -> T:
    """The result of `act`, or `ChannelError` after `seconds`: socket timeouts do not cover name lookups, nor an
    answer that trickles. The thread that is left behind cannot keep the process alive."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(act())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, name="holter-channel", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise ChannelError(f"{place} did not answer within {seconds:g} s", ambiguous=True)
    return results[0]


def spoken(lines: list[str]) -> str:
    """`: ` and the last line that says something, cleaned and cut; "" where none does."""
    last = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
    printable = "".join(char for char in clean(last) if char.isprintable())
    return f": {printable[:_MESSAGE]}" if printable else ""
