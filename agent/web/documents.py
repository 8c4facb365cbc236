"""The Registry over HTTP. What is about tokens is never told, and never taken."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from ...backends.base import Backend
from ...backends.http_format import count, documents, plain
from ...backends.records import Json
from .. import leases
from . import bodies, sessions
from .inflate import inflated
from .reads import told
from .refusals import Refusal
from .state import State
from .tokens import ANY, INGEST, KIND, READ, WATCH, Token

VALUE_LIMIT = 2**20  # bytes of one document
PULSE = "pulse"  # of the watchdog; every reader looks whether it beats


def scope_of(request: Request) -> str:
    """What this takes: leases belong to the limits of jobs, so who may append may hold them, and everybody may see who
    does; other documents are the watchdog's."""
    if request.query_params.get("kind", "").startswith("lease"):
        return ANY if request.method == "GET" else INGEST
    return READ if request.method == "GET" else WATCH


async def list_documents(request: Request, token: Token, state: State) -> Response:
    kind = _kind(request, token)
    return await told(request, state, lambda store: {"documents": documents(store.list(kind))})


async def get_document(request: Request, token: Token, state: State) -> Response:
    kind, key = _kind(request, token), _key(request)

    def question(store: Backend) -> Json:
        held = store.get(kind, key)
        if held is None:
            raise Refusal(404, "there is no such document", "", kind=kind, key=key)
        return {"document": plain(held)}

    return await told(request, state, question)


async def put_document(request: Request, token: Token, state: State) -> Response:
    kind, key, version = _kind(request, token), _key(request), _version(request)
    with state.admission.parcel() as load:
        body = await bodies.read(request, state, load, VALUE_LIMIT)
        value = _object(inflated(body, VALUE_LIMIT) if bodies.gzipped(request) else body)
    if kind == leases.KIND and not leases.sound(value):
        raise Refusal(400, "this is no document of a shared limit", "is the client of another version?")

    def question(store: Backend) -> Json:
        made = store.put(kind, key, value, version)
        if made is None:
            held = store.get(kind, key)
            raise Refusal(
                409,
                "the document has another version",
                "read it again, and decide again",
                document=None if held is None else plain(held),
            )
        return {"version": made}

    return await told(request, state, question)


async def delete_document(request: Request, token: Token, state: State) -> Response:
    kind, key, version = _kind(request, token), _key(request), _version(request)

    def question(store: Backend) -> Json:
        deleted = store.delete(kind, key, version)
        return {"deleted": deleted, "gone": deleted or store.get(kind, key) is None}

    return await told(request, state, question)


def _object(body: bytes) -> Json:
    try:
        value = json.loads(body, parse_constant=_refuse)
        json.dumps(value, allow_nan=False)  # 1e999 is one, too
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, "a document is a JSON object", "send one")
    return value


def _refuse(name: str) -> None:
    """NaN and Infinity are no JSON, and could not be told again."""
    raise ValueError(name)


def _kind(request: Request, token: Token) -> str:
    kind = request.query_params.get("kind")
    if kind is None:
        raise Refusal(400, "kind is missing", "say with ?kind= which documents")
    if kind in (KIND, sessions.KIND):
        raise Refusal(403, f"{kind}s are not told", "`holter token ls` lists them on the collector's host")
    if token.project is not None and kind != PULSE and not kind.startswith("lease"):
        raise Refusal(403, "documents belong to no project, and the token does", "use one that is not bound")
    return kind


def _key(request: Request) -> str:
    if "key" not in request.query_params:
        raise Refusal(400, "key is missing", "say with ?key= which document")
    return request.query_params["key"]


def _version(request: Request) -> int:
    if "expect_version" not in request.query_params:
        raise Refusal(400, "expect_version is missing", "say which version you have seen; 0 for none")
    return count(request.query_params, "expect_version", 0)
