"""Verdicts from outside, in writing: the watchdog and `holter mark` have a journal of their own, like any process.

So a judgement is as durable as what it judges, arrives exactly once, and the fold decides what it is worth: it never
outranks what the process itself wrote.
"""

from __future__ import annotations

import os

from ...backends.base import Backend
from ...backends.clock import SYSTEM, Clock
from ...backends.lines import encode
from ..journal import Journal
from ..tape import header
from .remains import ship


class Judge:
    """Writes judgements for one store. Open one, say what is to be said, `ship`, and `close` at the end."""

    def __init__(self, home: str, project: str, backend: Backend, clock: Clock = SYSTEM) -> None:
        """Raises OSError where the home cannot be written."""
        self._backend = backend
        self._clock = clock
        self._journal = Journal(f"{home}/journals", header(home, project, backend.url, 0.0))
        self._offset = 0
        self._at = 0.0

    def end(self, run_id: str, state: str, reason: str, by: str = "proof") -> None:
        """The run is over: `by` is `proof` (the kernel says so), `mark` (a person says so) or `cancel` (a person
        has it ended now, so what its process says from now on is the echo)."""
        at = self._clock.wall()
        self._write({"event": "judge", "run": run_id, "at": at, "state": state, "reason": reason, "by": by})

    def condition(self, run_id: str, name: str, on: bool, reason: str = "", after: float = 0.0) -> None:
        """The live run has, or no longer has, a condition. `after` is when it was last spoken of, where that may have
        been by another host, whose clock is another (Unix seconds)."""
        # The later word counts, also after a step of the clock.
        self._at = at = max(self._clock.wall(), self._at + 1e-6, after + 1e-6)
        self._write(
            {"event": "judge", "run": run_id, "at": at, "condition": name, "on": on, "reason": reason}
        )

    def ship(self) -> None:
        """Send what was said. Raises StorageError; what could not be sent goes out with the next call."""
        self._offset = ship(self._journal.fd, self._journal.id, self._offset, self._backend)

    def close(self) -> None:
        """Ship and remove the journal; where the store is away it stays for the next `holter` command."""
        self._write({"event": "close", "at": self._clock.wall()})
        self.ship()
        if self._offset == self._journal.size():
            os.unlink(self._journal.path)
        self._journal.let_go()

    def _write(self, event: dict[str, object]) -> None:
        self._journal.write(encode(event))
