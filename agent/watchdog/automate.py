"""Automations: a rule may run a command, or start its job again. Opt-in, bounded, at most once for each fact.

A fact that calls for one becomes a document, by a stable key; a later pass takes it. First the job's bound is charged
by compare-and-set, then the document is marked as started, then it acts: killed in between, the watchdog has done too
little, never anything twice, and the bound survives every restart. The pause between two grows with each.

What is started is on its own: a session of its own, its record says how it went, and nothing waits for it. Only a
watchdog on the host of the run acts, and only on what is less than an hour old. A command of ours that fails calls for
nothing; a rerun that fails does, within the bound.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from json import dumps
from typing import TYPE_CHECKING
from urllib.parse import quote
from zlib import crc32

from attrs import asdict, define, field
from loguru import logger

from ...backends.clock import SYSTEM, Clock
from ...backends.errors import HolterError
from .. import identity
from ..rerun import ALLOWED, command_of, environment, holter
from ..setting_types import Bound
from .bound import next_at, recent
from .incidents import Board, Incident, open_incidents
from .message import Facts, compose
from .notify import history
from .readable import last_run, run_of
from .rules import asks, due, misses_of
from .steps import Half, Step

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...backends.records import Document, Json, Run, Transition
    from ..setting_types import Rule, Settings

KIND, PACE, CURSOR = "automation", "automation_pace", "cursor"  # kinds of documents
AUTOMATION = "automation"  # event of the incident that says that a bound is reached, and tag of our commands
MAX_AGE = 3600.0  # seconds: what happened earlier calls for nothing
TIMEOUT = 300.0  # seconds that a command may take; its whole group is killed then
KEEP = 7 * 86400.0  # seconds that a document stays
_BATCH, _BATCHES = 1000, 20  # transitions per read, and reads per pass


def rules_of(settings: Settings) -> list[Rule]:
    """The rules that do something."""
    return [rule for rule in settings.alerts if rule.run is not None or rule.rerun]


@define
class Automations:
    """What one watchdog does of it; `started` are processes that it has to reap."""

    clock: Clock
    host: str = field(factory=identity.host)
    started: list[subprocess.Popen[bytes]] = field(factory=list)

    def act(self, store: Backend, settings: Settings) -> int:
        """One pass: note what is called for, start what is due; how many were started. Raises StorageError: then
        nothing is lost, and the pass is to be repeated."""
        self.started = [process for process in self.started if process.poll() is None]
        rules, now = rules_of(settings), self.clock.wall()
        if rules:
            self._from_transitions(store, rules, now)
            self._from_incidents(store, rules, now)
        done = sum(self._take(store, settings, key, held, now) for key, held in _in_order(store))
        _tell(store, now)
        return done

    def _from_transitions(self, store: Backend, rules: Sequence[Rule], now: float) -> None:
        place = f"automations~{quote(self.host, safe='')}"
        for _ in range(_BATCHES):
            held = store.get(CURSOR, place)
            rows = store.transitions(held.value["seq"] if held else 0, _BATCH)
            for row in rows:
                if row.at > now - MAX_AGE:
                    self._called_for(store, rules, row, now)
            if rows:  # losing this race is fine: the other watchdog put the same documents there
                store.put(CURSOR, place, {"seq": rows[-1].seq}, held.version if held else 0)
            if len(rows) < _BATCH:
                return

    def _called_for(self, store: Backend, rules: Sequence[Rule], row: Transition, now: float) -> None:
        run = run_of(store, row.run_id)
        if run is None or run.host != self.host or _is_ours(run):
            return
        for item in due(row, run, history(store, rules, run), rules):
            alert = compose(run, Facts(item.event, item.dedupe_key, row.at, row.reason))
            _note(store, item.rule, alert, now)

    def _from_incidents(self, store: Backend, rules: Sequence[Rule], now: float) -> None:
        lasting = [each for each in open_incidents(store) if each.event != AUTOMATION]
        for each in lasting:
            newest = each.details.get("last_missed", each.since)
            if newest <= now - MAX_AGE or each.host not in (None, self.host):
                continue
            last = last_run(store, each.project, each.job, roots=True) if each.job else None
            if last is not None and last.host != self.host:
                continue
            misses = misses_of(each, lasting)
            facts = Facts(each.event, each.key, each.since, each.reason, job=each.job, project=each.project)
            for rule in rules:
                if asks(rule, each, last.tags if last else (), misses):
                    _note(store, rule, {**compose(last, facts), "host": self.host}, now)

    def _take(self, store: Backend, settings: Settings, key: str, held: Document, now: float) -> int:
        """Start one, refuse it, or leave it for later; 1 where it was started here."""
        doc = held.value
        if now - doc["at"] > KEEP:
            store.delete(KIND, key, held.version)
            return 0
        if doc["state"] != "waiting" or doc["host"] != self.host:
            return 0
        if now - doc["at"] > MAX_AGE:
            return _end(store, key, held, "expired")
        run = run_of(store, doc["run_id"])
        if doc["run"] is None and _overtaken(store, run):
            return _end(store, key, held, "overtaken")
        answer = _charge(store, doc, now)
        if answer is not True:
            return _end(store, key, held, "refused") if answer is None else 0
        claimed = {**doc, "state": "started", "started_at": now, "by": f"{self.host}:{os.getpid()}"}
        version = store.put(KIND, key, claimed, held.version)
        if version is None:
            return 0  # somebody was faster; the bound is charged once too often, which is the safe side
        try:
            self._start(store, settings, claimed, run)
        except (HolterError, OSError, ValueError) as error:
            logger.warning("automation for {}: {}", doc["alert"]["dedupe_key"], error)
            store.put(KIND, key, {**claimed, "state": "failed", "reason": str(error)}, version)
            return 0
        logger.warning(
            "automation for {}: {}", doc["alert"]["dedupe_key"], "rerun" if doc["run"] is None else "command"
        )
        return 1

    def _start(self, store: Backend, settings: Settings, doc: Json, run: Run | None) -> None:
        alert = doc["alert"]
        cause = {"by": "watchdog", "alert": alert["dedupe_key"], "run_id": doc["run_id"]}
        if doc["run"] is not None:
            limits = ("--tag", AUTOMATION, "--timeout", f"{TIMEOUT:g}s")
            name = f"automation {alert['job'] or alert['event']}"
            argv, folder = (
                holter("run", "--name", name, *limits, "--", *shlex.split(doc["run"])),
                settings.home,
            )
        elif run is None:
            raise HolterError("there is no run to start again", hint="`holter run` the job once on this host")
        else:
            argv, folder = command_of(store, run, settings.home)
            cause["rerun_of"] = run.id
        allowed = settings.rerun.env if settings.rerun.env is not None else ALLOWED
        environ = environment(os.environ, allowed, cause)
        environ |= {"HOLTER_HOME": settings.home, "HOLTER_PROJECT": alert["project"]}
        with tempfile.TemporaryFile() as stdin:  # no pipe: a command that never reads blocks nobody
            stdin.write(dumps(alert).encode() if doc["run"] is not None else b"")
            stdin.seek(0)
            quiet = subprocess.DEVNULL
            self.started.append(
                subprocess.Popen(
                    argv,
                    stdin=stdin,
                    stdout=quiet,
                    stderr=quiet,
                    cwd=folder,
                    env=environ,
                    start_new_session=True,
                )
            )


class Automator(Half):
    """The half that acts, with a store handle of its own."""

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM) -> None:
        super().__init__(settings, clock=clock)
        self._automations = Automations(clock)
        self.steps = [Step("automations", self._act)]

    def _act(self) -> None:
        self._automations.act(self._store(), self.settings)


def _note(store: Backend, rule: Rule, alert: Json, now: float) -> None:
    """Write down that a fact calls for an automation; once, however often it is seen."""
    what = "rerun" if rule.run is None else f"run-{crc32(rule.run.encode()):08x}"
    key = quote(f"{alert['dedupe_key']}~{what}".replace(":", "~"), safe="")
    doc = {
        "state": "waiting",
        "at": now,
        "run": rule.run,
        "run_id": alert["run_id"],
        "host": alert["host"],
        "max": asdict(rule.max),
        "back_off": rule.back_off,
        "alert": {name: value for name, value in alert.items() if name not in ("log_tail", "body")},
    }
    store.put(KIND, key, doc, 0)


def _in_order(store: Backend) -> list[tuple[str, Document]]:
    return sorted(store.list(KIND), key=lambda item: (item[1].value["at"], item[0]))


def _end(store: Backend, key: str, held: Document, state: str) -> int:
    store.put(KIND, key, {**held.value, "state": state}, held.version)
    return 0


def _charge(store: Backend, doc: Json, now: float) -> bool | None:
    """Take one of what the job's bound allows: True; None where it is reached; False: not yet."""
    alert, bound = doc["alert"], Bound(**doc["max"])
    name = quote(f"{alert['project']}/{alert['job'] or '@' + str(doc['host'])}", safe="")
    held = store.get(PACE, name)
    known = (
        held.value
        if held
        else {"project": alert["project"], "job": alert["job"], "times": [], "refused_at": None}
    )
    allowed = next_at(known["times"], bound, doc["back_off"], now)
    if allowed is not None and allowed > now:
        return False
    changed = {**known, "max": doc["max"]}
    if allowed is None:
        changed["refused_at"] = known["refused_at"] or now
    else:
        changed["times"] = [*recent(known["times"], bound, now), now]
    taken = store.put(PACE, name, changed, held.version if held else 0) is not None
    return None if taken and allowed is None else taken


