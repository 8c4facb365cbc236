"""The step that judges expectations: incidents for what should have been and is not, and the ledger of expected times.

Each job is known from its first run, from the settings, or from `holter checks`. It is judged when something is new of
it (a transition of one of its runs, another expectation), and at the moment at which its verdict becomes another one:
in between it costs a number in memory. What is judged is read from the store, every time; what is kept here is only
when to look.

Not guaranteed: that what other hosts have not sent yet is known. After a start, a gap or a jump of the clock nobody is
said to be late before one full grace has passed.
"""

from __future__ import annotations

from attrs import define
from loguru import logger

from ...backends.base import Backend
from ...backends.clock import Clock, root_of
from ...backends.queries import RunQuery
from ...backends.verdicts import UNJUDGED, Problem, Verdict, judge
from .. import identity, jobs, ledgers
from ..jobs import Registered
from ..settings import Settings
from . import gaps, pulse
from .incidents import Board, Incident
from .readable import is_away, run_of

EVENTS = ("late", "missed", "unfinished", "short", "frequent", "not_fresh", "zone_mismatch")
PATIENT = ("late", "missed", "unfinished", "not_fresh")  # never said before a grace has passed
CURSOR = ("expecting", "cursor")  # document: up to which transition everything was judged
PAGE = 500
PAGES = 20  # of transitions, in one pass
BUSY = 0.2  # seconds of one pass, after which the next one goes on
LOOK = 2.0  # seconds between looks at what `holter checks` wrote
JUMP = 2.0  # seconds by which wall and monotonic clock may part between two passes
AGAIN = 60.0  # seconds until a job that could not be judged is tried again


@define
class _Known:
    """One job. When to look next; a run of which something is `touched` was created then; from when on to `redo` its
    ledger (Unix seconds); and what was wrong with its expectation."""

    project: str
    name: str
    due_at: float = 0.0
    touched: float | None = None
    redo: float | None = None
    fault: str = ""


