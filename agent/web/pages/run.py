"""One run: how it went, what it did when, its lines, and what can be done about it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from json import dumps
from stat import S_ISREG
from typing import Any

from attrs import frozen
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from ....backends.base import Backend
from ....backends.clock import SYSTEM
from ....backends.queries import RunQuery
from ....backends.records import JobSummary, Json, Run
from ....backends.states import FAILURES
from ... import images
from ...occupancy import occupancy, places_of
from ...watchdog.cancelling import asked
from ...waterfall import spans
from ...why import why
from ..refusals import Refusal
from ..state import State
from ..tokens import Token
from . import lines
from .render import HEADERS, page

STEPS = 200  # rows of the waterfall on a page
_SAID = {"waits": "waited", "runs": "ran", "fails": "failed after", "delays": "waited to try again"}
GROUPED_FROM = 50  # steps, from which on they are also counted by name
_PICTURE = re.compile(r"artifacts/[0-9a-f]{32}\.(png|jpg|jpeg|gif|svg|webp)")
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


@frozen
class Bar:
    """A stretch of a step: `kind` is how it looks (`good`, `bad`, `busy`, `idle`, `wait`), `x` and `width` are in
    thousandths of the waterfall's span."""

    kind: str
    x: float
    width: float
    title: str


@frozen
class Step:
    """A row of the waterfall. `depth` counts from 0, the run's own children."""

    run: Run
    depth: int
    bars: tuple[Bar, ...]


@frozen
class Steps:
    """A page of the waterfall, oldest first. `total` is how many there are on all pages, `page` counts from 1; `groups`
    are the figures by name where there are many. The span is in Unix seconds."""

    rows: tuple[Step, ...]
    groups: tuple[JobSummary, ...]
    total: int
    page: int
    pages: int
    since: float
    until: float


def found_run(store: Backend, run_id: str, token: Token) -> Run:
    """Raises Refusal (404): also for a run of a project that the token is not for."""
    run = store.run(run_id)
    if run is None or token.project not in (None, run.project):
        raise Refusal(404, f"there is no run {run_id[:100]!r}", "it may have been forgotten by the retention")
    return run


