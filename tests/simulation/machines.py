"""Simulated machines: each with its clocks, the kernel's tables as a folder, and processes that write real journals.

A process's journal is a file in the machine's home, in Holter's own line format, and its lock is a real flock: it
belongs to the open file description, so the watchdog's own look at the file finds it held. Pids are beyond any that the
real kernel gives, so nothing here can ever hit a real process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holter.backends.clock import Clock, base32
from holter.backends.errors import OffsetMismatch, StorageError
from holter.backends.lines import encode

if TYPE_CHECKING:
    from .world import World

NOON = 1_800_000_000.0  # what the clocks of the machines show at the beginning
BEAT = 5.0  # seconds between heartbeats
PIDS = tuple(range(2**22 + 1, 2**22 + 6))  # few, so that they are used again soon
OWN_NAMESPACE, CONTAINER = "self", "elsewhere"


SCHEDULED, TURNS = "job-2", {"schedule": "* * * * *", "grace": 20.0}


class MachineClock(Clock):
    """The clocks of one machine. Its wall clock may be set, and what it sleeps is missing from its monotonic one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.shift = 0.0
        self.slept = 0.0

    def wall(self) -> float:
        return NOON + self._world.now + self.shift

    def monotonic(self) -> float:
        return self._world.now - self.slept

    def since_boot(self) -> None:
        """Its processes are numbered, not dated."""

    def sleep(self, seconds: float) -> None:
        self._world.now += seconds


@dataclass
class Truth:
    """A run as it really is. `ending` is what its process wrote of its end; times are the world's seconds."""

    id: str
    name: str
    process: Process
    root: bool
    began: float
    check: dict[str, Any]
    ending: str | None = None
    active: float = 0.0


@dataclass
class Machine:
    """A host with a home of its own on the common store. `up` is false while it sleeps or is frozen."""

    name: str
    world: World
    root: str
    clock: MachineClock = field(init=False)
    boot: int = 0
    up: bool = True
    cut_off: bool = False
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = MachineClock(self.world)
        self.home, self.proc = f"{self.root}/{self.name}/home", f"{self.root}/{self.name}/proc"
        for folder in (f"{self.home}/journals", f"{self.proc}/self/ns", f"{self.proc}/sys/kernel/random"):
            os.makedirs(folder)
        for namespace in ("pid", "time", CONTAINER):
            _write(f"{self.proc}/self/ns/{namespace}", "")
        self.reboot()

    def reboot(self) -> None:
        """Everything on it is gone, and it has a new boot id."""
        for process in self.living():
            process.die()
            process.fell_with_host = True
        for process in self.processes:
            process.bury()
        self.boot += 1
        self.up = True
        _write(f"{self.proc}/sys/kernel/random/boot_id", self.boot_id)

    @property
    def boot_id(self) -> str:
        return f"{self.name}-boot-{self.boot}"

    def living(self) -> list[Process]:
        return [each for each in self.processes if each.alive]

    def namespace(self, contained: bool) -> int:
        return os.stat(f"{self.proc}/self/ns/{CONTAINER if contained else 'pid'}").st_ino

    def free_pids(self, contained: bool) -> list[int]:
        used = {each.pid for each in self.living() if each.contained == contained}
        return [pid for pid in PIDS if pid not in used]


