"""Every address of the collector, in one table: the routes and the OpenAPI description are both made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from . import documents, health, ingest, reads
from .state import State
from .tokens import INGEST, READ, WATCH, Token

Handler = Callable[[Request, Token, State], Awaitable[Response]]
Scope = str | Callable[[Request], str] | None

TEXT, COUNT, NUMBER, FLAG, TEXTS = "string", "integer", "number", "boolean", "array"


@frozen
class Endpoint:
    """`scope` is what a token must allow (None: no token is asked for), or finds it out from the request. `params` are
    those of the query by name: type, and whether one must be given. `body` is the media type of what is sent."""

    method: str
    path: str
    summary: str
    handler: Handler
    scope: Scope
    answer: str  # what the JSON object of a 200 holds, with its members' types
    params: tuple[tuple[str, str, bool], ...] = ()
    body: str | None = None
    statuses: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.handler.__name__


def _some(kind: str, *names: str) -> tuple[tuple[str, str, bool], ...]:
    return tuple((name, kind, False) for name in names)


def _needed(kind: str, *names: str) -> tuple[tuple[str, str, bool], ...]:
    return tuple((name, kind, True) for name in names)


_RUNS = (
    *_some(TEXT, "project", "job", "host", "root_id", "parent_id", "journal", "prefix"),
    *_some(TEXTS, "kinds", "states", "tags"),
    *_some(NUMBER, "since", "until"),
    *_some(FLAG, "roots"),
    *_some(COUNT, "limit", "offset"),
)
_RUN = _needed(TEXT, "run_id")
_LOGS = (
    *_RUN,
    *_some(COUNT, "after", "before", "limit"),
    *_some(FLAG, "tree", "last"),
    *_some(TEXT, "text"),
    *_some(TEXTS, "levels"),
)
_DOCUMENT = _needed(TEXT, "kind", "key")
_VERSIONED = (*_DOCUMENT, *_needed(COUNT, "expect_version"))
_CUTOFFS = _needed(NUMBER, "runs_before", "failures_before", "logs_before")

ENDPOINTS = (
    Endpoint(
        "GET",
        "/healthz",
        "The process answers.",
        health.healthz,
        None,
        "ok: boolean",
    ),
    Endpoint(
        "GET",
        "/readyz",
        "The store answers, too.",
        health.readyz,
        None,
        "ok: boolean",
        statuses=(503,),
    ),
    Endpoint(
        "GET",
        "/v1/openapi.json",
        "This description.",
        health.openapi,
        None,
        "openapi: string",
    ),
    Endpoint(
        "GET",
        "/v1/about",
        "What this collector is, and what the token allows.",
        health.about,
        health.any_scope,
        "holter: string, scopes: array, ready: boolean, project: string",
    ),
    Endpoint(
        "POST",
        "/v1/journals/{journal}",
        "Store whole lines of a journal from a byte offset, once.",
        ingest.append,
        INGEST,
        "offset: integer",
        _needed(COUNT, "offset"),
        "application/jsonl",
        (409, 413, 415, 422),
    ),
    Endpoint(
        "GET",
        "/v1/journals",
        "The journals that the store knows.",
        reads.journals,
        READ,
        "journals: array",
        (*_some(FLAG, "open_only"), *_some(TEXTS, "journals")),
    ),
    Endpoint(
        "GET",
        "/v1/runs",
        "Runs, newest first.",
        reads.runs,
        READ,
        "runs: array",
        _RUNS,
    ),
    Endpoint(
        "GET",
        "/v1/jobs",
        "Counts and percentiles per job.",
        reads.jobs,
        READ,
        "jobs: array",
        _RUNS,
    ),
    Endpoint(
        "GET",
        "/v1/newest",
        "The newest runs of every job.",
        reads.newest,
        READ,
        "jobs: array",
        (*_RUNS, *_some(COUNT, "each")),
    ),
    Endpoint(
        "GET",
        "/v1/timeline",
        "How many runs began in each span of time, by state.",
        reads.timeline,
        READ,
        "spans: array",
        (*_RUNS, *_some(NUMBER, "every")),
    ),
    Endpoint(
        "GET",
        "/v1/size",
        "Bytes that all records take, about, if the store can tell.",
        reads.size,
        READ,
        "known: boolean, bytes: integer",
    ),
    Endpoint(
        "GET",
        "/v1/run",
        "One run.",
        reads.run,
        READ,
        "run: object",
        _RUN,
        statuses=(404,),
    ),
    Endpoint(
        "GET",
        "/v1/events",
        "The events of one run.",
        reads.events,
        READ,
        "events: array",
        _RUN,
    ),
    Endpoint(
        "GET",
        "/v1/logs",
        "Lines of a run and its parts.",
        reads.logs,
        READ,
        "logs: array",
        _LOGS,
    ),
    Endpoint(
        "GET",
        "/v1/transitions",
        "Changes of state, oldest first.",
        reads.transitions,
        READ,
        "transitions: array",
        _some(COUNT, "after", "limit"),
    ),
    Endpoint(
        "POST",
        "/v1/prune",
        "Forget what is older.",
        reads.prune,
        WATCH,
        "runs: integer, logs: integer",
        _CUTOFFS,
    ),
    Endpoint(
        "GET",
        "/v1/documents",
        "All documents of a kind.",
        documents.list_documents,
        documents.scope_of,
        "documents: array",
        _needed(TEXT, "kind"),
    ),
    Endpoint(
        "GET",
        "/v1/document",
        "One document.",
        documents.get_document,
        documents.scope_of,
        "document: object",
        _DOCUMENT,
        statuses=(404,),
    ),
    Endpoint(
        "PUT",
        "/v1/document",
        "Write a document if it has this version.",
        documents.put_document,
        documents.scope_of,
        "version: integer",
        _VERSIONED,
        "application/json",
        (409, 413, 415),
    ),
    Endpoint(
        "DELETE",
        "/v1/document",
        "Remove a document if it has this version.",
        documents.delete_document,
        documents.scope_of,
        "deleted: boolean, gone: boolean",
        _VERSIONED,
    ),
)


def statuses_of(endpoint: Endpoint) -> list[int]:
    """All that it may answer."""
    asked = (401, 403, 429, 503) if endpoint.scope is not None else ()
    given = (400,) if endpoint.params else ()
    body = (408,) if endpoint.body else ()
    return sorted({200, *asked, *given, *body, *endpoint.statuses})


def members_of(endpoint: Endpoint) -> dict[str, Any]:
    """The members of a 200 as JSON schema."""
    pairs = (each.split(": ") for each in endpoint.answer.split(", "))
    return {name: {"type": kind, **({"items": {}} if kind == "array" else {})} for name, kind in pairs}
