"""`holter cancel`: end a run, here or through the watchdog of its host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import screen
from .options import DURATION, RUN_HELP, run_argument

if TYPE_CHECKING:
    from ...backends.records import Run
    from .desk import Desk

TICK = 0.02  # seconds between looks at what is ending here
FAR_TICK = 0.2  # and at the store


@click.command(epilog=RUN_HELP)
@run_argument
@click.option("--reason", metavar="TEXT", default="", help="Why; it is recorded with your name.")
@click.option("--wait", type=DURATION, default="15s", metavar="15s", help="Wait so long for its end.")
def cancel(run: str, reason: str, wait: float) -> int:
    """End a run: SIGTERM, five seconds, SIGKILL; its children too."""
    from ..lookup import find_run
    from .desk import opened

    with opened() as desk:
        desk.refresh()
        found = find_run(desk.backend, run)
        if found.ended:
            click.echo(f"{found.id} has ended already: {found.state}")
            return 0
        _refuse_inside(desk, found)
        here = _end_here(desk, found, reason)
        if not here:
            _ask(desk, found, reason, wait)
        desk.refresh()
        return _tell(desk, found.id, here)


def _refuse_inside(desk: Desk, run: Run) -> None:
    """A thread cannot be ended from outside, so what runs inside another run's process is not ended alone."""
    from ...backends.errors import HolterError

    parent = desk.backend.run(run.parent_id) if run.parent_id else None
    if parent is not None and parent.journal == run.journal and not parent.ended:
        raise HolterError(
            f"{run.id} is part of {parent.id} and cannot end without it",
            hint=f"`holter cancel {run.root_id}` ends them all",
        )


def _end_here(desk: Desk, run: Run, reason: str) -> bool:
    from ...backends.clock import SYSTEM
    from ..identity import me
    from ..watchdog.cancelling import begin, words
    from ..watchdog.judgements import Judge

    judge = Judge(desk.settings.home, desk.settings.project, desk.backend)
    try:
        taken = begin(desk.backend, lambda: judge, run, words(me()["user"], reason))
        with screen.busy(f"Ending {run.id}", worth=taken is not None):
            while taken is not None and not taken.look():
                SYSTEM.sleep(TICK)
    finally:
        judge.close()
    return taken is not None


def _ask(desk: Desk, run: Run, reason: str, wait: float) -> None:
    """Leave a request, and wait until it is answered or the run is over."""
    from ...backends.clock import SYSTEM
    from ..identity import me
    from ..watchdog.cancelling import ask, asked

    ask(desk.backend, run, f"{me()['user']}@{me()['host']}", reason, SYSTEM.wall())
    deadline = SYSTEM.monotonic() + wait
    with screen.busy(f"Asking the watchdog of {run.host or 'its host'}"):
        while SYSTEM.monotonic() < deadline:
            now, request = desk.backend.run(run.id), asked(desk.backend, run.id)
            if now is None or now.ended or (request is not None and request.answer):
                return
            SYSTEM.sleep(FAR_TICK)


def _tell(desk: Desk, run_id: str, here: bool) -> int:
    from ..watchdog.cancelling import DEADLINE, asked

    now, request = desk.backend.run(run_id), asked(desk.backend, run_id)
    if now is None or now.ended:
        state = now.state if now else "gone"
        own = " by itself, before it could be cancelled" if state == "COMPLETED" else ""
        click.echo(f"{run_id} is {state}{own}")
        return 0
    if here:
        screen.say(f"{run_id} was asked to end, and the store does not say yet that it has")
    elif request is not None and request.answer:
        screen.say(f"{run_id} is {now.state}: {request.answer}")
    else:
        screen.say(
            f"{run_id} is {now.state}: the watchdog of {now.host} has not answered yet. It may do so within "
            f"{DEADLINE:g} s; `holter watch` must run there, as the run's user"
        )
    return 1
