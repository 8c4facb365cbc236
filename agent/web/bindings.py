"""What a token that is bound to a project may touch: its journals, its runs, and nothing of another project."""

from __future__ import annotations

from collections.abc import Callable

from ...backends.base import Backend
from ...backends.lines import decode
from ...backends.records import Transition
from .refusals import Refusal

REMEMBERED = 20_000  # projects of journals, and of runs: neither ever changes

Store = Callable[[], Backend]


class Projects:
    """To which project journals and runs belong; asked of the store once."""

    def __init__(self) -> None:
        self._journals: dict[str, str] = {}
        self._runs: dict[str, str] = {}

    def check(self, journal: str, offset: int, data: bytes, project: str, store: Store) -> None:
        """Raises Refusal where a journal, a run that begins, or a run that something is said of, is of another project.

        Not guaranteed: a run whose start has not arrived yet is nobody's, and takes what is said of it.
        """
        # Of a journal that is not known the store names the offset.
        if offset and (known := self._of_journal(journal, store)) is not None:
            _require(known, project, f"journal {journal}")
        mine: set[str] = set()
        for _, event in decode(data):
            if event is None:
                continue
            if event["event"] == "process":
                _require(event.get("project") or "default", project, f"journal {journal}")
            elif event["event"] == "start":
                _require(event.get("project") or project, project, "a run")
            writer = event.get("journal")  # of a copied event; a run has the project of its journal
            if isinstance(writer, str) and writer != journal:
                _require(self._of_journal(writer, store), project, f"journal {writer[:100]}")
            run = event.get("run")
            if isinstance(run, str) and run not in mine:
                mine.add(run)
                _require(self.of_run(run, store) or project, project, f"run {run[:100]}")

    def arrived(self, journal: str, project: str) -> None:
        """A journal of this project was stored from its first byte."""
        _remember(self._journals, journal, project)

    def of_run(self, run_id: str, store: Store) -> str | None:
        """None for a run that nobody has started."""
        if run_id not in self._runs:
            run = store().run(run_id)
            if run is None:
                return None
            _remember(self._runs, run_id, run.project)
        return self._runs.get(run_id)

    def transitions(self, project: str, store: Backend, after: int, limit: int) -> list[Transition]:
        """As `transitions` of the store, of this project's runs only: pages of others are skipped."""
        found: list[Transition] = []
        while len(found) < limit and (page := store.transitions(after, 500)):
            found += [each for each in page if self.of_run(each.run_id, lambda: store) == project]
            after = page[-1].seq
        return found[:limit]

    def _of_journal(self, journal: str, store: Store) -> str | None:
        for open_only in (True, False):  # after a restart: those that live first, for they go on
            if journal in self._journals:
                break
            for each in store().processes(open_only=open_only):
                _remember(self._journals, each.journal, each.header.get("project") or "default")
        return self._journals.get(journal)


def _require(found: str | None, project: str, what: str) -> None:
    if found != project:
        raise Refusal(
            403,
            f"{what} is not of project {project!r}, which the token is bound to",
            "use a token of its project",
        )


def _remember(table: dict[str, str], key: str, project: str) -> None:
    if len(table) >= REMEMBERED:
        table.clear()  # several threads use it: taking out the oldest would race
    table[key] = project
