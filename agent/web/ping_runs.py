"""From pings to runs. Each run that pings tell of has a journal of its own, `ping-<run id>`, and every ping is appended
to it at the offset that was read before: whoever is slower of two reads again and decides again. So any number of
collectors may share a store, and a ping that is repeated changes nothing.

`/start` begins a run, what follows ends it: the run of its `rid`, or, of pings without one, the newest that is open.
An end without a beginning is a whole run, of which nobody knows how long it took.

The journal is closed as soon as it is written: no process is behind it, so nobody waits for its beats, and a run that
never ends is judged by what is expected of its job, never CRASHED or lost.
"""

from __future__ import annotations

from collections.abc import Callable
from glob import escape
from hashlib import sha256

from attrs import field, frozen

from ... import __version__
from ...backends.base import Backend
from ...backends.clock import base32, new_id
from ...backends.lines import encode
from ...backends.queries import RunQuery
from ...backends.records import Json, Run
from ...backends.states import OPEN
from .. import jobs
from ..journal import FORMAT
from ..setting_types import Settings
from .parcels import Parcel
from .ping_bodies import Said
from .refusals import Refusal
from .state import State

START, SUCCESS, FAIL, LOG = "start", "success", "fail", "log"
JOURNAL = "ping-"  # what ids of such journals begin with
OPEN_AT_MOST = 50  # runs of a job that never said how they ended; of older ones nobody expects it any more


@frozen
class Whose:
    """A job; `created` where nobody knew it before."""

    project: str
    job: str
    created: bool = False


@frozen
class Ping:
    """One ping about a job: `at` is when it came (Unix seconds, the collector's clock), `rid` the client's own name of
    the run, `peer` and `agent` are the client's address and what it calls itself."""

    project: str
    job: str
    action: str
    at: float
    rid: str | None = None
    exit_code: int | None = None
    said: Said = field(factory=Said)
    peer: str = "unknown"
    agent: str = ""


@frozen
class _Known:
    """What the store has of a run: how far its journal is, itself, and whether it said how it ended."""

    offset: int
    run: Run | None
    ended: bool


def find(store: Backend, settings: Settings, project: str | None, slug: str, create: bool) -> list[Whose]:
    """The jobs of this name, in `project` or (None) in all: those that ran, and those of which something is expected.
    Where there is none, `create` makes it known."""
    known = {each.project for each in jobs.registered(store).values() if each.job == slug}
    known |= {each.project for each in store.newest(RunQuery(job=escape(slug), roots=True), 1)}
    if slug in settings.checks and not known:
        known.add(project or settings.project)
    found = sorted(known) if project is None else [name for name in known if name == project]
    if found or not create:
        return [Whose(name, slug) for name in found]
    made = Whose(project or settings.project, slug, created=True)
    jobs.register(store, jobs.Registered(slug, made.project))
    return [made]


async def record(state: State, ping: Ping) -> None:
    """Store what a ping tells. Raises Refusal, StorageError."""
    said = False
    while not said:
        run_id = await state.stores.ask(lambda store: _target(store, ping)) or new_id()
        said = await _say(state, ping, run_id, _TELL[ping.action])
        if ping.rid is not None:  # nothing new about this run; of one without a name, another is meant
            break
    if ping.action == START:
        await _give_up(state, ping)


def _run_of(ping: Ping) -> str:
    """The id of a client's run. Of another length than ours, since no time is in it."""
    text = "\0".join((ping.project, ping.job, ping.rid or ""))
    return base32(int.from_bytes(sha256(text.encode()).digest()[:13]), 20)


def _target(store: Backend, ping: Ping) -> str | None:
    """The run that a ping is about; None for a new one."""
    if ping.rid is not None:
        return _run_of(ping)
    if ping.action == START:
        return None
    for run in _open(store, ping):
        if "rid" not in run.parameters:
            return run.id
    if ping.action != LOG:
        return None
    newest = store.runs(_query(ping, limit=1))
    return newest[0].id if newest else None


def _open(store: Backend, ping: Ping) -> list[Run]:
    """The runs of the job that pings began and did not end, the newest first."""
    found = store.runs(_query(ping, states=OPEN, limit=4 * OPEN_AT_MOST))
    return [run for run in found if (run.journal or "").startswith(JOURNAL)]


def _query(ping: Ping, limit: int, states: tuple[str, ...] = ()) -> RunQuery:
    return RunQuery(project=ping.project, job=escape(ping.job), states=states, roots=True, limit=limit)