def steps_of(store: Backend, run: Run, number: int, now: float) -> Steps:
    """The parts of a run: all of a root run, the children of another. `number` is the page, 1 the first, 0 the last."""
    of: Json = {"root_id": run.id} if run.parent_id is None else {"parent_id": run.id}
    groups = [each for each in store.summarize(RunQuery(**of)) if not _is_self(each, run)]
    total = sum(each.runs for each in groups)
    pages = max(1, -(-total // STEPS))
    number = min(number or pages, pages)
    count = min(STEPS, total - (number - 1) * STEPS)
    # Newest first, so that the run itself, which is its family's oldest, comes after the last page.
    found = store.runs(RunQuery(**of, limit=count, offset=max(0, total - number * STEPS)))[::-1]
    since = found[0].created_at if found and number > 1 else run.created_at
    ends = [each.ended_at or now for each in found] or [run.ended_at or now]
    until = max([*ends, since + 0.001, run.ended_at or now if pages == 1 else 0.0])
    depths: dict[str | None, int] = {run.id: -1}
    rows = []
    for each in found:
        depths[each.id] = depths.get(each.parent_id, -1) + 1
        rows.append(Step(each, depths[each.id], tuple(bars_of(each, since, until, now))))
    shown = groups if total >= GROUPED_FROM else []
    shown = sorted(shown, key=lambda each: (-_bad(each.by_state), -each.runs))
    return Steps(tuple(rows), tuple(shown), total, number, pages, since, until)


def _is_self(group: JobSummary, run: Run) -> bool:
    """Whether this counts nothing but the run itself, which a question for its family also finds."""
    return run.parent_id is None and group.kind == run.kind and group.name == run.name and group.runs == 1


def _bad(by_state: dict[str, int]) -> int:
    return sum(by_state.get(state, 0) for state in FAILURES)


def bars_of(run: Run, since: float, until: float, now: float) -> Iterator[Bar]:
    """What the step did when: its attempts, and what it waited before and between them."""
    scale = 1000 / (until - since)
    for span in spans(run, now):
        x = min(999.0, max(0.0, (span.start - since) * scale))
        lasted = max(0.0, span.end - span.start)
        kind = {"fails": "bad", "runs": "good" if run.ended else "busy"}.get(span.kind, "wait")
        yield Bar(kind, x, min(1000 - x, max(1.5, lasted * scale)), f"{_SAID[span.kind]} {lasted:.3g} s")


async def run_page(request: Request, token: Token, state: State) -> Response:
    run_id, params = request.path_params["run_id"], request.query_params
    number = lines.number_of(params.get("page")) or 0
    now = SYSTEM.wall()

    def made(store: Backend) -> Response:
        run = found_run(store, run_id, token)
        parent = store.run(run.parent_id) if run.parent_id else None
        steps = steps_of(store, run, number or (1 if run.ended else 0), now)
        window = lines.window_of(store, run, params)
        request_open = asked(store, run.id) if not run.ended else None
        shown: Json = {"run": run, "parent": parent, "steps": steps, "window": window, "now": now}
        shown |= {"asked": request_open, "artifacts": [_shown(each) for each in run.artifacts]}
        shown["usage"] = usage_of(store, run)
        limits = [] if run.ended else occupancy(state.options.home, state.settings.limits, store)
        shown["places"] = places_of(limits, run.id)
        shown["why"] = why(store, run) if run.ended else None
        shown |= {"here": state.options.key is not None, "header": _header(store, run)}
        return page(request, "run.html", token, shown)

    return await state.stores.ask(made)


def usage_of(store: Backend, run: Run) -> str | None:
    """What the run's process used while it went on, for the plot, as JSON: `x` Unix seconds, `memory` in MB, `cpu` in
    percent of a core since the sample before. None for a command, whose process is another one, and for a short run."""
    found = store.processes(open_only=False, journals=[run.journal]) if run.journal else []
    if not found or run.kind == "command":
        return None
    since, until = run.created_at - 1, run.ended_at or float("inf")
    rows = [each for each in found[0].samples if since <= each["at"] <= until + 1]
    if len(rows) < 2:
        return None
    cpu = [None] + [
        round(
            100 * max(0.0, (b["cpu_seconds"] or 0) - (a["cpu_seconds"] or 0)) / max(0.001, b["at"] - a["at"]),
            1,
        )
        for a, b in pairwise(rows)
    ]
    memory = [None if each["rss_bytes"] is None else round(each["rss_bytes"] / 1e6, 1) for each in rows]
    return dumps({"x": [round(each["at"], 1) for each in rows], "memory": memory, "cpu": cpu})


def _header(store: Backend, run: Run) -> Json:
    """What the run's process said of itself, as long as the store knows it."""
    found = store.processes(open_only=False, journals=[run.journal]) if run.journal else []
    return found[0].header if found else {}


def _shown(artifact: Json) -> Json:
    """An artifact with `html` for markdown, `rows` for a table, `src` for a picture of this host, `href` for a link."""
    kind, data = artifact.get("type"), artifact.get("data")
    out: Json = {
        "key": artifact["key"],
        "type": kind,
        "description": artifact.get("description"),
        "data": data,
    }
    if kind == "markdown" and isinstance(data, str):
        out["html"] = Markup(_MARKDOWN.render(data))  # noqa: S704 - rendered with HTML off
    elif kind == "table" and isinstance(data, list):
        out["head"], out["rows"] = _table(data)
    elif kind == "image" and isinstance(data, dict) and _PICTURE.fullmatch(str(data.get("file"))):
        out["src"] = f"/{data['file']}"
    elif kind == "link" and str(data).startswith(("https://", "http://")):
        out["href"] = data
    return out


def _table(rows: Sequence[Any]) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of a table that is a list of objects or of lists; anything else is a row of one."""
    head = list(dict.fromkeys(str(name) for row in rows if isinstance(row, dict) for name in row))
    body = [
        [row.get(name, "") for name in head]
        if isinstance(row, dict)
        else row
        if isinstance(row, list)
        else [row]
        for row in rows
    ]
    return head, body


async def picture(request: Request, token: Token, state: State) -> Response:
    """A picture that a run of this host kept. As an address of its own it is inert: it can run nothing."""
    name = f"artifacts/{request.path_params['name']}"
    found = _PICTURE.fullmatch(name)
    data = await asyncio.to_thread(_read, f"{state.options.home}/{name}") if found else None
    if found is None or data is None:
        raise Refusal(404, "there is no such picture here", "pictures stay on the host that made them")
    sealed = {**HEADERS, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
    media = {"svg": "image/svg+xml", "jpg": "image/jpeg"}.get(found[1], f"image/{found[1]}")
    return Response(data, 200, {**sealed, "Cache-Control": "private, max-age=3600"}, media)


def _read(path: str) -> bytes | None:
    """A regular file's bytes; None where it is none: a link that somebody put there leads nowhere."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return file.read(images.SIZE_LIMIT) if S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except OSError:
        return None
