"""The overview: every job with its newest runs, those that need attention first."""

from __future__ import annotations

from glob import escape
from statistics import median

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from ....backends.base import Backend
from ....backends.fold import OPEN
from ....backends.records import JobRuns, Json, RunQuery
from ..state import State
from ..tokens import Token
from .render import page

TICKS = 30  # newest runs that are shown of a job
NEUTRAL = ("SKIPPED", "CANCELLED")  # endings that count neither for nor against a job


@frozen
class Row:
    """A job as its newest TICKS runs show it. `usual` is the median of the completed ones in seconds; `success` the
    share of those that ended, 0 to 1; both None where there is none. `ticks` are the runs, oldest first."""

    project: str
    name: str
    last: Json
    ticks: tuple[Json, ...]
    success: float | None
    usual: float | None

    @property
    def state(self) -> str:
        conditions = self.last["conditions"]
        return str(conditions[0] if conditions else self.last["state"])

    @property
    def rank(self) -> int:
        """0: wants attention, 1: runs, 2: well."""
        if self.last["conditions"]:
            return 0
        return 1 if self.last["state"] in OPEN else 2 if self.last["state"] in ("COMPLETED", *NEUTRAL) else 0


def row_of(job: JobRuns) -> Row:
    ended = [run for run in job.runs if run["state"] not in (*OPEN, *NEUTRAL)]
    good = [run for run in ended if run["state"] == "COMPLETED"]
    spent = [run["duration_seconds"] for run in good if run["duration_seconds"] is not None]
    return Row(
        *(job.project, job.name, job.runs[0], job.runs[::-1]),
        success=len(good) / len(ended) if ended else None,
        usual=median(spent) if spent else None,
    )


def gather(store: Backend, project: str | None, text: str, state: str) -> list[Row]:
    """The rows, those that want attention first, then by newest run. `text` is part of a job's name, `state` a state
    or condition of its newest run, in any case; "" and None mean any."""
    pattern = f"*{escape(text)}*" if text else None
    rows = [row_of(job) for job in store.newest(RunQuery(project=project, job=pattern, roots=True), TICKS)]
    wanted = [row for row in rows if not state or row.state.lower() == state.lower()]
    return sorted(wanted, key=lambda row: (row.rank, -row.last["created_at"]))


async def overview(request: Request, token: Token, state: State) -> Response:
    asked = {name: request.query_params.get(name, "").strip()[:200] for name in ("project", "text", "state")}
    project = asked["project"] or None
    hidden = token.project is not None and project not in (None, token.project)
    within = token.project or project

    def made(store: Backend) -> Response:
        rows = [] if hidden else gather(store, within, asked["text"], asked["state"])
        return page(request, "overview.html", rows=rows, asked=asked)

    return await state.stores.ask(made)
