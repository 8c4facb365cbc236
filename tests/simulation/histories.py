"""Histories: bytes become what happens. The same bytes are the same history, and a shorter text is a simpler one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random

from .machines import Machine, Process
from .world import TICK, Guard, Trap, World

LENGTH = 160  # bytes of a history made from a seed
CHECKS = ({}, {}, {}, {"max_duration": 120.0}, {"stall_after": 90.0})


class Over(Exception):
    """The bytes are used up."""


def from_seed(seed: int) -> bytes:
    return Random(seed).randbytes(LENGTH)


def broken_rule(plan: bytes) -> str | None:
    """Play a history: the rule that it broke, None where all was well."""
    try:
        History(plan).play()
    except AssertionError as error:
        return str(error)
    return None


def shortened(plan: bytes, tries: int = 300) -> bytes:
    """A shorter history that breaks a rule too: whatever can be left out is."""
    size = len(plan) // 2
    while size and tries:
        at = 0
        while at < len(plan) and tries:
            tries -= 1
            shorter = plan[:at] + plan[at + size :]
            if broken_rule(shorter) is not None:
                plan = shorter
            else:
                at += size
        size //= 2
    return plan


class History:
    """Reads bytes and lets the world act on them."""

    def __init__(self, plan: bytes, say: Callable[[str], None] | None = None) -> None:
        self.plan, self._at = plan, 0
        self.steps = 0
        kind = "sqlite" if self._byte_or(0) % 20 == 19 else "memory"
        self.world = World(kind=kind, seed=hashlib.sha256(plan).hexdigest(), say=say)

    def play(self) -> World:
        """The whole history, and then the quiet time after which everything must be in order."""
        with self.world:
            for machine in self.world.machines:
                self.world.start_guard(machine)
            try:
                while True:
                    self._act()
                    self.steps += 1
            except Over:
                pass
            self._settle()
        return self.world

    def _byte_or(self, default: int) -> int:
        self._at += 1
        return self.plan[self._at - 1] if self._at <= len(self.plan) else default

    def _byte(self) -> int:
        if self._at >= len(self.plan):
            raise Over
        return self._byte_or(0)

    def _act(self) -> None:
        name, act = ACTIONS[self._byte() % len(ACTIONS)]
        act(self, name)

    def _machine(self) -> Machine:
        return self.world.machines[self._byte() % len(self.world.machines)]

    def _process(self, *, writing: bool = True) -> Process | None:
        found = [
            each
            for machine in self.world.machines
            for each in machine.living()
            if each.writes or (not writing and machine.up)
        ]
        return found[self._byte() % len(found)] if found else None

    def _say(self, text: str) -> None:
        self.world.note(text)

    # --- what happens ---

    def tick(self, name: str) -> None:
        choice = self._byte()
        for _ in range(1 + choice % 4):
            self.world.tick(watchdog_first=bool(choice & 16))

    def spawn(self, name: str) -> None:
        machine, choice = self._machine(), self._byte()
        contained = choice % 8 == 7
        pids = machine.free_pids(contained)
        if not machine.up or not pids:
            return
        process = Process(machine, pids[choice // 8 % len(pids)], contained=contained)
        root = process.start(f"job-{choice % 3}", None, CHECKS[choice % len(CHECKS)])
        if choice & 32:
            process.start("part", root, {})
        self._say(f"{self.world.who(process)} starts, pid {process.pid}{', contained' * contained}")

    def begin(self, name: str) -> None:
        process = self._process()
        if process is not None:
            process.start(f"job-{self._byte() % 3}", None, CHECKS[self._byte() % len(CHECKS)])
            self._say(f"{self.world.who(process)} begins a run")

    def say(self, name: str) -> None:
        process = self._process()
        if process is not None and process.open_runs:
            process.log(process.open_runs[self._byte() % len(process.open_runs)])

    def end(self, name: str) -> None:
        process = self._process()
        if process is not None and process.open_runs:
            choice = self._byte()
            run = process.open_runs[choice % len(process.open_runs)]
            process.end(run, "FAILED" if choice & 64 else "COMPLETED")
            self._say(f"{self.world.who(process)} ends {run.id[-4:]} {run.ending}")

    def leave(self, name: str) -> None:
        process = self._process()
        if process is not None:
            self._say(f"{self.world.who(process)} exits")
            process.leave("FAILED" if self._byte() & 64 else "COMPLETED")

    def kill(self, name: str) -> None:
        process = self._process(writing=False)
        if process is not None:
            choice = self._byte()
            process.die(torn=choice % 4 == 1, orphan=choice % 4 == 2)
            self._say(f"{self.world.who(process)} is killed{['', ', torn', ', orphan', ''][choice % 4]}")

    def hang(self, name: str) -> None:
        process = self._process()
        if process is not None:
            process.hang()
            self._say(f"{self.world.who(process)} hangs")

    def resume(self, name: str) -> None:
        hung = [each for machine in self.world.machines for each in machine.living() if each.hung]
        if hung:
            process = hung[self._byte() % len(hung)]
            process.resume()
            self._say(f"{self.world.who(process)} goes on")

    def replace(self, name: str) -> None:
        process = self._process()
        if process is not None and not process.contained:
            process.replace()
            self._say(f"{self.world.who(process)} replaces its program")

    def rotate(self, name: str) -> None:
        process = self._process()
        if process is not None:
            self._say(f"{self.world.who(process)} rotates its journal")
            process.ship()
            if process.writes:
                process.rotate()

    def store(self, name: str) -> None:
        self.world.store_up = not self.world.store_up
        self._say(f"the store is {'back' if self.world.store_up else 'away'}")

    def cut(self, name: str) -> None:
        machine = self._machine()
        machine.cut_off = not machine.cut_off
        self._say(f"{machine.name} is {'cut off' if machine.cut_off else 'connected'}")

    def channel(self, name: str) -> None:
        self.world.channel = ("works", "refuses", "loses answers")[self._byte() % 3]
        self._say(f"the channel {self.world.channel}")

    def guard(self, name: str) -> None:
        machine, choice = self._machine(), self._byte() % 4
        guard = self.world.guards[machine.name]
        if not machine.up:
            return
        self._say(
            f"the watchdog on {machine.name}: {'start' if guard is None else ('kill', 'stop', 'pause', 'tidy')[choice]}"
        )
        if guard is None:
            self.world.start_guard(machine)
        elif choice == 0:
            self.world.kill_guard(machine)
        elif choice == 1:
            self.world.stop_guard(machine)
        elif choice == 2:
            guard.paused = not guard.paused
        else:
            self.world.tidy(guard)

    def trap(self, name: str) -> None:
        machine, kind, after = self._machine(), self._byte() % 5, self._byte() % 48
        guard = self.world.guards[machine.name]
        if guard is None:
            return
        kinds = ("kill before", "kill after", "fail before", "fail after", "meanwhile")
        guard.trap = Trap(after, kinds[kind])
        if kinds[kind] == "meanwhile":
            guard.trap.act, guard.trap.at = self._meanwhile(guard)
            guard.trap.after %= 4 if guard.trap.at else 48

    def process_trap(self, name: str) -> None:
        process = self._process()
        if process is not None:
            process.trap = Trap(
                self._byte() % 3, ("kill before", "kill after", "fail after")[self._byte() % 3]
            )

    def _meanwhile(self, guard: Guard) -> tuple[Callable[[], None], tuple[str, ...]]:
        """What somebody else does, and at which call of this watchdog."""
        what, who = self._byte() % 6, self._byte()
        world = self.world
        others = [each for each in world.guards.values() if each is not None and each is not guard]

        def act() -> None:
            self._say(f"  meanwhile {('ends', 'dies', 'alerts', 'detects', 'a command', 'leaves')[what]}")
            living = [each for machine in world.machines for each in machine.living() if each.writes]
            process = living[who % len(living)] if living else None
            if what == 0 and process is not None and process.open_runs:
                process.end(process.open_runs[0], "COMPLETED")
                process.ship()
            elif what == 1 and process is not None:
                process.die()
            elif what == 5 and process is not None:
                process.leave("COMPLETED")
            elif what == 4:
                world.command(guard.machine)
            elif what in (2, 3):
                for each in others:
                    if each.alive and each.machine.up and not each.paused:
                        (world.alert if what == 2 else world.detect)(each)

        return act, (("put", "alert") if what == 2 else ())

    def command(self, name: str) -> None:
        machine = self._machine()
        if machine.up:
            self._say(f"a command on {machine.name}")
            self.world.command(machine)

    def jump(self, name: str) -> None:
        machine, choice = self._machine(), self._byte()
        machine.clock.shift += (-7200.0, -3600.0, -60.0, -6.0, 6.0, 60.0, 3600.0, 7200.0)[choice % 8]
        self.world.reset = True
        self._say(f"the clock of {machine.name} is now off by {machine.clock.shift:g}")

    def suspend(self, name: str) -> None:
        machine = self._machine()
        machine.up = not machine.up
        self._say(f"{machine.name} {'wakes up' if machine.up else 'sleeps'}")

    def freeze(self, name: str) -> None:
        machine, seconds = self._machine(), 10.0 * (1 + self._byte() % 12)
        self._say(f"{machine.name} stands still for {seconds:g} s")
        if machine.up:
            self.world.freeze(machine, seconds)

    def reboot(self, name: str) -> None:
        machine = self._machine()
        self._say(f"{machine.name} reboots")
        self.world.kill_guard(machine)
        machine.reboot()

    def bury(self, name: str) -> None:
        for machine in self.world.machines:
            for process in machine.processes:
                process.bury()

    # --- the end ---

    def _settle(self) -> None:
        """Everything works again, for long enough that every back-off is over."""
        world = self.world
        self._say("everything works again")
        world.store_up, world.channel = True, "works"
        for machine in world.machines:
            machine.up, machine.cut_off = True, False
            for process in machine.processes:
                process.bury()
                process.trap = None
            guard = world.guards[machine.name] or world.start_guard(machine)
            guard.paused, guard.trap = False, None
        for seconds in (*(70.0,) * 3, *(400.0,) * 4, *(TICK,) * 6):
            world.tick(seconds=seconds)
        world.oracle.settled()


def _weighted() -> list[tuple[str, Callable[[History, str], None]]]:
    weights: dict[Callable[[History, str], None], int] = {
        History.tick: 20, History.spawn: 9, History.begin: 3, History.say: 2, History.end: 5,
        History.leave: 3, History.kill: 6, History.hang: 3, History.resume: 3, History.replace: 1,
        History.rotate: 2, History.store: 4, History.cut: 2, History.channel: 3, History.guard: 5,
        History.trap: 7, History.process_trap: 2, History.command: 2, History.jump: 3,
        History.suspend: 3, History.freeze: 2, History.reboot: 2, History.bury: 1,
    }  # fmt: skip
    return [(act.__name__, act) for act, weight in weights.items() for _ in range(weight)]


ACTIONS = _weighted()
