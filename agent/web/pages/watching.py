"""What is watched, and by whom: alerts, slots, hosts and watchdogs."""

from __future__ import annotations

from collections import defaultdict

from starlette.requests import Request
from starlette.responses import Response

from ....backends.base import Backend
from ....backends.clock import SYSTEM
from ....backends.queries import RunQuery
from ....backends.records import Json
from ....backends.states import OPEN
from ...occupancy import occupancy, run_states
from ...terminal.text import unix
from ...watchdog import host_watch, outbox, pulse
from ...watchdog.incidents import open_incidents
from ..refusals import Refusal
from ..state import State
from ..tokens import Token
from .lines import number_of
from .render import page

ALERTS = 100  # on a page


async def alerts_page(request: Request, token: Token, state: State) -> Response:
    """What was found, why, and where it was sent."""
    number, wanted = number_of(request.query_params.get("page")) or 1, request.query_params.get("show", "")
    now, whole = SYSTEM.wall(), token.project is None  # snoozes and channels are of all projects

    def made(store: Backend) -> Response:
        every = [each for each in outbox.list_alerts(store) if _sees(token, each["project"])]
        every = [each for each in every if wanted != "open" or each["open"]]
        shown = every[(number - 1) * ALERTS : number * ALERTS]
        said = {
            "alerts": [_with_times(each, "at", "sent_at") for each in shown],
            "incidents": [each for each in open_incidents(store) if _sees(token, each.project)],
            "snoozes": outbox.snoozes(store, now) if whole else [],
            "broken": [_with_times(each, "failing_since") for each in outbox.broken_channels(store) if whole],
            "number": number,
            "more": len(every) > number * ALERTS,
            "wanted": wanted,
        }
        return page(request, "alerts.html", token, said)

    return await state.stores.ask(made)


def _sees(token: Token, project: str) -> bool:
    return token.project in (None, project)


async def slots_page(request: Request, token: Token, state: State) -> Response:
    """Who holds and who waits for each limit."""
    _of_all(token)
    now = SYSTEM.wall()

    def made(store: Backend) -> Response:
        found = occupancy(state.options.home, state.settings.limits, store)
        states = run_states(store, found)
        return page(request, "slots.html", token, {"limits": found, "states": states, "now": now})

    return await state.stores.ask(made)


async def hosts_page(request: Request, token: Token, state: State) -> Response:
    """Every host that a process or a watchdog was heard of from."""
    _of_all(token)
    now = SYSTEM.wall()

    def made(store: Backend) -> Response:
        return page(request, "hosts.html", token, {"hosts": hosts_of(store, now)})

    return await state.stores.ask(made)


def hosts_of(store: Backend, now: float) -> list[Json]:
    """By name: `processes` that are open, `heard_at` (Unix seconds, the store's clock), `running` root runs, the
    watchdog's `pulse` and whether it is `stale`, `signals` of the host and the incidents that are open there."""
    found: dict[str, Json] = defaultdict(
        lambda: {
            "processes": 0,
            "heard_at": None,
            "running": 0,
            "pulse": None,
            "signals": {},
            "incidents": [],
        }
    )
    for each in store.processes():
        host = found[str(each.header.get("host"))]
        host["processes"] += 1
        host["heard_at"] = max(host["heard_at"] or 0.0, each.received_at)
    for run in store.runs(RunQuery(states=OPEN, roots=True, limit=None)):
        found[str(run.host)]["running"] += 1
    for _, held in store.list(pulse.KIND):
        found[held.value["host"]]["pulse"] = {**held.value, "stale": pulse.stale(held.value, now)}
    for _, held in store.list(host_watch.KIND):
        found[held.value["host"]]["signals"] = held.value
    for incident in open_incidents(store):
        if incident.host:
            found[incident.host]["incidents"].append(incident)
    return [{"name": name, **found[name]} for name in sorted(found)]


def _of_all(token: Token) -> None:
    if token.project is not None:
        raise Refusal(
            403, "limits and hosts belong to no project, and your token does", "use one that is not bound"
        )


def _with_times(found: Json, *names: str) -> Json:
    """With these times as Unix seconds, as pages take them."""
    return {**found, **{name: unix(found[name]) if found[name] else None for name in names}}
