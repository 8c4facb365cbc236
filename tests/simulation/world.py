"""The watchdog's world, simulated in one thread: whatever happens, and when, is decided by whoever drives it.

The watchdogs are the real ones (detecting, alerting and forgetting), stepped by hand. What is simulated is all round
them: time, machines, processes (see `machines`), the way to the store (see `store`), and the channel that takes alerts.
Two watchdogs in one process would share their POSIX locks, so `lockf` becomes the kernel's lock of an open file, which
tells them apart as processes are told apart.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

from holter.agent import identity, journal
from holter.agent.setting_types import Channel, Rule, Settings
from holter.agent.watchdog import births, delivery
from holter.agent.watchdog.adopt import catch_up
from holter.agent.watchdog.daemon import Herald, Tidier, Watchdog
from holter.backends import memory
from holter.backends.base import Backend
from holter.backends.clock import base32
from holter.backends.errors import ChannelError, StorageError
from holter.backends.lines import decode
from holter.backends.urls import open_backend

from . import store
from .machines import Machine, MachineClock, Process, Truth, close_all
from .oracle import Oracle, members

TICK = 4.0  # seconds between passes
EVENTS = ("failed", "crashed", "timed_out", "unresponsive", "lost", "overdue", "stalled")
SHARED = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 - mkdtemp makes it safe
store.install()


class Killed(BaseException):
    """A simulated watchdog is killed here: nothing of it runs on but what the kernel does."""


@dataclass
class Trap:
    """What happens at the actor's store call number `after` from now: kill or fail, before or after it was applied, or
    `act` by somebody else before it."""

    after: int
    kind: str
    at: tuple[str, ...] = ()  # only calls that begin so are counted: the method and its first argument
    act: Callable[[], None] | None = None


@dataclass(eq=False)
class Guard:
    """A watchdog: one process of a machine. `calm_since` is when it was last kept from its work; `pass_began` is the
    machine's monotonic time at the beginning of its pass."""

    machine: Machine
    dog: Watchdog
    herald: Herald
    tidier: Tidier
    alive: bool = True
    paused: bool = False
    closed: bool = False
    calm_since: float = 0.0
    disturbed: bool = False
    pass_began: float = 0.0
    trap: Trap | None = None
    in_flight: list[str] = field(default_factory=list)
    journals: list[journal.Journal] = field(default_factory=list)