def _tell(store: Backend, now: float) -> None:
    """The incidents of the bounds that are reached: one for each job, for as long as there is no room."""
    paces = store.list(PACE)
    board = Board(store) if paces else None
    for name, held in paces:
        doc, bound = held.value, Bound(**held.value["max"])
        full = len(recent(doc["times"], bound, now)) >= bound.count
        scope = f"automation:{doc['project']}/{doc['job']}"
        wanted = []
        if doc["refused_at"] is not None and full:
            times = f"{bound.count} times in {bound.seconds:g} s"
            reason = f"automations have acted {times}, which is the most: no more until there is room"
            key = f"{scope}:{int(doc['refused_at'])}"
            wanted = [Incident(AUTOMATION, key, reason, doc["refused_at"], doc["project"], doc["job"])]
        if board is not None:
            board.settle(scope, wanted, now)
        if not recent(doc["times"], bound, now):
            store.delete(PACE, name, held.version)
        elif doc["refused_at"] is not None and not full:
            store.put(PACE, name, {**doc, "refused_at": None}, held.version)


def _is_ours(run: Run) -> bool:
    """Whether a command of an automation, or something that it started: it must not call for another."""
    return run.cause is not None and "alert" in run.cause and "rerun_of" not in run.cause


def _overtaken(store: Backend, run: Run | None) -> bool:
    """Whether the job ran again since, by whatever cause."""
    last = last_run(store, run.project, run.name, roots=True) if run else None
    return run is not None and last is not None and last.id != run.id and last.created_at > run.created_at
