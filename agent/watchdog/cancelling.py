"""`holter cancel`: end a run's process from outside, whoever can reach it.

On the run's own host the verdict CANCELLED is written first, for every run that is open in the process, and then the
process and its family are taken down. Where this user cannot reach the process (another host, another user, another
container) a request is left in the store, and the watchdog that can carries it out. No run is ever "cancelling": it is
open until it is over, and a request that nobody carried out before its deadline is answered with the reason.

Not guaranteed: that a request is carried out in its last seconds where the clocks of two hosts differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from attrs import asdict, define, field, frozen

from ...backends.base import Backend, Registry
from ...backends.clock import SYSTEM, Clock
from ...backends.errors import StorageError
from ...backends.queries import RunQuery
from ...backends.records import Json, Run
from ...backends.states import OPEN
from .. import identity
from .headers import Header
from .judgements import Judge
from .takedown import TERM_GRACE, TakeDown, take_down

KIND = "cancel"
DEADLINE = 300.0  # seconds in which a request must be carried out
KEPT = 86400.0  # seconds for which an answer can be read
IDENTITY = ("host", "boot", "namespace", "pid", "start_ticks")


@frozen
class Request:
    """Who (`by`) wants `run` cancelled and why (`reason`), since `at` (Unix seconds); `answer` is "" while nobody gave
    one, and then what became of it."""

    run: str
    by: str
    reason: str
    at: float
    answer: str = ""


def header_of(store: Backend, run: Run) -> Header | None:
    """What the run's process said of itself; None where the store does not know it."""
    found = store.processes(journals=[run.journal]) if run.journal else []
    return found[0].header if found else None


def family_of(store: Backend, header: Header) -> list[Run]:
    """All that is open in the process, the newest first: it ends with it."""
    who = [header.get(key) for key in IDENTITY]
    journals = {
        each.journal for each in store.processes() if [each.header.get(key) for key in IDENTITY] == who
    }
    return [run for run in store.runs(RunQuery(states=OPEN, limit=None)) if run.journal in journals]


def begin(
    store: Backend,
    open_judge: Callable[[], Judge],
    run: Run,
    said: str,
    *,
    clock: Clock = SYSTEM,
    grace: float = TERM_GRACE,
) -> TakeDown | None:
    """Write that the run is CANCELLED and ask its process to end; None, and nothing written, where that cannot be done
    from here. `said` is who cancelled it and why."""
    header = header_of(store, run)
    if header is None or identity.foreign(header):
        return None
    taken = take_down(header, clock, grace)
    if taken is None:
        return None
    judge = open_judge()
    for each in family_of(store, header):
        why = said if each.id == run.id or each.id.startswith(f"{run.id}.") else f"with {run.id}, {said}"
        judge.end(each.id, "CANCELLED", why, by="cancel")
    with suppress(StorageError):  # it goes out with the judge's next word, or its journal is adopted
        judge.ship()
    taken.begin()
    return taken


def words(by: str, reason: str) -> str:
    return f"cancelled by {by}" + (f": {reason}" if reason else "")


def ask(store: Registry, run: Run, by: str, reason: str, now: float) -> None:
    """Leave a request, in place of an older one."""
    _put(store, Request(run.id, by, reason, now))


def asked(store: Registry, run_id: str) -> Request | None:
    held = store.get(KIND, run_id)
    return _sound(held.value) if held else None


def _put(store: Registry, request: Request) -> None:
    while True:
        held = store.get(KIND, request.run)
        if store.put(KIND, request.run, asdict(request), held.version if held else 0) is not None:
            return


@define
class Canceller:
    """The watchdog's part: carries out the requests that it can reach, and answers those whose time is over."""

    clock: Clock
    _going: dict[str, TakeDown] = field(factory=dict)

    def look(self, store: Backend, judge: Callable[[], Judge]) -> list[str]:
        """One pass over the requests; what was done, a line each. `judge` opens one where it is needed."""
        for run_id, taken in list(self._going.items()):
            if taken.look():
                del self._going[run_id]
        return [line for key, held in store.list(KIND) for line in self._one(store, judge, key, held.value)]

    def _one(self, store: Backend, judge: Callable[[], Judge], key: str, value: Json) -> Iterable[str]:
        request = _sound(value)
        now = self.clock.wall()
        if request is None or (request.answer and now - request.at > KEPT):
            held = store.get(KIND, key)
            if held is not None:
                store.delete(KIND, key, held.version)
        elif not request.answer and (answer := self._answer(store, judge, request, now)):
            _put(store, Request(**{**asdict(request), "answer": answer}))
            yield f"cancel {request.run}: {answer}"

    def _answer(self, store: Backend, judge: Callable[[], Judge], request: Request, now: float) -> str:
        run = store.run(request.run)
        if run is None:
            return "there is no such run any more"
        if run.ended:
            return f"it ended as {run.state}"
        if now - request.at > DEADLINE:
            return f"nobody could end it within {DEADLINE:g} s: {_why_not(store, run)}"
        taken = begin(store, judge, run, words(request.by, request.reason), clock=self.clock)
        if taken is None:
            return ""
        self._going[run.id] = taken
        return f"carried out by the watchdog of {identity.host()}"

    def close(self) -> None:
        """See those that were asked to end to their end; takes at most two graces."""
        while self._going:
            self._going = {run: taken for run, taken in self._going.items() if not taken.look()}
            if self._going:
                self.clock.sleep(0.05)


def _why_not(store: Backend, run: Run) -> str:
    header = header_of(store, run)
    if header is None:
        return "the store does not know its process"
    if identity.foreign(header):
        return f"no watchdog of {header.get('host')} took it up"
    if identity.alive(header) is False:
        return "its process is gone, and its journal awaits adoption"
    return f"pid {header.get('pid')} is another user's or another container's"


def _sound(value: Json) -> Request | None:
    """Over HTTP anybody with the right to watch may write one."""
    texts = all(isinstance(value.get(key, ""), str) for key in ("run", "by", "reason", "answer"))
    if not texts or not isinstance(value.get("at"), int | float) or "run" not in value or "by" not in value:
        return None
    return Request(
        value["run"], value["by"], value.get("reason", ""), float(value["at"]), value.get("answer", "")
    )
