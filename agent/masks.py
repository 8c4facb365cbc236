"""Lines of a log by their template: what stays when numbers, times, ids, addresses and paths are masked. Pure.

The simple method, stated: each pattern below is replaced by its sign, in this order, and runs of the same sign become
one. Two lines are of one template if what is left is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SIGNS = (
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?\b"), "<time>"),
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<id>"),
    (re.compile(r"\b(?=\w*\d)(?=\w*[a-zA-Z])\w{8,}\b"), "<id>"),
    (re.compile(r"(?<![\w<])/[^\s:,;'\")]+"), "<path>"),
    (re.compile(r"(?<![a-zA-Z])[+-]?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?"), "<n>"),
    (re.compile(r"(<\w+>)(?:[\s,;|]+\1)+"), r"\1"),
)
_LONGEST = 1000  # characters of a line that are looked at


def mask(line: str) -> str:
    """The template of a line."""
    line = line[:_LONGEST]
    for pattern, sign in _SIGNS:
        line = pattern.sub(sign, line)
    return " ".join(line.split())


def unseen(lines: Iterable[str], before: Iterable[str]) -> list[tuple[str, int]]:
    """Those of `lines` whose template is not among those of `before`: the first of each, and how many there are."""
    known = {mask(line) for line in before}
    found: dict[str, tuple[str, int]] = {}
    for line in lines:
        template = mask(line)
        if template and template not in known:
            first, count = found.get(template, (line, 0))
            found[template] = (first, count + 1)
    return list(found.values())
