"""What a client sends, looked at by somebody who does not know it: sizes, gzip, lines, header, project."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen

from ...backends.base import Backend
from ...backends.digest import digest
from ...backends.lines import decode
from .bindings import Projects
from .inflate import inflated, too_large
from .refusals import Refusal

JOURNAL = re.compile(r"[!-\-0-~][ -.0-~]{0,99}")  # printable ASCII without a slash or a dot in front


@frozen
class Bounds:
    """Bytes of a body (inflated) and of a line."""

    body: int
    line: int


@frozen
class Parcel:
    """Bytes of `journal` from `offset`, as they came; `project` is what the sender's token is bound to."""

    journal: str
    offset: int
    body: bytes
    gzipped: bool
    project: str | None = None


def opened(parcel: Parcel, bounds: Bounds, projects: Projects, store: Callable[[], Backend]) -> bytes:
    """The lines inside. Raises Refusal for what must not be stored, and StorageError where the store is to be asked."""
    data = inflated(parcel.body, bounds.body) if parcel.gzipped else parcel.body
    if len(data) > bounds.body:
        raise too_large(bounds.body)
    if data and not data.endswith(b"\n"):
        raise Refusal(422, "the lines do not end in a newline", "send whole lines; was the body cut off?")
    if _longest(data, bounds.line) > bounds.line:
        raise Refusal(
            413, f"a line is longer than {bounds.line:,} bytes", "no event of Holter's is that long"
        )
    if parcel.offset == 0 and data:
        _check_header(parcel.journal, data)
    if parcel.project is not None:
        projects.check(parcel.journal, parcel.offset, data, parcel.project, store)
    return data


def _longest(data: bytes, limit: int) -> int:
    """The length of the longest line, exactly only where it is above `limit`."""
    start, longest = 0, 0
    while len(data) - start > limit:
        # The last that begins no later than a good line can end.
        end = data.rfind(b"\n", start, start + limit)
        if end < 0:
            return limit + 1
        longest, start = max(longest, end - start), end + 1
    return longest


def _check_header(journal: str, data: bytes) -> None:
    """A journal begins by saying whose it is."""
    first = next(decode(data[: data.find(b"\n") + 1]), (0, None))
    # What every store makes of it.
    header = digest(journal, [first], {}, lambda ids: {}, 0.0).process.get("header")
    if header is None:
        raise Refusal(422, "a journal begins with the header of its process", "send it from its first byte")
    if header.get("journal", journal) != journal:
        raise Refusal(422, "the header is of another journal", "send each journal under its own id")
