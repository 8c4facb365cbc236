"""Templates and static files: what a page is made of, and the headers that it carries."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from ....backends.clock import SYSTEM
from ...terminal.text import clean, size
from .. import sessions
from ..refusals import Refusal
from ..state import State
from ..tokens import OPERATE, Token
from . import marks

COMPRESS_FROM = 1024  # bytes
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept-Encoding, Cookie",
}
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def _named(path: Path) -> tuple[str, tuple[bytes, str]]:
    data = path.read_bytes()
    return f"{path.stem}.{sha256(data).hexdigest()[:12]}{path.suffix}", (data, _TYPES[path.suffix])


_STATIC = Path(__file__).parent / "static"
_ASSETS = dict(_named(path) for path in sorted(_STATIC.iterdir()) if path.suffix in _TYPES)
_PRESSED = {name: gzip.compress(data, 9) for name, (data, _) in _ASSETS.items()}
_ADDRESSES = {f"{name[: name.rindex('.') - 13]}{Path(name).suffix}": f"/assets/{name}" for name in _ASSETS}


def _address(params: Any, **changed: object) -> str:
    """The query of this address with some of it changed; None takes it out."""
    from urllib.parse import urlencode

    kept = [(name, value) for name, value in params.multi_items() if name not in changed and value]
    pairs = kept + [(name, str(value)) for name, value in changed.items() if value not in (None, "")]
    return "?" + urlencode(pairs)


def _plain(value: Any) -> str:
    """A recorded value as text: itself, or as JSON."""
    return clean(value) if isinstance(value, str) else dumps(value, ensure_ascii=False, indent=1)


_TEMPLATES = Environment(
    loader=PackageLoader("holter.agent.web.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals.update(
    asset=_ADDRESSES.__getitem__,
    state=marks.state,
    ticks=marks.ticks,
    job_path=marks.job_path,
    address=_address,
    clock=lambda: f"{SYSTEM.wall():.0f}",
)
_TEMPLATES.filters.update(
    when=marks.when,
    lasted=marks.lasted,
    clean=clean,
    bytes=size,
    plain=_plain,
    share=marks.share,
    ticked=marks.ticked,
)


def page(
    request: Request, template: str, token: Token | None, values: Mapping[str, Any], status: int = 200
) -> Response:
    """The page as `token` may see it (None: nobody in particular), compressed for whoever takes that, kept by no cache.
    Whoever has no session yet gets a cookie, so that forms can be told from those of other sites."""
    cookie = sessions.cookie_of(request) or sessions.fresh()
    operates = token is not None and token.may(OPERATE)
    common = {
        "path": request.url.path,
        "params": request.query_params,
        "operates": operates,
        "signed_in": bool(token and token.id),
        "csrf": Markup('<input type="hidden" name="csrf" value="{}">').format(sessions.csrf(cookie)),
    }
    body = _TEMPLATES.get_template(template).render({**common, **values})
    response = _answer(
        request, body.encode("utf-8", "replace"), "text/html; charset=utf-8", "no-store", status
    )
    if token is not None and not sessions.cookie_of(request):
        sessions.hand_over(request, response, cookie)
    return response


def fragment(request: Request, template: str, **values: Any) -> Response:
    """A part of a page, for its script."""
    body = _TEMPLATES.get_template(template).render(values)
    return _answer(request, body.encode("utf-8", "replace"), "text/html; charset=utf-8", "no-store")


async def assets(request: Request, token: Token, state: State) -> Response:
    """A static file by its hashed name. Raises Refusal (404)."""
    name = request.path_params["name"]
    found = _ASSETS.get(name)
    if found is None:
        raise Refusal(404, "there is no such file", "reload the page")
    return _answer(request, *found, "public, max-age=31536000, immutable", pressed=_PRESSED[name])


def _answer(
    request: Request, body: bytes, media: str, cache: str, status: int = 200, pressed: bytes | None = None
) -> Response:
    headers = {**HEADERS, "Cache-Control": cache}
    if "gzip" in request.headers.get("accept-encoding", "") and len(body) >= COMPRESS_FROM:
        body = pressed or gzip.compress(body, 5)
        headers["Content-Encoding"] = "gzip"
    return Response(body, status, headers, media)