async def _give_up(state: State, ping: Ping) -> None:
    """A client that only ever says `/start` must not fill the store with runs that are open for ever."""
    for old in (await state.stores.ask(lambda store: _open(store, ping)))[OPEN_AT_MOST:]:
        await _say(state, ping, old.id, _cancelled)


async def _say(
    state: State, ping: Ping, run_id: str, tell: Callable[[Ping, str, _Known], list[Json]]
) -> bool:
    """Append what `tell` makes of the ping and of what is known of its run; False where that is nothing."""
    journal = JOURNAL + run_id
    while True:
        known = await state.stores.ask(lambda store: _look(store, journal, run_id))
        events = tell(ping, run_id, known)
        if not events:
            return False
        if not known.offset:
            events.insert(0, _header(ping, journal))
        events.append({"event": "close", "at": ping.at})
        data = b"".join(map(encode, events))
        try:
            await state.writer.append(Parcel(journal, known.offset, data, gzipped=False))
        except Refusal as refusal:
            if refusal.status != 409:
                raise
        else:
            return True


def _look(store: Backend, journal: str, run_id: str) -> _Known:
    """The offset first: what is appended after that is noticed."""
    process = store.processes(open_only=False, journals=[journal])
    run = store.run(run_id)
    ended = run is not None and run.ended and any(e["event"] == "end" for e in store.events(run_id))
    return _Known(process[0].offset if process else 0, run, ended)


# --- what is written -----------------------------------------------------------------------------------------


def _header(ping: Ping, journal: str) -> Json:
    said = {"host": ping.peer, "project": ping.project, "agent": ping.agent, "holter": __version__}
    return {"event": "process", "journal": journal, "format": FORMAT, "at": ping.at, **said}


def _begun(ping: Ping, run_id: str, **more: object) -> Json:
    named = {"parameters": {"rid": ping.rid}} if ping.rid is not None else {}
    head = {"event": "start", "run": run_id, "at": ping.at, "kind": "command", "name": ping.job}
    return {**head, "project": ping.project, **named, **more}


def _lines(ping: Ping, run_id: str) -> list[Json]:
    said, about = ping.said, {"run": run_id, "at": ping.at}

    def line(text: str, stream: str = "ping") -> Json:
        return {"event": "log", **about, "level": "INFO", "stream": stream, "text": text}

    found = [line(text) for text in said.head]
    if said.bytes_left_out:
        found.append(line(f"... {said.bytes_left_out:,} bytes left out ...", "holter"))
        found.append({"event": "drop", **about, "lines": said.lines_left_out, "bytes": said.bytes_left_out})
    return found + [line(text) for text in said.tail]


def _started(ping: Ping, run_id: str, known: _Known) -> list[Json]:
    return [] if known.run is not None else [_begun(ping, run_id), *_lines(ping, run_id)]


def _ended(ping: Ping, run_id: str, known: _Known) -> list[Json]:
    if known.ended:
        return []
    end: Json = {"event": "end", "run": run_id, "at": ping.at}
    end["state"] = "COMPLETED" if ping.action == SUCCESS else "FAILED"
    if ping.exit_code is not None:
        end["exit_code"] = ping.exit_code
    elif ping.action == FAIL:
        end["reason"] = "its client pinged /fail"
    # A whole run is one that was never seen running: it has no duration, not one of 0 s.
    begun = [] if known.run is not None else [_begun(ping, run_id, pending=True)]
    return [*begun, *_lines(ping, run_id), end]


def _logged(ping: Ping, run_id: str, known: _Known) -> list[Json]:
    """Lines of a run that is named wait for its beginning; where there is none to have them, they are one that does not
    count."""
    lines = _lines(ping, run_id) or [_empty(ping, run_id)]
    if known.run is not None or ping.rid is not None:
        return lines
    why = "its client pinged /log before any run"
    end = {"event": "end", "run": run_id, "at": ping.at, "state": "SKIPPED", "reason": why}
    return [_begun(ping, run_id, pending=True), *lines, end]


def _empty(ping: Ping, run_id: str) -> Json:
    head = {"event": "log", "run": run_id, "at": ping.at}
    return {**head, "level": "INFO", "stream": "holter", "text": "/log, without a body"}


def _cancelled(ping: Ping, run_id: str, known: _Known) -> list[Json]:
    if known.run is None or known.run.ended:
        return []
    why = f"{OPEN_AT_MOST} later runs were started, and nobody said how this one ended"
    return [
        {
            "event": "judge",
            "run": run_id,
            "at": ping.at,
            "state": "CANCELLED",
            "by": "mark",
            "reason": why,
        }
    ]


_TELL = {START: _started, SUCCESS: _ended, FAIL: _ended, LOG: _logged}
