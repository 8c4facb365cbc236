"""The questions of a Ledger over HTTP. Each answer is read, put into JSON and compressed in a reader's thread."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

from attrs import evolve
from starlette.requests import Request
from starlette.responses import Response

from ...backends.base import Backend
from ...backends.http_format import (
    EACH_AT_MOST,
    TRANSITIONS_AT_MOST,
    count,
    flag,
    log_query,
    number,
    plain,
    run_query,
)
from ...backends.queries import LogQuery, Retention, RunQuery
from ...backends.records import Json
from ..watchdog.tidy import size_of
from .refusals import Refusal
from .state import State
from .tokens import Token

COMPRESS_FROM = 1024  # bytes


async def told(request: Request, state: State, question: Callable[[Backend], Json]) -> Response:
    """The answer to a question, gzipped for whoever takes that."""
    gzip = "gzip" in request.headers.get("accept-encoding", "")

    def written(store: Backend) -> tuple[bytes, bool]:
        body = json.dumps(question(store), separators=(",", ":"), allow_nan=False).encode()
        if not gzip or len(body) < COMPRESS_FROM:
            return body, False
        press = zlib.compressobj(1, zlib.DEFLATED, 31)
        return press.compress(body) + press.flush(), True

    body, pressed = await state.stores.ask(written)
    headers = {"Vary": "Accept-Encoding", "Cache-Control": "no-store"}
    if pressed:
        headers["Content-Encoding"] = "gzip"
    return Response(body, 200, headers, "application/json")


async def runs(request: Request, token: Token, state: State) -> Response:
    query = _within(run_query(request.query_params), token)
    return await told(request, state, lambda store: {"runs": _plain(query and store.runs(query))})


async def jobs(request: Request, token: Token, state: State) -> Response:
    query = _within(run_query(request.query_params), token)
    return await told(request, state, lambda store: {"jobs": _plain(query and store.summarize(query))})


async def newest(request: Request, token: Token, state: State) -> Response:
    query = _within(run_query(request.query_params), token)
    each = count(request.query_params, "each", 30, EACH_AT_MOST)
    return await told(request, state, lambda store: {"jobs": _plain(query and store.newest(query, each))})


async def timeline(request: Request, token: Token, state: State) -> Response:
    query = _within(run_query(request.query_params), token)
    every = number(request.query_params, "every", 86400.0)
    if every < 1.0:
        raise Refusal(400, f"every={every:g} is too short", "give a span of at least a second")
    return await told(request, state, lambda store: {"spans": _plain(query and store.timeline(query, every))})


async def run(request: Request, token: Token, state: State) -> Response:
    run_id = _run_id(request)

    def question(store: Backend) -> Json:
        found = store.run(run_id)
        if found is None or token.project not in (None, found.project):
            raise Refusal(404, f"there is no run {run_id[:100]!r}", "`holter runs` lists them", run_id=run_id)
        return {"run": plain(found)}

    return await told(request, state, question)


async def events(request: Request, token: Token, state: State) -> Response:
    run_id = _run_id(request)

    def question(store: Backend) -> Json:
        return {"events": store.events(run_id) if _sees(token, run_id, state, store) else []}

    return await told(request, state, question)


async def logs(request: Request, token: Token, state: State) -> Response:
    query: LogQuery = evolve(log_query(request.query_params), run_id=_run_id(request))

    def question(store: Backend) -> Json:
        return {"logs": _plain(store.logs(query) if _sees(token, query.run_id, state, store) else [])}

    return await told(request, state, question)


async def transitions(request: Request, token: Token, state: State) -> Response:
    after = count(request.query_params, "after", 0)
    limit = count(request.query_params, "limit", 500, TRANSITIONS_AT_MOST)

    def question(store: Backend) -> Json:
        if token.project is None:
            return {"transitions": _plain(store.transitions(after, limit))}
        return {"transitions": _plain(state.projects.transitions(token.project, store, after, limit))}

    return await told(request, state, question)


async def journals(request: Request, token: Token, state: State) -> Response:
    open_only = flag(request.query_params, "open_only", True)
    named = request.query_params.getlist("journals") or None

    def question(store: Backend) -> Json:
        found = store.processes(open_only=open_only, journals=named)
        mine = (None, "default") if token.project == "default" else (token.project,)
        return {
            "journals": _plain(
                each for each in found if token.project is None or each.header.get("project") in mine
            )
        }

    return await told(request, state, question)


async def size(request: Request, token: Token, state: State) -> Response:
    def question(store: Backend) -> Json:
        found = size_of(store)
        return {"known": found is not None, "bytes": found or 0}

    return await told(request, state, question)


async def prune(request: Request, token: Token, state: State) -> Response:
    if token.project is not None:
        raise Refusal(403, "a token that is bound to a project may not prune", "use one that is not")
    params = request.query_params
    missing = [name for name in _RETENTION if name not in params]
    if missing:
        raise Refusal(400, f"{missing[0]} is missing", "give it in Unix seconds")
    retention = Retention(**{name: number(params, name, 0.0) for name in _RETENTION})
    return await told(request, state, lambda store: plain(store.prune(retention)))


_RETENTION = ("runs_before", "failures_before", "logs_before")


def _plain(records: Any) -> list[Json]:
    return [plain(each) for each in records or ()]


def _run_id(request: Request) -> str:
    if "run_id" not in request.query_params:
        raise Refusal(400, "run_id is missing", "say with ?run_id= which run")
    return request.query_params["run_id"]


def _within(query: RunQuery, token: Token) -> RunQuery | None:
    """The question as far as the token sees; None where it sees nothing of it."""
    if token.project is None or query.project == token.project:
        return query
    return evolve(query, project=token.project) if query.project is None else None


def _sees(token: Token, run_id: str, state: State, store: Backend) -> bool:
    return token.project is None or state.projects.of_run(run_id, lambda: store) == token.project
