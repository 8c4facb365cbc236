"""Windows of a run's lines: a page holds a few hundred of them, however many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen
from markupsafe import Markup, escape
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ....backends.base import Backend
from ....backends.queries import LogQuery
from ....backends.records import Json, Log, Run
from ...terminal.text import clean
from ..state import State
from ..tokens import Token
from .marks import utc
from .render import fragment

WINDOW = 200  # lines
FOLLOWED = 500  # new lines at a time
SEARCHED = 20_000  # lines that are looked through for an error
SHOWN = 8000  # characters of a line
LEVELS: Mapping[str, tuple[str, ...]] = {
    "warning": ("WARNING", "ERROR", "CRITICAL", "FATAL"),
    "error": ("ERROR", "CRITICAL", "FATAL"),
}


@frozen
class Window:
    """Lines of a run, oldest first. `earlier` and `later`: the seq before which, or after which, there are more; None
    where there are none. `error` is the seq of the newest line of an error. `text` and `level` are what was asked."""

    logs: tuple[Log, ...]
    earlier: int | None
    later: int | None
    error: int | None
    text: str
    level: str

    @property
    def rows(self) -> Markup:
        return rows_of(self.logs, found=bool(self.text or self.level))


def number_of(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


def window_of(store: Backend, run: Run, params: QueryParams) -> Window:
    """The window that the address asks for: `at`, `before` or `after` a seq, else the last lines; with `q` (words) and
    `level` (`warning`: these and worse)."""
    text, level = params.get("q", "").strip()[:200], params.get("level", "")
    of: Json = {"text": text or None, "levels": LEVELS.get(level, ())}
    at, before, after = (number_of(params.get(name)) for name in ("at", "before", "after"))
    half = WINDOW // 2
    if at is not None:
        older = store.logs(LogQuery(run.id, before=at, limit=half + 1, last=True))
        newer = store.logs(LogQuery(run.id, after=at - 1, limit=half + 1))
        earlier, later = len(older) > half, len(newer) > half
        found = older[-half:] + newer[:half]
    elif after is not None:
        newer = store.logs(LogQuery(run.id, after=after, limit=WINDOW + 1, **of))
        earlier, later, found = after > 0, len(newer) > WINDOW, newer[:WINDOW]
    else:
        older = store.logs(LogQuery(run.id, before=before, limit=WINDOW + 1, last=True, **of))
        earlier, later, found = len(older) > WINDOW, before is not None, older[-WINDOW:]
    error = _last_error(store, run)
    return Window(
        tuple(found),
        found[0].seq if found and earlier else None,
        found[-1].seq if found and later else None,
        error[-1].seq if error else None,
        text,
        level,
    )


def _last_error(store: Backend, run: Run) -> list[Log]:
    """The newest line of an error, among the newest that the store holds since about SEARCHED lines."""
    newest = store.logs(LogQuery(run.id, limit=1, last=True))
    since = max(0, newest[-1].seq - SEARCHED) if newest else 0
    return (
        store.logs(LogQuery(run.id, after=since, levels=LEVELS["error"], limit=1, last=True))
        if newest
        else []
    )


def rows_of(logs: Sequence[Log], *, found: bool) -> Markup:
    """`found`: they were searched for, and each leads to its surroundings."""
    return Markup("").join(_row(log, found) for log in logs)


def _row(log: Log, found: bool) -> Markup:
    text, level = clean(log.text), log.level.lower()
    more = f" … {len(text) - SHOWN:,} characters more" if len(text) > SHOWN else ""
    kind = "bad" if log.level in LEVELS["error"] else "warn" if log.level == "WARNING" else "plain"
    at = utc(log.at)
    moment = f'<time data-clock datetime="{at.replace(" ", "T")}Z" title="{at} UTC">{at[11:]}</time>'
    moment = f'<a href="?at={log.seq}#L{log.seq}">{moment}</a>' if found else moment
    return Markup(  # noqa: S704 - what comes from the record is escaped
        f'<li id="L{log.seq}" data-seq="{log.seq}" class="{kind}">{moment}<span class="level">{escape(level)}</span>'
        f"<span>{escape(text[:SHOWN])}{more}</span></li>\n"
    )


async def new_lines(request: Request, token: Token, state: State) -> Response:
    """`?after=SEQ`: the lines since then, as rows, for who follows them."""
    from .run import found_run

    params = request.query_params
    after = number_of(params.get("after")) or 0
    of: Json = {
        "text": params.get("q", "").strip()[:200] or None,
        "levels": LEVELS.get(params.get("level", ""), ()),
    }

    def made(store: Backend) -> Response:
        run = found_run(store, request.path_params["run_id"], token)
        found = store.logs(LogQuery(run.id, after=after, limit=FOLLOWED, **of))
        rows = rows_of(found, found=bool(of["text"] or of["levels"]))
        return fragment(request, "lines.html", rows=rows)

    return await state.stores.ask(made)
