"""The overview: every job with its newest runs, those that need attention first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from glob import escape
from statistics import median

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from ....backends.base import Backend
from ....backends.clock import SYSTEM
from ....backends.errors import ScheduleError
from ....backends.expected import Expectation
from ....backends.queries import RunQuery
from ....backends.records import JobRuns, Json
from ....backends.states import OPEN
from ... import jobs
from ...drawings import kind_of
from ...ledgers import HEAD
from ...watchdog import pulse
from ...watchdog.incidents import Incident, open_incidents
from ..state import State
from ..tokens import Token
from .render import page

TICKS = 30  # newest runs that are shown of a job
NEUTRAL = ("SKIPPED", "CANCELLED")  # endings that count neither for nor against a job
FILTERS = ("text", "project", "state", "tag", "host")


@frozen
class Row:
    """A job as its newest TICKS runs show it. `usual` is the median of the completed ones in seconds; `success` the
    share of those that ended, 0 to 1; both None where there is none. `ticks` are the runs, oldest first. `trouble` is
    what the watchdog found of the job itself, `next_at` when it should start next (Unix seconds)."""

    project: str
    name: str
    last: Json
    ticks: tuple[Json, ...]
    success: float | None
    usual: float | None
    trouble: tuple[Incident, ...] = ()
    next_at: float | None = None

    @property
    def rank(self) -> int:
        """0: wants attention, 1: runs, 2: well."""
        kind = kind_of(self.last["state"], self.last["conditions"])
        return 0 if self.trouble or kind == "bad" else 1 if kind == "busy" else 2

    @property
    def goes_on(self) -> bool:
        """Whether its newest run has not ended."""
        return self.last["state"] in OPEN

    @property
    def times_usual(self) -> float | None:
        """How many times as long as usual the newest run took, where that is worth a word."""
        spent = self.last["duration_seconds"]
        return spent / self.usual if spent and self.usual and spent > 1 and spent > 1.5 * self.usual else None

    def has(self, wanted: str) -> bool:
        """Whether `wanted` is its newest run's state or condition, what is wrong with it, or `attention`."""
        words = {self.last["state"].lower(), *self.last["conditions"], *(each.event for each in self.trouble)}
        return wanted in words or (wanted == "attention" and self.rank == 0)


def row_of(job: JobRuns, trouble: tuple[Incident, ...], head: Json | None, now: float) -> Row:
    ended = [run for run in job.runs if run["state"] not in (*OPEN, *NEUTRAL)]
    good = [run for run in ended if run["state"] == "COMPLETED"]
    spent = [run["duration_seconds"] for run in good if run["duration_seconds"] is not None]
    return Row(
        *(job.project, job.name, job.runs[0], job.runs[::-1]),
        success=len(good) / len(ended) if ended else None,
        usual=median(spent) if spent else None,
        trouble=trouble,
        next_at=_next(head["schedule"], head["timezone"], job.runs[0]["created_at"], now) if head else None,
    )


def _next(schedule: str, timezone: str | None, last: float, now: float) -> float | None:
    expected = _expected(schedule, timezone)
    if expected is None or expected.schedule is None:
        return None
    return last + expected.period if expected.period else expected.schedule.next_after(now)


@lru_cache(4096)
def _expected(schedule: str, timezone: str | None) -> Expectation | None:
    try:
        return Expectation.of({"schedule": schedule, "timezone": timezone})
    except ScheduleError:
        return None


def gather(store: Backend, asked: Mapping[str, str], project: str | None, now: float) -> list[Row]:
    """The rows, those that want attention first, then by newest run. `text` of what is asked is part of a job's name,
    `state` what `Row.has`, in any case; "" means any."""
    query = RunQuery(
        project=project,
        job=f"*{escape(asked['text'])}*" if asked["text"] else None,
        tags=(asked["tag"],) if asked["tag"] else (),
        host=asked["host"] or None,
        roots=True,
    )
    trouble: dict[tuple[str, str | None], list[Incident]] = {}
    for each in open_incidents(store):
        trouble.setdefault((each.project, each.job), []).append(each)
    heads = {key: held.value for key, held in store.list(HEAD)}
    rows = [
        row_of(
            job,
            tuple(trouble.get((job.project, job.name), ())),
            heads.get(jobs.key_of(job.project, job.name)),
            now,
        )
        for job in store.newest(query, TICKS)
    ]
    wanted = [row for row in rows if not asked["state"] or row.has(asked["state"].lower())]
    return sorted(wanted, key=lambda row: (row.rank, -row.last["created_at"]))


async def overview(request: Request, token: Token, state: State) -> Response:
    asked = {name: request.query_params.get(name, "").strip()[:200] for name in FILTERS}
    project = asked["project"] or None
    hidden = token.project is not None and project not in (None, token.project)
    now = SYSTEM.wall()

    def made(store: Backend) -> Response:
        rows = [] if hidden else gather(store, asked, token.project or project, now)
        counts = [sum(row.rank == rank for row in rows) for rank in range(3)]
        warning = pulse.warning(store, now)
        shown = {"rows": rows, "asked": asked, "counts": counts, "warning": warning, "now": now}
        return page(request, "overview.html", token, shown)

    return await state.stores.ask(made)
