"""What a collector shows to anybody, of the projects that `public:` names: a status page, and badges.

Of another project, and of a job that there is none of, the answer is the same as of one that never was.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from starlette.requests import Request
from starlette.responses import Response

from ....backends.base import Backend
from ....backends.clock import SYSTEM
from ....backends.queries import RunQuery
from ... import reports, sharing
from ..kept import KEPT
from ..refusals import Refusal
from ..state import State
from ..tokens import Token

PERIOD = 30 * 86400.0
_SEALED = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": f"public, max-age={KEPT:.0f}",
}
_COLOURS = {
    "passing": "#18794e",
    "failing": "#c2281d",
    "running": "#0b5fb0",
    "late": "#8a5300",
    "unknown": "#60646c",
}


async def status_page(request: Request, token: Token, state: State) -> Response:
    """The page of `holter report --public` over the last 30 days. Raises Refusal (404)."""
    project = request.path_params["project"]
    _require(project, state)

    def drawn(store: Backend) -> str:
        now = SYSTEM.wall()
        query = RunQuery(project=project, roots=True, since=now - PERIOD, until=now)
        found, jobs = sharing.figures(store, state.settings, query)
        return sharing.page(found, [(job, None) for job in jobs], f"Jobs of {project}")

    text = await _once(f"page {project}", drawn, state)
    return Response(text.encode("utf-8", "replace"), 200, _SEALED, "text/html; charset=utf-8")


async def badge(request: Request, token: Token, state: State) -> Response:
    """`passing`, `failing`, `late`, `running` or `unknown`. Raises Refusal (404) where the project is not public."""
    project, job = request.path_params["project"], request.path_params["job"].removesuffix(".svg")[:200]
    _require(project, state)
    text = await _once(
        f"badge {project} {job}", lambda store: _svg(job, _word(store, state, project, job)), state
    )
    return Response(text.encode("utf-8", "replace"), 200, _SEALED, "image/svg+xml")


def _require(project: str, state: State) -> None:
    if project not in state.settings.public:
        raise Refusal(
            404, "there is no such page", "`public: [PROJECT]` in the collector's holter.yaml makes one"
        )


async def _once(address: str, make: Callable[[Backend], str], state: State) -> str:
    known = state.public.get(address)
    if known is None:
        known = await state.stores.ask(make)
        state.public.put(address, known)
    return known


def _word(store: Backend, state: State, project: str, job: str) -> str:
    told = reports.status_of(store, state.settings, project, job, SYSTEM.wall())
    if told is None or (told.record.last is None and told.well):
        return "unknown"
    events = {each.event for each in told.verdict.problems}
    if events & {"late", "missed", "not_fresh", "unfinished"} and not events & {
        "failed",
        "crashed",
        "timed_out",
    }:
        return "late"
    if not told.well:
        return "failing"
    return "running" if told.record.last is not None and not told.record.last.ended else "passing"


def _svg(job: str, word: str) -> str:
    left, right = 14 + 6.6 * len(job), 14 + 6.6 * len(word)
    width, said = left + right, escape(f"{job}: {word}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="20" role="img" aria-label="{said}">'
        f'<title>{said}</title><rect width="{width:.0f}" height="20" rx="4" fill="#3b3f45"/>'
        f'<path d="M{left:.0f} 0h{right - 4:.0f}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4H{left:.0f}z" fill="{_COLOURS[word]}"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2:.1f}" y="14" textLength="{left - 14:.1f}">{escape(job)}</text>'
        f'<text x="{left + right / 2:.1f}" y="14" textLength="{right - 14:.1f}">{word}</text></g></svg>'
    )
