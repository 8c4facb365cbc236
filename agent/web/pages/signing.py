"""Signing in with a token, and out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .. import sessions
from ..refusals import Refusal
from ..state import State
from ..tokens import Token
from .forms import form_of
from .render import page


async def sign_in_page(request: Request, token: Token, state: State) -> Response:
    """The form; with `?key=`, as `holter ui` prints it, the door is open already."""
    if key := request.query_params.get("key"):
        return _entered(request, await state.access.sign_in(key), "/")
    target = own_address(request.query_params.get("next", "/"))
    return page(request, "sign_in.html", None, {"next": target, "wrong": None})


async def sign_in(request: Request, token: Token, state: State) -> Response:
    # Nobody is signed in as somebody else by a page.
    if request.headers.get("sec-fetch-site") == "cross-site":
        raise Refusal(403, "this form came from another site", "sign in on the page itself")
    form = await form_of(request)
    target = own_address(form.get("next", "/"))
    try:
        cookie = await state.access.sign_in(form.get("token", ""))
    except Refusal as refusal:
        return page(request, "sign_in.html", None, {"next": target, "wrong": refusal}, 401)
    return _entered(request, cookie, target)


async def sign_out(request: Request, token: Token, state: State) -> Response:
    form = await form_of(request)
    sessions.check(request, form)
    cookie = sessions.cookie_of(request)
    await state.stores.ask(lambda store: sessions.close(store, cookie))
    response = RedirectResponse("/", 303)
    sessions.hand_over(request, response, "")
    return response


def _entered(request: Request, cookie: str, target: str) -> Response:
    response = RedirectResponse(target, 303)
    sessions.hand_over(request, response, cookie)
    return response


def own_address(target: str) -> str:
    """An address of this site: nobody is sent elsewhere by a link to the form."""
    inside = target.startswith("/") and not target.startswith(("//", "/\\")) and "\\" not in target
    return target if inside and target.isprintable() else "/"
