"""Recorded lines, printed one by one and followed while they come. No rich: there may be a million."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

from attrs import evolve, frozen

from ...backends.base import Backend
from ...backends.queries import LogQuery, RunQuery
from ...backends.records import Log, Run
from ...backends.states import ENDINGS
from . import screen
from .text import clean, line

LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "SUCCESS": 25, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
POLL = 0.25  # seconds between looks at a run that is followed
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "dim", "TRACE": "dim"}


@frozen
class Wanted:
    """Lines of `run_id` and what is inside it, with all words of `text`, from `level` up, only the last `tail`."""

    run_id: str
    text: str | None = None
    level: str | None = None
    tail: int | None = None

    def query(self, after: int = 0) -> LogQuery:
        """As the store is asked. Levels are its reader's business, so with a level nothing is cut here."""
        cut = self.tail is not None and self.level is None
        return LogQuery(self.run_id, after=after, text=self.text, limit=self.tail if cut else None, last=cut)

    def pick(self, found: list[Log]) -> list[Log]:
        """Those that are wanted, by their time: lines of several processes reach the store in batches."""
        least = LEVELS[self.level] if self.level else 0
        kept = [log for log in found if LEVELS.get(log.level.upper(), 20) >= least]
        if self.tail is not None:
            kept = kept[max(0, len(kept) - self.tail) :]
        return sorted(kept, key=lambda log: (log.at, log.seq))


class Printer:
    """Prints lines with their local time, and the name of the task where the line is not `run`'s own."""

    def __init__(self, backend: Backend, run: Run, *, colours: bool | None = None) -> None:
        self._backend = backend
        self._names = {run.id: ""}
        self._root = run.root_id
        self._colours = screen.colours() if colours is None else colours
        self._today = time.localtime()[:3]

    def put(self, logs: Iterable[Log]) -> None:
        sys.stdout.writelines(f"{self.text_of(log)}\n" for log in logs)
        sys.stdout.flush()

    def text_of(self, log: Log) -> str:
        """The line as it is printed; its own line breaks stay."""
        then = time.localtime(log.at)
        day = "" if then[:3] == self._today else time.strftime("%Y-%m-%d ", then)
        head = f"{day}{time.strftime('%H:%M:%S', then)}.{int(log.at * 1000) % 1000:03d} "
        level = "" if log.level == "INFO" else f"{line(log.level)} "
        who = self._name(log.run_id)
        text = clean(log.text).rstrip("\n").replace("\n", "\n" + " " * len(head))
        if not self._colours:
            return f"{head}{level}{who}{text}"
        colour = _COLOURS.get(log.level.upper(), "yellow" if log.stream == "stderr" else "")
        shown = screen.paint(f"{level}{text}", colour) if colour else f"{level}{text}"
        return f"{screen.paint(head, 'dim')}{screen.paint(who, 'cyan') if who else ''}{shown}"

    def _name(self, run_id: str) -> str:
        if run_id not in self._names:
            for run in self._backend.runs(RunQuery(root_id=self._root, limit=None)):
                self._names.setdefault(run.id, f"{line(run.run_name or run.name)}: ")
        return self._names.setdefault(run_id, "")


def put_json(logs: Iterable[Log]) -> None:
    """Each line as JSON in a line of its own, at once."""
    for log in logs:
        screen.as_json(log.to_json(), indent=None)


def follow(
    backend: Backend, wanted: Wanted, put: Callable[[Iterable[Log]], None], refresh: Callable[[], object]
) -> Run:
    """Hand each line to `put` as it comes, until the run has ended; the run as it ended.

    `refresh` brings the store up to date before each look. Raises what it and the store raise.
    """
    after = 0
    while True:
        refresh()
        run = backend.run(wanted.run_id)  # before the lines: what it wrote last is there when its ending is
        found = backend.logs(wanted.query(after))
        after = max((log.seq for log in found), default=after)
        put(wanted.pick(found))
        wanted = evolve(wanted, tail=None)
        if run is None or run.state in ENDINGS:
            return run or Run(wanted.run_id, "", "", "CRASHED", wanted.run_id)
        time.sleep(POLL)


def code_of(run: Run) -> int:
    """The exit code for how a run ended: 0 for COMPLETED and SKIPPED, its own where it has one, else 1."""
    if run.state in ("COMPLETED", "SKIPPED"):
        return 0
    return run.exit_code or 1
