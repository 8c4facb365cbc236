"""A read-only server of the Model Context Protocol over the configured store, so that coding assistants can look.

Every tool reads and answers in plain data, bounded; what was redacted when it was recorded stays so. Nothing but the
protocol goes to standard output.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from ... import __version__
from ...backends.errors import HolterError
from ...backends.queries import LogQuery, RunQuery
from ...backends.records import Json
from ..lookup import find_run
from .desk import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .desk import Desk

P = ParamSpec("P")
T = TypeVar("T")
RUNS, LINES, STEPS = 100, 500, 100  # in one answer, at most
TEXT = 2000  # characters of one value
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
SAYS = (
    "Records of scripts and scheduled jobs on this machine or its fleet. Begin with `status` or `jobs`; `explain` says "
    "why a run failed and what changed; `logs` has its lines. A run is named by its id, `last`, or `last:JOB`."
)


def serve() -> int:
    """Serve on standard input and output until the client is gone; 0."""
    server = MCPServer("holter", version=__version__, instructions=SAYS, log_level="WARNING")
    for tool in (status, jobs, runs, run, logs, explain):
        server.tool(annotations=READS, structured_output=False)(_told(tool))
    server.run("stdio")
    return 0


def _told(tool: Callable[P, T]) -> Callable[P, T]:
    """What cannot be answered is an error of the tool, with what to do about it."""

    @wraps(tool)
    def asked(*args: P.args, **given: P.kwargs) -> T:
        try:
            return tool(*args, **given)
        except (HolterError, ValueError) as error:
            raise ToolError(str(error)) from None

    return asked


@contextmanager
def _reading() -> Iterator[Desk]:
    with opened() as desk:
        desk.refresh()
        yield desk


def status() -> Json:
    """Whether each job is well, by what is expected of it: problems first, with when it should run next."""
    from ..reports import status as judged
    from ..watchdog import pulse

    with _reading() as desk:
        found = judged(desk.backend, desk.settings, desk.now, since=desk.now - 30 * 86400)
        warning = pulse.warning(desk.backend, desk.now)
    told = sorted((each.to_json() for each in found), key=lambda each: each["well"])
    return {
        "jobs": _short(told[:RUNS]),
        "left_out": max(0, len(told) - RUNS),
        "watchdog": warning or "watches",
    }


def jobs(days: float = 7, project: str | None = None) -> Json:
    """Figures of every job over the last days: runs by state, success, completeness, durations, lateness."""
    from ..reports import report

    with _reading() as desk:
        query = RunQuery(project=project, roots=True, since=desk.now - days * 86400, until=desk.now)
        told = report(desk.backend, desk.settings.checks, query).to_json()
    return {**told, "jobs": told["jobs"][:RUNS], "left_out": max(0, len(told["jobs"]) - RUNS)}


def runs(
    job: str | None = None,
    state: str | None = None,
    project: str | None = None,
    days: float = 30,
    limit: int = 20,
) -> Json:
    """The newest runs, of a job (a name or shell pattern) or all, in a state (failed, crashed, running, stale ...)."""
    with _reading() as desk:
        query = RunQuery(
            job=job,
            project=project,
            states=(state,) if state else (),
            roots=True,
            since=desk.now - days * 86400,
            limit=max(1, min(limit, RUNS)),
        )
        found = desk.backend.runs(query)
    return {"runs": [_brief(each.to_json()) for each in found]}


def run(run: str) -> Json:
    """One run whole: parameters, result, error with its traceback, attempts, and its steps (the newest hundred)."""
    with _reading() as desk:
        found = find_run(desk.backend, run)
        of: Json = {"root_id": found.id} if found.parent_id is None else {"parent_id": found.id}
        steps = desk.backend.runs(RunQuery(**of, limit=STEPS))
    told = _short(found.to_json())
    told["steps"] = [_brief(each.to_json()) for each in steps[::-1] if each.id != found.id]
    return dict(told)


def logs(
    run: str, text: str | None = None, errors_only: bool = False, before: int | None = None, limit: int = 100
) -> Json:
    """The last lines of a run and its steps; with words to look for, or of errors only. `before` is the `seq` of the
    first line of an earlier answer: the lines before it."""
    levels = ("ERROR", "CRITICAL", "FATAL") if errors_only else ()
    with _reading() as desk:
        found = find_run(desk.backend, run)
        count = max(1, min(limit, LINES))
        query = LogQuery(found.id, text=text, levels=levels, before=before, limit=count, last=True)
        lines = desk.backend.logs(query)
    return {"run_id": found.id, "lines": [{"seq": each.seq, **_short(each.to_json())} for each in lines]}


def explain(run: str) -> Json:
    """Why a run failed, probably, what changed since the last success, who judged it, and who was told."""
    from ..explain import explain as account
    from ..explain import gather
    from ..why import why

    with _reading() as desk:
        found = find_run(desk.backend, run)
        told = account(gather(desk.backend, desk.settings, found, desk.now)).to_json()
        reasons = why(desk.backend, found).to_json()
    return dict(_short({"job": found.name, **told, **reasons}))


_BRIEF = "id kind name project state conditions reason created_at duration_seconds host attempt tags progress".split()


def _brief(run: Json) -> Json:
    error = run.get("error") or {}
    told = {name: run[name] for name in _BRIEF if run.get(name) not in (None, [], {})}
    return dict(
        _short({**told, **({"error": f"{error.get('type')}: {error.get('message')}"} if error else {})})
    )


def _short(value: Any) -> Any:
    """The value with its long texts cut; tracebacks keep their end."""
    if isinstance(value, str) and len(value) > TEXT:
        return f"{value[: TEXT // 4]}\n... {len(value) - TEXT} characters left out ...\n{value[-3 * TEXT // 4 :]}"
    if isinstance(value, dict):
        return {name: _short(each) for name, each in list(value.items())[:LINES]}
    if isinstance(value, list | tuple):
        return [_short(each) for each in value[:LINES]]
    return value
