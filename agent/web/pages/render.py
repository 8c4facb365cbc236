"""Templates and static files: what a page is made of, and the headers that it carries."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from ...terminal.text import took
from ..refusals import Refusal
from ..state import State
from ..tokens import Token

COMPRESS_FROM = 1024  # bytes
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}
_TYPES = {".css": "text/css; charset=utf-8"}


def _named(path: Path) -> tuple[str, tuple[bytes, str]]:
    data = path.read_bytes()
    return f"{path.stem}.{sha256(data).hexdigest()[:12]}{path.suffix}", (data, _TYPES[path.suffix])


_STATIC = Path(__file__).parent / "static"
_ASSETS = dict(_named(path) for path in sorted(_STATIC.iterdir()) if path.suffix in _TYPES)


def _asset(name: str) -> str:
    """The address of a static file; another content has another address."""
    stem, _, suffix = name.rpartition(".")
    return next(f"/assets/{each}" for each in _ASSETS if each[: -len(suffix) - 14] == stem)


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


_TEMPLATES = Environment(
    loader=PackageLoader("holter.agent.web.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
_TEMPLATES.globals["asset"] = _asset
_TEMPLATES.filters.update(utc=_utc, took=took)


def page(request: Request, template: str, **values: Any) -> Response:
    """The page, compressed for whoever takes that, and kept by no cache."""
    body = _TEMPLATES.get_template(template).render(values)
    return _answer(request, body.encode(), "text/html; charset=utf-8", "no-store")


async def assets(request: Request, token: Token, state: State) -> Response:
    """A static file by its hashed name. Raises Refusal (404)."""
    found = _ASSETS.get(request.path_params["name"])
    if found is None:
        raise Refusal(404, "there is no such file", "reload the page")
    return _answer(request, *found, "public, max-age=31536000, immutable")


def _answer(request: Request, body: bytes, media: str, cache: str) -> Response:
    headers = {**HEADERS, "Cache-Control": cache}
    if "gzip" in request.headers.get("accept-encoding", "") and len(body) >= COMPRESS_FROM:
        body = gzip.compress(body, 6)
        headers["Content-Encoding"] = "gzip"
    return Response(body, 200, headers, media)
