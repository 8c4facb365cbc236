"""The reading half of the HTTP store: questions out, records in, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from .http import PRUNE_SECONDS, _found
from .http_format import (
    LINES_AT_MOST,
    RUNS_AT_MOST,
    TRANSITIONS_AT_MOST,
    log_params,
    of,
    plain,
    run_params,
)
from .queries import LogQuery, Retention, RunQuery
from .records import Bucket, JobRuns, JobSummary, Log, Process, Pruned, Run, Transition

if TYPE_CHECKING:
    from collections.abc import Collection

    from .http import HttpBackend


def ask(store: HttpBackend, path: str, params: Any) -> Any:
    return _found(store, *store._wire.call("GET", path, params))


def runs(store: HttpBackend, query: RunQuery) -> list[Run]:
    found: dict[str, Run] = {}  # a run that begins between two pages moves the others
    offset, left = query.offset, query.limit
    while left is None or left > 0:
        size = RUNS_AT_MOST if left is None else min(left, RUNS_AT_MOST)
        page = ask(store, "/v1/runs", run_params(evolve(query, limit=size, offset=offset)))["runs"]
        found.update((each["id"], of(Run, each)) for each in page)
        if len(page) < size:
            break
        offset, left = offset + size, None if left is None else left - size
    return list(found.values())


def run(store: HttpBackend, run_id: str) -> Run | None:
    status, said = store._wire.call("GET", "/v1/run", {"run_id": run_id})
    return None if status == 404 and "run_id" in said else of(Run, _found(store, status, said)["run"])


def logs(store: HttpBackend, query: LogQuery) -> list[Log]:
    if query.last and query.limit is not None and query.limit <= LINES_AT_MOST:
        return _lines(store, query)
    found: list[Log] = []
    wanted = None if query.last else query.limit
    while wanted is None or len(found) < wanted:
        size = LINES_AT_MOST if wanted is None else min(wanted - len(found), LINES_AT_MOST)
        after = found[-1].seq if found else query.after
        page = _lines(store, evolve(query, last=False, limit=size, after=after))
        found += page
        if len(page) < size:
            break
    return found[-query.limit :] if query.last and query.limit is not None else found


def _lines(store: HttpBackend, query: LogQuery) -> list[Log]:
    return [of(Log, each) for each in ask(store, "/v1/logs", log_params(query))["logs"]]


def summarize(store: HttpBackend, query: RunQuery) -> list[JobSummary]:
    said = ask(store, "/v1/jobs", run_params(evolve(query, limit=None, offset=0)))
    return [of(JobSummary, each) for each in said["jobs"]]


def newest(store: HttpBackend, query: RunQuery, each: int) -> list[JobRuns]:
    params = [*run_params(evolve(query, limit=None, offset=0)), ("each", str(each))]
    return [of(JobRuns, job) for job in ask(store, "/v1/newest", params)["jobs"]]


def timeline(store: HttpBackend, query: RunQuery, every: float) -> list[Bucket]:
    params = [*run_params(evolve(query, limit=None, offset=0)), ("every", str(every))]
    return [of(Bucket, span) for span in ask(store, "/v1/timeline", params)["spans"]]


def transitions(store: HttpBackend, after: int, limit: int) -> list[Transition]:
    found: list[Transition] = []
    while len(found) < limit:
        size = min(limit - len(found), TRANSITIONS_AT_MOST)
        params = {"after": found[-1].seq if found else after, "limit": size}
        page = ask(store, "/v1/transitions", params)["transitions"]
        found += [of(Transition, each) for each in page]
        if len(page) < size:
            break
    return found


def processes(store: HttpBackend, *, open_only: bool, journals: Collection[str] | None) -> list[Process]:
    if journals is not None and not journals:
        return []
    params = [
        ("open_only", "true" if open_only else "false"),
        *(("journals", each) for each in journals or ()),
    ]
    said = ask(store, "/v1/journals", params)
    return [of(Process, each) for each in said["journals"]]


def prune(store: HttpBackend, retention: Retention) -> Pruned:
    call = store._wire.call("POST", "/v1/prune", plain(retention), b"", seconds=PRUNE_SECONDS)
    return of(Pruned, _found(store, *call))
