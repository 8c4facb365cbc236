"""An exception as a record. Loaded when something failed: `traceback` costs 9 ms."""

from __future__ import annotations

import os
import traceback
from typing import Any
from zlib import crc32

from .secrets import clean, quote

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
# Bytes as JSON, where a sign takes up to twelve; the middle of a longer one is left out.
TRACEBACK_LIMIT = 20_000
MESSAGE_LIMIT = 8_000
DEEP, LAST = 300, 100  # frames; of more than the first, only so many of the last are looked at


def describe(error: BaseException) -> dict[str, Any]:
    """`type`, `message`, `traceback` (text, secrets blanked, our own frames left out) and `fingerprint`.

    The fingerprint is the same for failures of the same type at the same functions, whatever the message and the
    line numbers say.
    """
    shown = traceback.TracebackException.from_exception(error, limit=-LAST if _is_deep(error) else None)
    _leave_us_out(shown)
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__")
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    return {
        "type": name,
        "message": _within(clean(str(error)), MESSAGE_LIMIT),
        "traceback": _within(clean("".join(shown.format())), TRACEBACK_LIMIT),
        "fingerprint": _fingerprint(name, shown),
    }


def _is_deep(error: BaseException) -> bool:
    """A recursion without end: each of its runs would spell out all the frames of those above it."""
    step, count = error.__traceback__, 0
    while step is not None and count <= DEEP:
        step, count = step.tb_next, count + 1
    return count > DEEP


def _within(text: str, limit: int) -> str:
    """The text without its middle, as far as it takes more than `limit` bytes of JSON."""
    half, shown = limit // 2, text
    while len(quote(shown)) > limit:
        shown = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
        half = half * 3 // 4
    return shown


def _leave_us_out(shown: traceback.TracebackException) -> None:
    for each in (shown, shown.__cause__, shown.__context__):
        if each is not None:
            kept = [frame for frame in each.stack if not frame.filename.startswith(_PACKAGE + os.sep)]
            each.stack = traceback.StackSummary.from_list(kept)


def _fingerprint(name: str, shown: traceback.TracebackException) -> str:
    frames = [f"{os.path.basename(frame.filename)}:{frame.name}" for frame in shown.stack]
    place = "|".join([name, *frames]).encode("utf-8", "replace")
    return f"{crc32(place):08x}{crc32(place[::-1]):08x}"  # hashlib maps 5 MB of library, which MemoryError has not
