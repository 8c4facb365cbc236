"""Names that people type: a word on stderr where nothing goes by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import screen

if TYPE_CHECKING:
    from .desk import Desk


def warn_of_unknown(desk: Desk, pattern: str) -> None:
    """Say so where no job that ever ran, or of which something is expected, matches a name or shell pattern: it holds
    all the same, for jobs to come."""
    from difflib import get_close_matches
    from fnmatch import fnmatchcase

    from ...backends.queries import RunQuery
    from ..jobs import registered

    known = {each.name for each in desk.backend.newest(RunQuery(roots=True), 1)} | set(desk.settings.checks)
    known |= {each.job for each in registered(desk.backend).values()}
    if not any(fnmatchcase(name, pattern) for name in known):
        near = get_close_matches(pattern, known, n=1)
        screen.say(f"no job {pattern} is known yet" + (f"; did you mean {near[0]}?" if near else ""))
