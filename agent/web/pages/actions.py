"""What a page's buttons do: snooze, acknowledge, cancel, mark, run again. Each takes the right to, and the CSRF token.

Not guaranteed: that a run which is cancelled here has ended when the page comes back; its host's watchdog ends it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ....backends.base import Backend
from ....backends.clock import SYSTEM
from ....backends.errors import HolterError
from ....backends.records import Run
from ....backends.schedule import parse_duration
from ....backends.states import ENDINGS
from ... import identity
from ...rerun import command_of, environment
from ...watchdog import cancelling, outbox
from ...watchdog.judgements import Judge
from ...watchdog.marking import mark
from .. import sessions
from ..refusals import Refusal
from ..state import State
from ..tokens import Token
from .forms import form_of
from .run import found_run
from .signing import own_address

REASON = 200  # characters


async def snooze(request: Request, token: Token, state: State) -> Response:
    """`job` (a name or shell pattern) or `host`, `for` (a duration; 0s ends it)."""
    form = await _checked(request)
    job, host = form.get("job") or None, form.get("host") or None
    if not (job or host):
        raise Refusal(400, "say whom to snooze", "give a job or a host")
    _of_all(token)
    until = SYSTEM.wall() + parse_duration(form.get("for", "1h"))
    await state.stores.ask(lambda store: outbox.snooze(store, job, until, by=_who(token), host=host))
    return _back(form, "/alerts")


async def acknowledge(request: Request, token: Token, state: State) -> Response:
    """`job` or `host`: no more reminders of the trouble that it is in."""
    form = await _checked(request)
    job, host = form.get("job") or None, form.get("host") or None
    _of_all(token)
    await state.stores.ask(lambda store: outbox.ack(store, job, by=_who(token), host=host))
    return _back(form, "/alerts")


async def cancel(request: Request, token: Token, state: State) -> Response:
    form = await _checked(request)
    reason = form.get("reason", "")[:REASON]

    def asked(store: Backend, run: Run) -> None:
        if not (state.options.key is not None and _ended_here(store, state, run, reason, token)):
            cancelling.ask(store, run, _who(token), reason, SYSTEM.wall())

    return await _of_run(request, token, state, form, asked)


def _ended_here(store: Backend, state: State, run: Run, reason: str, token: Token) -> bool:
    """The dashboard of one person may what that person may: end it at once, where it runs on this host."""
    judge = Judge(state.options.home, state.settings.project, store)
    try:
        taken = cancelling.begin(store, lambda: judge, run, cancelling.words(_who(token), reason))
        while taken is not None and not taken.look():
            SYSTEM.sleep(0.02)
    finally:
        judge.close()
    return taken is not None


async def mark_ending(request: Request, token: Token, state: State) -> Response:
    form = await _checked(request)
    ending, reason = form.get("state", "").upper(), form.get("reason", "")[:REASON]
    if ending not in ENDINGS:
        raise Refusal(400, f"{ending[:40]!r} is no ending", f"one of {', '.join(ENDINGS).lower()}")

    def marked(store: Backend, run: Run) -> None:
        said = f"{reason} ({_who(token)})" if reason else _who(token)
        try:
            mark(store, state.options.home, state.settings.project, run, ending, said)
        except HolterError as error:
            raise Refusal(409, error.message, error.hint or "") from None

    return await _of_run(request, token, state, form, marked)


async def run_again(request: Request, token: Token, state: State) -> Response:
    """Only in the dashboard of one person: a record that somebody sent to a collector starts nothing on its host."""
    form = await _checked(request)
    if state.options.key is None:
        raise Refusal(403, "a collector starts nothing", "`holter rerun` does, on the run's host")

    def started(store: Backend, run: Run) -> None:
        try:
            argv, folder = command_of(store, run, state.options.home)
        except HolterError as error:
            raise Refusal(409, error.message, error.hint or "") from None
        cause = {"rerun_of": run.id, "by": identity.me()["user"]}
        quiet = subprocess.DEVNULL
        subprocess.Popen(
            argv,
            cwd=folder,
            env=environment(os.environ, state.settings.rerun.env, cause),
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            start_new_session=True,
        )

    return await _of_run(request, token, state, form, started)


async def _of_run(
    request: Request, token: Token, state: State, form: dict[str, str], act: Callable[[Backend, Run], None]
) -> Response:
    run_id = request.path_params["run_id"]
    await state.stores.ask(lambda store: act(store, found_run(store, run_id, token)))
    return _back(form, f"/runs/{run_id}")


async def _checked(request: Request) -> dict[str, str]:
    form = await form_of(request)
    sessions.check(request, form)
    return form


def _who(token: Token) -> str:
    """By whose word something is done, as it is recorded."""
    return f"token {token.id} (dashboard)" if token.id else f"{identity.me()['user']} (dashboard)"


def _of_all(token: Token) -> None:
    if token.project is not None:
        raise Refusal(403, "snoozes are of all projects, and your token is not", "use one that is not bound")


def _back(form: dict[str, str], default: str) -> Response:
    return RedirectResponse(own_address(form.get("next", default)), 303)