class Expecting:
    """`look` is the step. It keeps when each job is due, and nothing that the store does not know. `began` is whether a
    run, or an attempt, is news since somebody set it to false."""

    def __init__(self, clock: Clock, *, once: bool = False) -> None:
        self.began = False
        self._clock, self._once = clock, once
        self._known: dict[str, _Known] = {}
        self._said: dict[str, Registered] = {}
        self._checks: object = None
        self._cursor = -1  # transitions that are in `_known`
        self._saved = -1
        self._looked = 0.0
        self._drift: float | None = None
        self._held_until_grace_after = 0.0
        self._begun: float | None = None

    def look(self, store: Backend, settings: Settings) -> int:
        """Judge all that is due; how many incidents changed. Bounded: what does not fit is done in the next pass."""
        now = self._clock.wall()
        if self._begun is None:
            self._start(store, now)
        self._mind_jumps(now)
        self._take_in(store, settings, now)
        self._follow(store)
        due = [key for key, each in self._known.items() if each.due_at <= now]
        changed, left = self._judge_all(store, settings, due, now)
        if not left and self._saved < self._cursor:
            self._save(store)
        return changed

    def _start(self, store: Backend, now: float) -> None:
        """Every job that the store knows, and how far its news were judged. Gaps hold back what would be said."""
        first = pulse.mine(store) is None
        ended = gaps.of_host(store, identity.host())
        if not self._once:
            gone = now if first or gaps.ended_since(store, now, 0.0) else ended[-1].end if ended else 0.0
            self._held_until_grace_after = gone
        held = store.get(*CURSOR)
        self._cursor = self._saved = int(held.value["seq"]) if held else -1
        self._know_all(store)
        board = Board(store)
        for scope in board.scopes(_judging()):  # also of a job of which no run is left
            for each in board.open(scope).values():
                self._know(each.project, str(each.job))
        self._begun = ledgers.begun(store, now)

    def _mind_jumps(self, now: float) -> None:
        """A sleep or a step of the clock: everybody gets one grace, and is looked at again."""
        drift = now - self._clock.monotonic()
        if self._drift is not None and abs(drift - self._drift) > JUMP:
            self._held_until_grace_after = now
            self._looked = 0.0
            for each in self._known.values():
                each.due_at = 0.0
        self._drift = drift

    def _know_all(self, store: Backend) -> None:
        for each in store.newest(RunQuery(roots=True), 1):
            self._know(each.project, each.name)

    def _know(self, project: str, name: str) -> _Known:
        return self._known.setdefault(jobs.key_of(project, name), _Known(project, name))

    def _take_in(self, store: Backend, settings: Settings, now: float) -> None:
        """What is expected now: a job of which that changed is due."""
        if self._checks is not settings.checks:
            self._checks = settings.checks
            for name in settings.checks:
                if not any(each.name == name for each in self._known.values()):
                    self._know(settings.project, name)
            for each in self._known.values():
                each.due_at = 0.0
        if 0.0 <= now - self._looked < LOOK:
            return
        said, self._looked = jobs.registered(store), now
        for key in said.keys() | self._said.keys():
            if said.get(key) != self._said.get(key):
                about = said.get(key) or self._said[key]
                self._know(about.project, about.job).due_at = 0.0
        self._said = said

    def _follow(self, store: Backend) -> None:
        """The jobs of whose runs something is new. A store that is seen for the first time is known as a whole."""
        for _ in range(PAGES):
            rows = store.transitions(max(self._cursor, 0), PAGE)
            self.began |= any(row.to_state == "RUNNING" and row.condition is None for row in rows)
            for row in rows if self._saved >= 0 else ():
                run = run_of(store, row.run_id) if root_of(row.run_id) == row.run_id else None
                if run is not None:
                    known = self._know(run.project, run.name)
                    known.due_at = 0.0
                    known.touched = min(run.created_at, known.touched or run.created_at)
            self._cursor = max(0, self._cursor, *(row.seq for row in rows))
            if len(rows) < PAGE:
                if self._saved < 0:
                    self._know_all(store)  # also who came while we read
                    self._save(store)
                return

    def _save(self, store: Backend) -> None:
        held = store.get(*CURSOR)
        if held is None or held.value["seq"] < self._cursor:
            store.put(*CURSOR, {"seq": self._cursor}, held.version if held else 0)
        self._saved = self._cursor

    def _judge_all(self, store: Backend, settings: Settings, due: list[str], now: float) -> tuple[int, bool]:
        if not due:
            return 0, False
        board = Board(store)
        before = [(float("-inf"), self._begun or now), *gaps.unwatched(store, now)]
        began, changed = self._clock.monotonic(), 0
        for count, key in enumerate(due):
            if count and self._clock.monotonic() - began > BUSY:
                return changed, True
            known, why = self._known[key], ""
            try:
                changed += self._judge(store, board, settings, known, tuple(before), now)
            except Exception as error:
                if is_away(error):
                    raise  # the whole step is tried again
                why = str(error) or type(error).__name__
                if known.fault != why:
                    logger.error("what is expected of {} cannot be judged: {}", known.name, why)
                known.due_at = now + AGAIN
            changed += self._note_fault(board, known, why, now)
        return changed, any(self._known[key].due_at <= now for key in due)

    def _note_fault(self, board: Board, known: _Known, why: str, now: float) -> int:
        """That a job cannot be judged here is an incident of its own: what was found before stays as it is."""
        known.fault, scope = why, f"{_judging()}{known.project}/{known.name}"
        if why:
            since = board.since(scope, UNJUDGED, now)
            key = f"{scope}:{UNJUDGED}:{int(since)}"
            wanted = [Incident(UNJUDGED, key, why, since, known.project, known.name, identity.host())]
            return board.settle(scope, wanted, now)
        if not board.open(scope):
            return 0
        changed = board.settle(scope, [], now)
        if not changed:  # somebody else wrote it at the same time
            known.due_at = min(known.due_at, now + AGAIN)
        return changed

    def _judge(
        self,
        store: Backend,
        board: Board,
        settings: Settings,
        known: _Known,
        unwatched: tuple[tuple[float, float], ...],
        now: float,
    ) -> int:
        """Write the job's incidents and a stretch of its ledger, and note when it is due again."""
        key, configured = jobs.key_of(known.project, known.name), settings.checks.get(known.name)
        said = self._said.get(key)
        newest = store.runs(jobs.newest_of(known.project, known.name))
        expected = jobs.expectation(newest[0] if newest else None, configured, said)
        job = ledgers.Job(known.project, known.name, expected, said.spans() if said else ())
        written = not newest or (said is not None and said.since > 0.0)
        since = jobs.declared_since(settings, known.name, said, now) if written else None
        top = ledgers.opened(store, job, since, now)
        scope = f"job:{known.project}/{known.name}"
        if not expected.expects:
            known.due_at, known.touched = float("inf"), None
            return board.settle(scope, [], now) if board.open(scope) else 0
        record = jobs.record_of(
            store, known.project, known.name, expected, said, top.since if top else since or 0.0
        )
        verdict = judge(record, expected, now)
        wanted, held = self._wanted(
            verdict, board.open(scope), scope, record.project, record.name, expected.grace, now
        )
        changed = board.settle(scope, wanted, now)
        due = [at for at in (verdict.due_at, held) if at is not None]
        if top is None:
            known.touched = None
        else:
            due += self._write(store, job, top, known, unwatched, now)
        known.due_at = min(due, default=float("inf"))
        return changed

    def _write(
        self,
        store: Backend,
        job: ledgers.Job,
        top: ledgers.Head,
        known: _Known,
        unwatched: tuple[tuple[float, float], ...],
        now: float,
    ) -> list[float]:
        if known.touched is not None:
            start = ledgers.redo_from(store, job, top, known.touched, now)
            known.redo, known.touched = min(start, known.redo or start), None
        since = top.until if known.redo is None else known.redo
        known.redo, due = ledgers.write(store, job, unwatched, now, since)
        return [now] if known.redo is not None else [due] if due is not None else []

    def _wanted(
        self,
        verdict: Verdict,
        lasting: dict[str, Incident],
        scope: str,
        project: str,
        job: str,
        grace: float,
        now: float,
    ) -> tuple[list[Incident], float | None]:
        """The incidents that should be open, and when what is held back is to be looked at again."""
        speak = self._held_until_grace_after + grace
        wanted, held = [], None
        for each in verdict.problems:
            if each.event not in EVENTS:
                continue  # endings and conditions speak through transitions
            incident = _incident(each, scope, project, job)
            if each.event in PATIENT and incident.key not in lasting and now < speak:
                held = speak
            else:
                wanted.append(incident)
        return wanted, held


def _judging() -> str:
    """What the scopes begin with of jobs that cannot be judged on this host."""
    return f"judging:{identity.host()}:"


def _incident(problem: Problem, scope: str, project: str, job: str) -> Incident:
    key = f"{scope}:{problem.event}:{int(problem.since)}"
    return Incident(
        *(problem.event, key, problem.reason, problem.since, project, job),
        run_id=problem.run_id,
        details=dict(problem.details),
    )
