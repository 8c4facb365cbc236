"""The collector as an ASGI application: routes, lifespan, and the one place where errors become answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from loguru import logger
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from ...backends.clock import SYSTEM, Clock
from ...backends.errors import HolterError
from ..settings import load
from .access import Access
from .admission import Admission
from .bindings import Projects
from .endpoints import ENDPOINTS, Handler, Scope
from .metrics import metrics
from .options import Options
from .pages.refused import refused
from .pages.routes import PAGES
from .parcels import Bounds
from .pings import ROUTES as PINGS
from .refusals import Refusal, refusal_of
from .state import State
from .stores import Stores
from .tokens import OPEN, READ
from .writer import Writer


def make_app(options: Options, clock: Clock = SYSTEM) -> Starlette:
    """The application; its threads and handles live from startup to shutdown. `clock` is the store's."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        stores, projects = Stores(options, clock), Projects()
        bounds = Bounds(options.body_limit, options.line_limit)
        writer = Writer(stores.open, bounds, projects)
        access = Access(stores, options.trusting, options.key)
        settings = load(options.home, backend=options.backend)
        app.state.holter = State(options, stores, writer, access, Admission(options), projects, settings)
        try:
            yield
        finally:
            writer.close()
            stores.close()

    pages = [Route(each.path, _showing(each.handler, each.scope), methods=[each.method]) for each in PAGES]
    api = [
        Route(each.path, _answering(each.handler, each.scope), methods=[each.method]) for each in ENDPOINTS
    ]
    others = [*PINGS, Route("/metrics", _answering(metrics, READ), methods=["GET"])]  # protocols of others
    routes = pages if options.key else [*api, *others, *pages]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _no_such_address})


def _showing(handler: Handler, scope: str | None) -> Any:
    async def shown(request: Request) -> Response:
        state: State = request.app.state.holter
        try:
            token = OPEN if scope is None else await state.access.viewer(request, scope)
            return await handler(request, token, state)
        except ClientDisconnect:
            return Response(status_code=400)  # there is nobody left to read it
        except ValueError as error:
            return refused(request, Refusal(400, str(error), "go back, and mend the address"))
        except Exception as error:  # noqa: BLE001 - logged here, whole; the reader gets a sentence
            if not isinstance(error, Refusal | HolterError):
                logger.opt(exception=error).error("{} {}", request.method, request.url.path)
            return refused(request, refusal_of(error))

    return shown


def _answering(handler: Handler, needed: Scope) -> Any:
    async def answered(request: Request) -> Response:
        state: State = request.app.state.holter
        try:
            scope = needed(request) if callable(needed) else needed
            token = OPEN if scope is None else await state.access.token(request, scope)
            return await handler(request, token, state)
        except ClientDisconnect:
            return Response(status_code=400)  # there is nobody left to read it
        except (Refusal, HolterError) as error:
            return refusal_of(error).response()
        except ValueError as error:
            return Refusal(400, str(error), "the description is at /v1/openapi.json").response()
        except Exception as error:  # noqa: BLE001 - logged here, whole; the client gets a sentence
            logger.opt(exception=error).error("{} {}", request.method, request.url.path)
            return refusal_of(error).response()

    return answered


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    hint = "the addresses are at /v1/openapi.json; is the client of another version?"
    what = "is no address of a collector" if error.status_code == 404 else f"does not take {request.method}"
    refusal = Refusal(error.status_code, f"{request.url.path[:200]} {what}", hint)
    asked = request.headers.get("accept", "")
    answer = refused(request, refusal) if "text/html" in asked else refusal.response()
    answer.headers.update(error.headers or {})
    if error.status_code == 405:  # Starlette knows only of the first route at an address
        answer.headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    return answer


def _methods_at(request: Request) -> set[str]:
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found
