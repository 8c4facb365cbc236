"""Whose word a journal is, in a home that several users share: the owner of the file, as the kernel has it.

What users write there is theirs to invent, and a watchdog that is root reads it. So of a journal only what is its
owner's to say goes into the store: its header must name the file, the user and a project of that user, and a line about
a run must be about one that the same user recorded. Any other line is blanked, to the same length, and counts as
damaged there; a journal with another header is left where it is, and named.

The owner of the home (the watchdog's user) may say anything: its own verdicts are about everybody's runs.
"""

from __future__ import annotations

import os
import stat

from attrs import define, field

from ...backends.base import Backend
from ...backends.clock import root_of
from ...backends.lines import decode
from ..shared_home import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REMEMBERED = 50_000  # runs whose owner is known without asking the store
NEVER = ("transition", "forgot")  # events that only a copy of a store has


@define
class Owners:
    """What the journals of one shared home may say. Asks `store` whose a run is; remembers the answers."""

    store: Backend
    _runs: dict[tuple[str, str], bool] = field(factory=dict)
    _journals: set[tuple[str, str]] = field(factory=set)

    def objection(self, fd: int, journal: str, header: dict[str, Any]) -> str:
        """Why nothing of a journal is taken, "" where it is."""
        user = self._user(fd)
        if user is None:
            return ""
        project = str(header.get("project"))
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return "it is no file"
        if header.get("journal") != journal or "copy_of" in header:
            return f"{user} wrote a header that is of another journal"
        if header.get("user") != user:
            return f"it is {user}'s, and its header says it is another user's"
        if project != user and not project.startswith(f"{user}/"):
            return f"its project must be {user!r} or begin with {user + '/'!r}"
        if not self._may_go_on(user, journal):
            return f"{user} uses the name of another user's journal"
        return ""

    def cleared(self, fd: int, data: bytes, offset: int) -> bytes:
        """`data` (whole lines from `offset` on) with what its owner may not say blanked."""
        user = self._user(fd)
        if user is None:
            return data
        out = bytearray(data)
        for position, event in decode(data, offset):
            if event is not None and not self._may_say(user, event, position):
                start = position - offset
                end = data.index(b"\n", start)
                out[start:end] = b" " * (end - start)
        return bytes(out)

    def _user(self, fd: int) -> str | None:
        """The file's owner; None for root and for ourselves."""
        uid = os.fstat(fd).st_uid
        return None if uid in (0, os.geteuid()) else name_of(uid)

    def _may_say(self, user: str, event: dict[str, Any], position: int) -> bool:
        kind = event["event"]
        if kind == "process":
            return position == 0
        if kind in NEVER or "journal" in event:
            return False
        project = event.get("project", user)
        if project != user and not str(project).startswith(f"{user}/"):
            return False
        runs = event.get("runs", [])
        named = [event.get("run"), event.get("parent"), *(runs if isinstance(runs, list) else ["?" * 99])]
        return all(self._is_of(user, str(run)) for run in named if run is not None)

    def _is_of(self, user: str, run: str) -> bool:
        """Whether the run and its root are the user's, or nobody's yet."""
        key = (user, run)
        if key not in self._runs:
            if len(self._runs) >= REMEMBERED:
                self._runs.clear()
            self._runs[key] = all(self._owned(user, each) for each in {run, root_of(run)})
        return self._runs[key]

    def _owned(self, user: str, run: str) -> bool:
        found = self.store.run(run)
        return found is None or found.user == user

    def _may_go_on(self, user: str, journal: str) -> bool:
        if (user, journal) not in self._journals:
            known = self.store.processes(open_only=False, journals=[journal])
            if any(each.header.get("user", user) != user for each in known):
                return False
            if len(self._journals) >= REMEMBERED:
                self._journals.clear()
            self._journals.add((user, journal))
        return True