class Process:
    """A script that records runs. `hung_at` (the machine's awake seconds) is since when it does not run, if so."""

    def __init__(self, machine: Machine, pid: int, *, contained: bool) -> None:
        self.machine, self.world, self.pid, self.contained = machine, machine.world, pid, contained
        self.ticks = self.world.count("ticks")
        self.boot = machine.boot_id
        self.alive, self.hung, self.replaced = True, False, False
        self.hung_at: float | None = None
        self.died_at: float | None = None
        self.orphans: list[int] = []  # descriptors that a child of it keeps open
        self.leftover: list[int] = []  # of journals that it went on from
        self.runs: list[Truth] = []
        self.heard: list[float] = []  # when the store took something of it
        self.journals: list[str] = []
        self.beats = 0
        self.next_beat = machine.clock.monotonic() + BEAT
        self.trap: Any = None
        self.fell_with_host = False
        if not contained:  # the watchdog's own table does not list what another namespace has
            os.makedirs(f"{machine.proc}/{pid}", exist_ok=True)
            numbers = " ".join(["0"] * 15)
            _write(f"{machine.proc}/{pid}/stat", f"{pid} (py) S {numbers} 0 1 0 {self.ticks} 0 0\n")
        self.fd = self._open()
        machine.processes.append(self)

    def _open(self) -> int:
        journal = base32(int(self.world.now * 1000 + NOON * 1000) << 35 | self.world.count("journals"), 16)
        self.journals.append(journal)
        self.world.journals[journal] = self
        self.path = f"{self.machine.home}/journals/{journal}.jsonl"
        self.sent = 0
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        header = {
            "host": self.machine.name,
            "boot": self.boot,
            "namespace": self.machine.namespace(self.contained),
            "pid": self.pid,
            "start_ticks": self.ticks,
            "project": "default",
            "store": self.world.url,
            "heartbeat": BEAT,
            "utc_offset": 0,
        }
        os.write(fd, encode({"event": "process", "journal": journal, "format": 1, **header}))
        return fd

    @property
    def writes(self) -> bool:
        """Whether it can say anything at all."""
        return self.alive and not self.hung and not self.replaced and self.machine.up

    @property
    def open_runs(self) -> list[Truth]:
        return [run for run in self.runs if run.ending is None]

    @property
    def proven_dead(self) -> bool:
        """Whether a look from outside can know that it is gone."""
        return not self.alive and not (self.orphans and self.contained and self.boot == self.machine.boot_id)

    def say(self, event: str, **fields: Any) -> None:
        self.hung_at = None
        os.write(self.fd, encode({"event": event, "at": self.machine.clock.wall(), **fields}))

    def start(self, name: str, parent: Truth | None, check: dict[str, Any]) -> Truth:
        if name == SCHEDULED and parent is None:
            check = {**check, **TURNS}
        number = self.world.count("runs")
        made = base32(int((NOON + self.world.now) * 1000) << 35 | number, 16)
        run_id = f"{parent.id.partition('.')[0]}.{number}" if parent else made
        run = Truth(run_id, name, self, parent is None, self.world.now, check, active=self.world.now)
        self.runs.append(run)
        self.world.runs[run_id] = run
        extra = {"parent": parent.id} if parent else {}
        kind = "task" if parent else "flow"
        self.say("start", run=run_id, kind=kind, name=name, **({"check": check} if check else {}), **extra)
        return run

    def end(self, run: Truth, state: str) -> None:
        """The run and whatever it called, innermost first."""
        for each in reversed(self.open_runs):
            if each.id == run.id or each.id.startswith(f"{run.id}."):
                self.say("end", run=each.id, state=state, seconds=self.world.now - each.began)
                each.ending = state

    def log(self, run: Truth) -> None:
        run.active = self.world.now
        self.say("log", run=run.id, level="INFO", stream="print", text="still at it")

    def beat(self) -> None:
        if self.machine.clock.monotonic() >= self.next_beat:
            self.beats += 1
            self.say("beat", seq=self.beats)
            self.next_beat = self.machine.clock.monotonic() + BEAT

    def ship(self) -> bool:
        """Send the rest, as its shipper does; whether the store has all of it."""
        store = self.world.store_of(self)
        try:
            while self.writes and (data := os.pread(self.fd, 2**20, self.sent)):
                try:
                    self.sent = store.append(self.journals[-1], self.sent, data)
                except OffsetMismatch as other:
                    self.sent = other.expected
        except (StorageError, OSError):
            return False
        return self.writes

    def rotate(self) -> None:
        """Go on in a new journal; the old one goes once the store has it."""
        old, path, journal, sent = self.fd, self.path, self.journals[-1], self.sent
        self.fd = self._open()
        self.say("carry", runs=[run.id for run in self.open_runs], after=journal)
        os.write(old, encode({"event": "moved", "at": self.machine.clock.wall(), "to": self.journals[-1]}))
        self.leftover.append(old)
        try:
            store = self.world.store_of(self)
            while self.writes and (data := os.pread(old, 2**20, sent)):
                try:
                    sent = store.append(journal, sent, data)
                except OffsetMismatch as other:
                    sent = other.expected
        except (StorageError, OSError):
            return
        if self.writes:
            os.unlink(path)
            self.leftover.remove(old)
            os.close(old)

    def leave(self, state: str) -> None:
        """End in order: the runs, the journal, the process."""
        for run in [each for each in self.open_runs if each.root]:
            self.end(run, state)
        self.say("close")
        if self.ship():
            os.unlink(self.path)
        if self.alive:
            self.die()

    def hang(self) -> None:
        self.hung = True
        if self.hung_at is None:  # else it has said nothing since it hung before
            self.hung_at = self.machine.clock.monotonic()

    def resume(self) -> None:
        self.hung = False  # and is still taken for silent until it has said something

    def replace(self) -> None:
        """`exec`: the lock is gone, the process is not, and it says nothing any more."""
        self.hang()
        self.hung, self.replaced = False, True
        self._close(self.leftover)
        self._close([self.fd])
        self.fd = -1

    def die(self, *, torn: bool = False, orphan: bool = False) -> None:
        if torn and not self.replaced:
            line = encode(
                {"event": "log", "run": "r", "at": self.machine.clock.wall(), "text": "half a line"}
            )
            os.write(self.fd, line[: len(line) // 2])
        self.alive, self.died_at = False, self.world.now
        if not self.contained:
            os.unlink(f"{self.machine.proc}/{self.pid}/stat")
        fds = [each for each in (*self.leftover, self.fd) if each >= 0]
        self.leftover, self.fd = [], -1
        if orphan:
            self.orphans = fds
        else:
            self._close(fds)

    def bury(self) -> None:
        """The child that kept its descriptors open is gone too."""
        self._close(self.orphans)

    def _close(self, fds: list[int]) -> None:
        while fds:
            os.close(fds.pop())


def close_all(processes: Iterable[Process]) -> None:
    for each in processes:
        if each.alive:
            each.die()
        each.bury()


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
