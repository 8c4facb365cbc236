"""What must hold, whatever happens: the world's truth against what the store and the channel say."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from holter.agent import jobs, ledgers
from holter.backends.expected import EARLY
from holter.backends.ledger import ANSWERED
from holter.backends.queries import RunQuery
from holter.backends.records import Transition
from holter.backends.schedule import Schedule
from holter.backends.states import ENDINGS

from .machines import BEAT, SCHEDULED, TURNS, Process, Truth

if TYPE_CHECKING:
    from holter.agent.watchdog.daemon import Step

    from .world import Guard, World

SILENT = 3 * BEAT  # seconds of silence that make a process unresponsive
LOST = 60.0  # seconds of silence that make one of another host lost
SLACK = BEAT + 4.5  # seconds by which a watchdog may take silence for longer than the process was hung
TROUBLE = ("FAILED", "CRASHED", "TIMED_OUT")


@dataclass
class Chain:
    """What the transitions of one run said so far."""

    state: str | None = None
    conditions: set[str] = field(default_factory=set)
    ended_by: int = 0  # seq of the transition


class Oracle:
    """Raises AssertionError with the rule that was broken."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chains: dict[str, Chain] = {}
        self.seen = 0

    # --- at every moment ---

    def look(self) -> None:
        """Every new transition is the next link of its run's chain, and true."""
        rows = self.world.inner.transitions(self.seen, 10_000)
        for row in rows:
            self.seen = row.seq
            truth = self.world.runs.get(row.run_id)
            assert truth is not None, f"a run that never was: {row}"
            self._link(row, truth, self.chains.setdefault(row.run_id, Chain()))

    def _link(self, row: Transition, truth: Truth, chain: Chain) -> None:
        assert row.from_state == chain.state, f"a link is missing or doubled: {row}"
        if row.condition is None:
            assert chain.state not in ENDINGS, f"an ending changed: {row}"
            chain.state = row.to_state
            if row.to_state in ENDINGS:
                chain.ended_by = row.seq
                self._ended(row, truth)
            return
        sign, name = row.condition[0], row.condition[1:]
        assert (name in chain.conditions) == (sign == "-"), f"a condition twice: {row}"
        chain.conditions ^= {name}

    def _ended(self, row: Transition, truth: Truth) -> None:
        if truth.ending is not None:
            assert row.to_state == truth.ending, f"it ended {truth.ending}: {row}"
            return
        process = truth.process
        assert not process.alive, f"its process lives: {row}"
        assert row.to_state == "CRASHED", f"its process died: {row}"
        if process.fell_with_host:
            assert row.reason == "host restarted", f"its host was restarted: {row}"
        elif process.boot == process.machine.boot_id:
            assert row.reason != "host restarted", f"its host was not restarted: {row}"

    def judged(self, guard: Guard, event: dict[str, Any]) -> None:
        """A watchdog says something of a run: it must be so."""
        truth = self.world.runs[event["run"]]
        name, process = event.get("condition"), truth.process
        assert name is not None, f"no watchdog here ends runs: {event}"
        self.world.note(f"  {self.world.who(guard)} judges {event['run'][-4:]} {name} {event['on']}")
        if not event["on"]:
            return
        if name == "unresponsive":
            assert process.machine is guard.machine, f"only its own host can tell: {event}"
            assert self._silent(process) >= SILENT - SLACK, f"it beats: {event}"
        elif name == "lost":
            before = [at for at in process.heard if at <= guard_time(guard)]
            silent = guard_time(guard) - max(before, default=0.0)
            assert silent >= LOST - 1, f"heard {silent:.1f} s ago: {event}"
        elif name == "overdue" and not self.world.reset:
            assert self.world.now - truth.began >= truth.check["max_duration"], f"it is in time: {event}"
        elif name == "stalled" and not self.world.reset:
            unheard = truth.active >= max(process.heard, default=0.0)  # what it did has not come this far
            moved = self.world.now - truth.active < truth.check["stall_after"]
            assert unheard or not moved, f"it moves: {event}"

    def _silent(self, process: Process) -> float:
        """Seconds for which the process could have run and did not."""
        if not process.alive:
            return float("inf")
        if process.hung_at is None:
            return 0.0
        return process.machine.clock.monotonic() - process.hung_at

    def works(self, steps: Iterable[Step]) -> None:
        """No step of a watchdog fails while everything round it works."""
        failing = [step.name for step in steps if step.failures]
        assert not failing, f"failing: {failing}"

    def found_all(self, guard: Guard, began: float) -> None:
        """After a pass that nothing disturbed, every death before it is known."""
        for process in guard.machine.processes:
            if process.proven_dead and process.died_at is not None and process.died_at < began:
                for truth in process.runs:
                    run = self.world.inner.run(truth.id)
                    assert run is not None and run.ended, f"{truth.id} died at {process.died_at}, not found"

    def told(self, alert: dict[str, Any]) -> None:
        """An alert is about what is so, and said once, but for deliveries of which nobody knows whether they were."""
        for each in members(alert):
            key = each["dedupe_key"]
            said = self.world.said[key]
            assert said <= min(self.world.doubtful[key], 1), f"said {said + 1} times: {key}"
            truth = self.world.runs.get(each["run_id"])
            if truth is not None and each["event"] == "crashed":
                assert truth.ending is None and not truth.process.alive, f"it did not crash: {key}"
            if truth is not None and each["event"] == "failed":
                assert truth.ending == "FAILED", f"it did not fail: {key}"

    # --- when all is quiet again ---

    def settled(self) -> None:
        """All that was kept from happening has happened."""
        self.look()
        for truth in self.world.runs.values():
            self._known(truth)
        self._alerted()
        self._tidy()
        self._ledger()

    def _known(self, truth: Truth) -> None:
        run, process = self.world.inner.run(truth.id), truth.process
        assert run is not None, f"{truth.id} was never recorded"
        if truth.ending is not None:
            assert run.state == truth.ending, f"{truth.id} ended {truth.ending}, not {run.state}"
        elif process.proven_dead:
            assert run.state == "CRASHED", f"{truth.id} crashed, but is {run.state}"
        else:
            assert run.state == "RUNNING", f"{truth.id} is {run.state}"
            must, may = self._conditions(truth)
            found = set(run.conditions)
            assert not process.alive or must <= found <= may, f"{truth.id} has {found}, not {must}"

    def _conditions(self, truth: Truth) -> tuple[set[str], set[str]]:
        """Those that the run must have by now, and all that it may have."""
        must, since = set(), self.world.now - truth.began
        if truth.process.hung_at is not None and truth.root:
            must.add("unresponsive")
        longest, patience = truth.check.get("max_duration"), truth.check.get("stall_after")
        if longest is not None and since > longest + 60 and not self.world.reset:
            must.add("overdue")
        may = set(must)
        if truth.process.hung_at is not None:
            may.add("lost")
        if longest is not None and (since > longest or self.world.reset):
            may.add("overdue")
        if patience is not None and (self.world.now - truth.active > patience or self.world.reset):
            may.add("stalled")
        return must, may

    def _alerted(self) -> None:
        for run in self.world.inner.runs(RunQuery(states=TROUBLE, roots=True, limit=None)):
            key = f"{run.id}:{run.state.lower()}"
            old = self.world.reset and self.chains[run.id].ended_by <= (self.world.hindsight or 0)
            assert self.world.said[key] or old, f"nobody was told: {key}"

    def _ledger(self) -> None:
        """Each expected time has exactly one outcome; it was answered if a run came, by what the store knows."""
        key = jobs.key_of("default", SCHEDULED)
        head = ledgers.head(self.world.inner, key)
        query = RunQuery(job=SCHEDULED, roots=True, limit=None)
        starts = sorted(run.created_at for run in self.world.inner.runs(query))
        if head is None:
            assert not starts, "a job with a schedule has no ledger"
            return
        schedule = Schedule.parse(TURNS["schedule"])
        turns = schedule.expected_between(head.since, head.until)
        entries = ledgers.entries(self.world.inner, key, head.since + 0.001, head.until + 0.001)
        found = [each.expected_at for each in entries]
        assert found == turns, f"outcomes for {found}, expected at {turns}"
        if self.world.reset:
            return
        clock = self.world.machines[0].clock
        assert clock.wall() - head.until < 2 * 60 + 30, f"the ledger ends at {head.until}"
        for each, after in zip(entries, [*turns[1:], inf]):
            came = [at for at in starts if each.expected_at - EARLY <= at < after - EARLY]
            assert bool(came) == (each.outcome in ANSWERED), f"{each}, and starts at {came}"

    def _tidy(self) -> None:
        """Of journals, those of the living are left."""
        for machine in self.world.machines:
            kept = {
                each for process in machine.processes if not process.proven_dead for each in process.journals
            }
            names = {name.removesuffix(".jsonl") for name in os.listdir(f"{machine.home}/journals")}
            left = names & {each for process in machine.processes for each in process.journals}
            assert left <= kept, f"journals of the dead are left on {machine.name}: {left - kept}"


def guard_time(guard: Guard) -> float:
    """The world's time at which its pass began."""
    return guard.pass_began + guard.machine.clock.slept


def members(alert: dict[str, Any]) -> list[dict[str, Any]]:
    """What an alert tells of: itself, or what a digest gathers."""
    return [alert, *alert.get("members", [])]