class World:
    """`now` is true time in seconds. Everything that goes wrong by the rules of the oracle raises AssertionError."""

    def __init__(
        self, *, kind: str = "memory", seed: str = "", say: Callable[[str], None] | None = None
    ) -> None:
        self.now = 0.0
        self.url = "sim:"
        self.say = say
        self.runs: dict[str, Truth] = {}
        self.journals: dict[str, Process] = {}
        self.store_up, self.channel = True, "works"
        self.actor: Any = None
        self.nested = False
        self.broken: list[AssertionError] = []
        self.reset = False  # whether anybody ever set a clock
        # Transitions that the first look at the store found: history, not news.
        self.hindsight: int | None = None
        self.said: Counter[str] = Counter()  # what arrived, by dedupe key
        # Deliveries of which the sender cannot know that they were made.
        self.doubtful: Counter[str] = Counter()
        self.passes = 0
        self._counts: Counter[str] = Counter()
        self._kind, self._seed = kind, seed
        self._inner: dict[int, Backend] = {}
        self.guards: dict[str, Guard | None] = {}

    # --- the frame ---

    def __enter__(self) -> World:
        self.root = tempfile.mkdtemp(prefix="holter-sim-", dir=SHARED)
        self._undo: list[tuple[Any, str, Any]] = []
        self._replace(store.SimulatedStore, "world", self)
        self._replace(fcntl, "lockf", _lock_of_the_open_file)
        self._replace(delivery, "open_channel", lambda *args, **more: self)
        # No inotify: closing one costs the kernel milliseconds.
        self._replace(births, "_watch", lambda folder: -1)
        self._replace(journal, "new_id", self._new_id)
        self._replace(journal.Journal, "__init__", _recorded_opening(self, journal.Journal.__init__))
        self._replace(journal.Journal, "write", _recorded_writing(self, journal.Journal.write))
        self._replace(identity, "PROC", identity.PROC)
        random.seed(self._seed)
        self.machines = [Machine(name, self, self.root) for name in ("anna", "bert")]
        self.guards = dict.fromkeys((machine.name for machine in self.machines), None)
        self.inner = self.open_inner(self.machines[0].clock)
        self.oracle = Oracle(self)
        return self

    def __exit__(self, *failure: object) -> None:
        for machine in self.machines:
            self.kill_guard(machine)
            close_all(machine.processes)
        for handle in self._inner.values():
            handle.close()
        memory._SPACES.pop(f"memory:{self.root}", None)
        for where, name, value in reversed(self._undo):
            setattr(where, name, value)
        os.environ.pop("HOLTER_TEST_HOST", None)
        shutil.rmtree(self.root, ignore_errors=True)

    def _replace(self, where: Any, name: str, value: Any) -> None:
        self._undo.append((where, name, where.__dict__[name]))
        setattr(where, name, value)

    def count(self, what: str) -> int:
        self._counts[what] += 1
        return self._counts[what]

    def _new_id(self) -> str:
        return base32(int((self.now + 1_900_000_000) * 1000) << 35 | self.count("ids"), 16)

    def note(self, text: str) -> None:
        if self.say:
            self.say(f"{self.now:8.1f}  {text}")

    @contextmanager
    def on(self, machine: Machine, actor: object) -> Iterator[None]:
        """Act as a process of this machine."""
        before = self.actor, identity.PROC, os.environ.get("HOLTER_TEST_HOST", "")
        self.actor, identity.PROC, os.environ["HOLTER_TEST_HOST"] = actor, machine.proc, machine.name
        try:
            yield
        finally:
            self.actor, identity.PROC, os.environ["HOLTER_TEST_HOST"] = before

    @contextmanager
    def remembered(self) -> Iterator[None]:
        try:
            yield
        except AssertionError as error:
            self.broken.append(error)
            raise

    # --- the store ---

    def open_inner(self, clock: Any) -> Backend:
        if id(clock) not in self._inner:
            url = f"memory:{self.root}" if self._kind == "memory" else "sqlite:///holter.db"
            self._inner[id(clock)] = open_backend(url, self.root, clock=clock)
        return self._inner[id(clock)]

    def store_of(self, actor: Any) -> store.SimulatedStore:
        with self.on(actor.machine, actor):
            return store.SimulatedStore(self.url, home=self.root, clock=actor.machine.clock)

    def pass_through(
        self, actor: Any, name: str, call: Callable[..., Any], args: tuple[Any, ...], more: dict[str, Any]
    ) -> Any:
        """One call of one actor, with whatever happens at it."""
        if isinstance(actor, Guard) and not actor.alive:
            raise Killed
        trap = self._sprung(actor, (name, *args))
        if trap is not None and trap.act is not None:
            self.meanwhile(trap.act)
        if trap is not None and trap.kind in ("kill before", "fail before"):
            self._fail(actor, trap.kind, name)
        if not self.store_up or actor.machine.cut_off:
            self._disturb(actor)
            raise StorageError("the store is away")
        result = call(*args, **more)
        if name == "append" and args[0] in self.journals:
            self.journals[args[0]].heard.append(self.now)
        if trap is not None and trap.kind in ("kill after", "fail after"):
            self._fail(actor, trap.kind, name)
        if (
            name == "put"
            and args[:2] == ("cursor", "alerts")
            and not args[2]["since"]
            and self.hindsight is None
        ):
            self.hindsight = args[2]["seq"]
        return result

    def _sprung(self, actor: Any, said: tuple[Any, ...]) -> Trap | None:
        trap: Trap | None = getattr(actor, "trap", None)
        if trap is None or self.nested or said[: len(trap.at)] != trap.at:
            return None
        trap.after -= 1
        if trap.after >= 0:
            return None
        actor.trap = None
        return trap

    def _fail(self, actor: Any, kind: str, name: str) -> None:
        self.note(f"  {kind} {name} of {self.who(actor)}")
        if kind.startswith("kill"):
            if isinstance(actor, Process):
                actor.die()
                raise StorageError("killed")
            self.bury(actor)
            raise Killed
        self._disturb(actor)
        raise (OSError(5, "input/output error") if name == "runs" else StorageError("the store hiccups"))

    def _disturb(self, actor: Any) -> None:
        if isinstance(actor, Guard):
            actor.disturbed = True
            self._doubt(actor)

    def _doubt(self, guard: Guard) -> None:
        self.doubtful.update(guard.in_flight)
        guard.in_flight.clear()

    def who(self, actor: Any) -> str:
        if isinstance(actor, Process):
            return f"process {actor.journals[0][-4:]} on {actor.machine.name}"
        return f"the watchdog on {actor.machine.name}"

    def meanwhile(self, act: Callable[[], None]) -> None:
        """Somebody else acts while an actor is in the middle of a call."""
        self.nested = True
        try:
            act()
        finally:
            self.nested = False

    # --- the channel ---

    def send(self, alert: dict[str, Any], timeout: float) -> None:
        """Take an alert, or not; as the channels' `send`."""
        guard = self.actor
        if self.channel == "refuses":
            raise ChannelError("the channel is down")
        with self.remembered():
            self.oracle.told(alert)
        keys = [each["dedupe_key"] for each in members(alert)]
        self.said.update(keys)
        self.note(f"  alert {alert['event']} {' '.join(keys)}")
        if self.channel == "loses answers":
            self.doubtful.update(keys)
            raise ChannelError("no answer", ambiguous=True)
        guard.in_flight += keys

    # --- watchdogs ---

    def start_guard(self, machine: Machine) -> Guard:
        settings = Settings(
            home=machine.home,
            backend=self.url,
            heartbeat=5.0,  # type: ignore[arg-type]
            channels={"pager": Channel("webhook", "https://pager.example")},
            alerts=(Rule(on=EVENTS, to=("pager",)),),
        )
        clock = machine.clock
        with self.on(machine, None):
            dog = Watchdog(settings, clock=clock)
            guard = Guard(machine, dog, Herald(settings, clock=clock), Tidier(settings, clock=clock))
        guard.calm_since = clock.monotonic()
        self.guards[machine.name] = guard
        return guard

    def stop_guard(self, machine: Machine) -> None:
        """As SIGTERM does."""
        guard = self.guards[machine.name]
        if guard is not None:
            guard.closed = self._as(guard, guard.dog.close)
            self.kill_guard(machine)

    def kill_guard(self, machine: Machine) -> None:
        guard = self.guards[machine.name]
        if guard is not None:
            self.bury(guard)

    def bury(self, guard: Guard) -> None:
        """What the kernel does for a dead process: its descriptors are closed, its locks free."""
        self._doubt(guard)
        if guard.alive:
            guard.alive = False
            if not guard.closed:
                guard.dog.deaths.close()
            for each in guard.journals:
                each.let_go()
        if self.guards[guard.machine.name] is guard:
            self.guards[guard.machine.name] = None

    def _as(self, guard: Guard, act: Callable[[], object]) -> bool:
        with self.on(guard.machine, guard):
            try:
                act()
            except Killed:
                pass
        if self.broken:  # a step of the watchdog takes any error for one of its own, and goes on
            raise self.broken[0]
        return guard.alive

    def detect(self, guard: Guard) -> None:
        """One pass of the detecting half; what it must have found if nothing kept it is checked."""
        guard.pass_began, guard.disturbed = guard.machine.clock.monotonic(), False
        began, self.passes = self.now, self.passes + 1
        whole = self._as(guard, guard.dog.step)
        if guard.disturbed:
            guard.calm_since = guard.pass_began + 75.0  # its steps back off for up to a minute
        elif whole and not self.nested and guard.pass_began >= guard.calm_since:
            self.oracle.works(guard.dog.steps)
            self.oracle.found_all(guard, began)

    def alert(self, guard: Guard) -> None:
        guard.disturbed = False
        whole = self._as(guard, guard.herald.step)
        if whole and not (guard.disturbed or self.nested) and guard.pass_began >= guard.calm_since:
            self.oracle.works(guard.herald.steps)
        if guard.disturbed:
            guard.calm_since = guard.pass_began + 75.0
        if whole:
            guard.in_flight.clear()  # what was sent is on record

    def tidy(self, guard: Guard) -> None:
        self._as(guard, guard.tidier.step)

    def command(self, machine: Machine) -> None:
        """Somebody types a `holter` command, which brings the store up to date first."""
        visitor = Process.__new__(Process)
        visitor.machine, visitor.alive = machine, True
        with self.on(machine, visitor):
            try:
                backend = store.SimulatedStore(self.url, home=self.root, clock=machine.clock)
                catch_up(machine.home, backend, machine.clock)  # type: ignore[arg-type]
            except (StorageError, OSError):
                return

    # --- time ---

    def tick(self, *, watchdog_first: bool = False, seconds: float = TICK) -> None:
        """Time goes on; processes beat and ship, watchdogs look, and the oracle looks at all of it."""
        self.now += seconds
        for machine in self.machines:
            if not machine.up:
                machine.clock.slept += seconds
        for turn in (self._watch, self._live) if watchdog_first else (self._live, self._watch):
            for machine in self.machines:
                if machine.up:
                    turn(machine)
        self.oracle.look()

    def _live(self, machine: Machine) -> None:
        for process in machine.living():
            if process.writes:
                process.beat()
                process.ship()

    def _watch(self, machine: Machine) -> None:
        guard = self.guards[machine.name]
        if guard is not None and not guard.paused:
            self.detect(guard)
            if guard.alive:
                self.alert(guard)

    def freeze(self, machine: Machine, seconds: float) -> None:
        """A virtual machine stands still, and its clocks run on."""
        self.now += seconds
        for other in self.machines:
            if other is not machine and other.up:
                self._live(other)


def _lock_of_the_open_file(fd: int, command: int, *rest: int) -> None:
    kind = fcntl.F_UNLCK if command & fcntl.LOCK_UN else fcntl.F_WRLCK
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))


def _recorded_opening(world: World, opening: Any) -> Any:
    def init(self: Any, *args: Any, **more: Any) -> None:
        opening(self, *args, **more)
        if isinstance(world.actor, Guard):
            world.actor.journals.append(self)

    return init


def _recorded_writing(world: World, writing: Any) -> Any:
    mine = get_ident()

    def write(self: Any, line: bytes) -> None:
        # Another test may have left a heart beating.
        if isinstance(world.actor, Guard) and get_ident() == mine:
            if not world.actor.alive:
                raise Killed
            for _, event in decode(line):
                if event is not None and event["event"] == "judge":
                    with world.remembered():
                        world.oracle.judged(world.actor, event)
        writing(self, line)

    return write


__all__ = ["TICK", "Guard", "MachineClock", "Trap", "World"]
