"""Alerts as texts for a screen: no control characters, titles of one line, cut to what a place takes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from ...backends.records import Json

TITLE = 150  # characters of a title: what the narrowest place takes as a heading
_LAST = 200  # characters of the line that says what shows more
_CUT = "..."
_TAIL = "Last lines:"
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")  # of terminals
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text without what moves a cursor, colours, rings or turns the direction of writing; lines end in LF."""
    return _CONTROLS.sub("", "\n".join(_ESCAPES.sub("", text).splitlines()))


def title_of(alert: Json, most: int = TITLE) -> str:
    """The alert's title as one line of at most `most` characters."""
    return _shortened(" ".join(printable(str(alert["title"])).split()), most)


def fitted(body: str, room: int, size: Callable[[str], int] = len) -> str:
    """The body, where its `size` is at most `room`. Else its head, the newest lines of the log, cut in width, and its
    last line, which says what shows more; `...` stands where something is missing."""
    if size(body) <= room:
        return body
    *lines, last = body.split("\n")
    end = f"\n\n{_shortened(last, _LAST)}"
    if size(end) > room // 2:
        end = ""
    at = lines.index(_TAIL) + 1 if _TAIL in lines else len(lines)
    head = "\n".join(lines[:at]).rstrip()
    tail = [_shortened(line, max(40, room // 10)) for line in lines[at:] if line]
    for gone in range(1, len(tail)):  # the oldest go first
        text = "\n".join([head, f"  {_CUT}", *tail[gone:]]) + end
        if size(text) <= room:
            return text
    while head and size(f"{head}{_CUT}{end}") > room:
        head = head[: len(head) * 19 // 20]
    return f"{head}{_CUT}{end}"


def _shortened(line: str, most: int) -> str:
    return line if len(line) <= most else line[: most - len(_CUT)] + _CUT
