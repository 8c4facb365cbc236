"""The healthchecks.io ping protocol: every client of it works by changing the host.

    /ping/<uuid>                    /ping/<ping key>/<slug>             the job succeeded
    ... /start  /fail  /log         it starts, it failed, it has something to say
    ... /<exit code>                it ended with this code, 0 to 255

GET, POST and HEAD do the same; a body becomes lines of the run. `?rid=<uuid>` names the run, `?create=1` makes a slug
known. The key or uuid in the address is the secret, so no header is asked for, and no address is ever logged. Answers
are the short texts that clients of the protocol expect.
"""

from __future__ import annotations

from uuid import UUID

from attrs import field, frozen
from loguru import logger
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ...backends.clock import SYSTEM
from ...backends.errors import HolterError
from . import ping_bodies
from .ping_runs import FAIL, LOG, START, SUCCESS, Ping, Whose, find, record
from .refusals import Refusal, refusal_of
from .state import State

_WORDS = {"start": START, "fail": FAIL, "log": LOG}
_NAME = 100  # characters of a slug at most


@frozen
class Address:
    """What an address says. `secret` is a uuid or a ping key; `slug` None where the uuid names the job."""

    secret: str = field(repr=False)  # a traceback in the log shows the rest
    slug: str | None
    action: str = SUCCESS
    exit_code: int | None = None


def address(path: str) -> Address:
    """Read what stands behind /ping/. Raises Refusal (400, 404)."""
    first, *rest = path.removesuffix("/").split("/")
    own = _uuid(first)
    if own is None and not rest:
        raise _not_found()
    slug = None if own else rest.pop(0)
    if len(rest) > 1 or (slug is not None and not (0 < len(slug) <= _NAME and slug.isprintable())):
        raise _unclear("url")
    return Address(own or first, slug, *(_action(rest[0]) if rest else (SUCCESS, None)))


def _action(word: str) -> tuple[str, int | None]:
    if word in _WORDS:
        return _WORDS[word], None
    if not (word.isascii() and word.isdigit() and len(word) <= 3 and int(word) <= 255):
        raise _unclear("url")
    return (FAIL if int(word) else SUCCESS), int(word)


def _uuid(text: str) -> str | None:
    """In its usual form; None for what is none."""
    try:
        return str(UUID(text)) if len(text) == 36 else None
    except ValueError:
        return None


def _not_found() -> Refusal:
    return Refusal(404, "not found")


def _unclear(what: str) -> Refusal:
    return Refusal(400, f"invalid {what} format")


async def ping(request: Request) -> Response:
    """Take one ping; answered when it is stored."""
    state: State = request.app.state.holter
    try:
        created = await _take(request, state)
    except ClientDisconnect:
        return Response(status_code=400)  # there is nobody left to read it
    except Exception as error:  # noqa: BLE001 - logged here, whole; the client gets a sentence
        if not isinstance(error, Refusal | HolterError):
            logger.opt(exception=error).error("a ping")
        return _said(refusal_of(error))
    return _text("Created", 201) if created else _text("OK", 200)


async def _take(request: Request, state: State) -> bool:
    """Whether the job was not known before. Raises Refusal, StorageError."""
    target = address(request.path_params["rest"])
    rid = request.query_params.get("rid")
    if rid is not None and (rid := _uuid(rid)) is None:
        raise _unclear("uuid")
    whose = await _whose(state, target, create=request.query_params.get("create") == "1")
    with state.admission.parcel() as load:
        said = await ping_bodies.read(request, state, load)
        peer = request.client.host if request.client else "unknown"
        agent = request.headers.get("user-agent", "")[:200]
        at = SYSTEM.wall()
        await record(
            state, Ping(whose.project, whose.job, target.action, at, rid, target.exit_code, said, peer, agent)
        )
    return whose.created


async def _whose(state: State, target: Address, *, create: bool) -> Whose:
    """The job that an address means. Raises Refusal (404, 409)."""
    token = await state.access.pinger(target.secret)
    if token is None or (token.job is None) != (target.slug is not None):
        raise _not_found()
    if token.job is not None:
        return Whose(token.project or state.settings.project, token.job)
    slug = target.slug or ""
    found = await state.stores.ask(lambda store: find(store, state.settings, token.project, slug, create))
    if not found:
        raise _not_found()
    if len(found) > 1:
        raise Refusal(409, "ambiguous slug")
    return found[0]


def _said(refusal: Refusal) -> Response:
    answer = _text(refusal.error, refusal.status)
    if refusal.retry_after is not None:
        answer.headers["Retry-After"] = str(refusal.retry_after)
    return answer


def _text(text: str, status: int) -> Response:
    headers = {
        "Ping-Body-Limit": str(ping_bodies.LIMIT),
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": "no-store",
    }
    return PlainTextResponse(text, status, headers)


ROUTES = [Route("/ping/{rest:path}", ping, methods=["GET", "POST"])]
