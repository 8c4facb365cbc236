"""The OpenAPI description, made of the table of addresses."""

from __future__ import annotations

import re
from typing import Any

from ... import __version__
from .endpoints import COUNT, ENDPOINTS, NUMBER, TEXTS, Endpoint, members_of, statuses_of
from .parcels import JOURNAL

_SAYS = {
    200: "Done.",
    400: "Not understood.",
    401: "No token, or none that is known.",
    403: "The token does not allow it.",
    404: "Not there.",
    408: "Sent too slowly.",
    409: "The store stands elsewhere: `expected` (offset) or `document` (version) tell where.",
    413: "Too large.",
    415: "In an encoding other than gzip.",
    422: "Whole, but not to be stored.",
    429: "Too much at once; Retry-After tells when to come back.",
    503: "The store is away; Retry-After tells when to come back.",
}
_ERROR = {
    "type": "object",
    "required": ["error", "hint"],
    "properties": {"error": {"type": "string"}, "hint": {"type": "string"}},
}


def description() -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Holter collector", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR},
        },
    }


_ABOUT = (
    "Journals are appended by byte offset, so sending twice is harmless. Times are Unix seconds. "
    "Every error has a JSON body of `error` and `hint`."
)


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", **_PATHS.get(name, {})}}
        for name in re.findall(r"{(\w+)", endpoint.path)
    ]
    in_query = [
        {"name": name, "in": "query", "required": needed, "schema": _schema(name, kind)}
        for name, kind, needed in endpoint.params
    ]
    said: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": in_path + in_query,
        "responses": {str(status): _response(endpoint, status) for status in statuses_of(endpoint)},
        "security": [] if endpoint.scope is None else [{"token": []}],
    }
    if endpoint.body is not None:
        needed = endpoint.body in _BODIES  # no lines at all are a batch, too
        body = _BODIES.get(endpoint.body, {"type": "string", "format": "binary"})
        said["requestBody"] = {"required": needed, "content": {endpoint.body: {"schema": body}}}
    return said


_PATHS = {"journal": {"pattern": f"^{JOURNAL.pattern}$"}}
_BODIES: dict[str, dict[str, Any]] = {"application/json": {"type": "object"}}
_BOUNDS: dict[str, dict[str, Any]] = {
    COUNT: {"minimum": 0, "maximum": 10**18 - 1},
    NUMBER: {"exclusiveMinimum": -1e15, "exclusiveMaximum": 1e15},
    TEXTS: {"items": {"type": "string"}},
    "every": {"minimum": 1, "exclusiveMaximum": 1e15},
}


def _schema(name: str, kind: str) -> dict[str, Any]:
    return {"type": kind, **_BOUNDS.get(name, _BOUNDS.get(kind, {}))}


def _response(endpoint: Endpoint, status: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": "#/components/schemas/Error"}
    if status == 200:
        members = members_of(endpoint)
        schema = {"type": "object", "required": list(members), "properties": members}
    return {"description": _SAYS[status], "content": {"application/json": {"schema": schema}}}
