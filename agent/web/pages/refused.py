"""How a page says no: with what is wrong, what to do about it, and the way to sign in."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ..refusals import Refusal
from .render import page


def refused(request: Request, refusal: Refusal) -> Response:
    """The refusal as a page; to what asked for no page (a script, a picture), as JSON."""
    if "text/html" not in request.headers.get("accept", "") and request.method == "GET":
        return refusal.response()
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    said = {
        "refusal": refusal,
        "signing": refusal.status == 401,
        "next": back if request.method == "GET" else "/",
    }
    shown = page(request, "refused.html", None, said, refusal.status)
    if refusal.retry_after is not None:
        shown.headers["Retry-After"] = str(refusal.retry_after)
    return shown
