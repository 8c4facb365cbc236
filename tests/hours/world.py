"""Hours of life in the simulated world of tests/simulation: days of work for two watchdogs, in seconds.

What must hold at every moment is the oracle's. Most of the time processes come, record, end and are killed; now and
then there is one trouble, which passes. The watchdog on the first machine lives through all of it, and is measured.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random
from types import BuiltinFunctionType, FunctionType, ModuleType

from ..simulation.histories import History, Over
from ..simulation.machines import Machine, MachineClock, Process
from ..simulation.store import SimulatedStore
from ..simulation.world import TICK, Trap, World
from ..soak.flatness import Series, Tolerance

LOOK = 120.0  # simulated seconds between measurements
GONE = 600.0  # simulated seconds for which the oracle looks after a dead process
TICKS = 10  # that trouble takes, at most
BORDERS = (
    *(type, ModuleType, FunctionType, BuiltinFunctionType),
    *(World, Machine, MachineClock, Process, SimulatedStore),
)
TOLERANCES = {  # how much there is to look at goes up and down with what lives: hence the shares
    "held by the watchdog": ("bytes", Tolerance(0.15, 5_000)),
    "asked of the store in a pass": ("calls", Tolerance(0.1, 3)),
    "open in the store": ("journals", Tolerance(0.0, 6)),
    "descriptors": ("descriptors", Tolerance(0.25, 4)),
    "journals": ("bytes", Tolerance(0.25, 20_000)),
}


class Hours(History):
    """`hours` of simulated time, `counts` of what happened in them, and `values` by name in the order of time."""

    def __init__(self, hours: float, seed: int = 1) -> None:
        # In a SQLite store: the one in memory reads all of its past again and again.
        super().__init__(b"\x13")
        self.values: dict[str, list[float]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self._random, self._until, self._next, self._calls = Random(seed), hours * 3600, LOOK, 0
        pass_through = self.world.pass_through

        def counted(actor: object, *call: object) -> object:
            self._calls += actor is self.world.guards["anna"]
            return pass_through(actor, *call)  # type: ignore[arg-type]

        self.world.pass_through = counted  # type: ignore[method-assign, assignment]

    def series(self) -> dict[str, Series]:
        return {name: Series(values, *TOLERANCES[name]) for name, values in self.values.items()}

    def _byte(self) -> int:
        return self._random.randrange(256)

    def _act(self) -> None:
        if self.world.now >= self._until:
            raise Over
        act = self._random.choices(*ACTS)[0]
        self.counts[act.__name__] += 1
        act(self, act.__name__)
        if self.world.now >= self._next:
            self._forget()
            self._measure()
            self._next = self.world.now + LOOK

    def trouble(self, name: str) -> None:
        """One, for some ticks."""
        with self._random.choice(TROUBLES)(self):
            for _ in range(1 + self._byte() % TICKS):
                self.world.tick()

    def _forget(self) -> None:
        """The dead of long ago, of whom the oracle asks in every pass; their runs it remembers."""
        for machine in self.world.machines:
            machine.processes = [
                each
                for each in machine.processes
                if each.died_at is None or each.orphans or self.world.now - each.died_at < GONE
            ]

    def _measure(self) -> None:
        guard = self.world.guards["anna"]
        assert guard is not None
        ticks = (self.world.now - self._next + LOOK) / TICK
        folders = [f"{machine.home}/journals" for machine in self.world.machines]
        sizes = [each.stat().st_size for folder in folders for each in os.scandir(folder)]
        self.values["held by the watchdog"].append(held([guard.dog, guard.herald, guard.tidier]))
        self.values["asked of the store in a pass"].append(self._calls / ticks)
        self.values["open in the store"].append(len(self.world.inner.processes()))
        self.values["descriptors"].append(len(os.listdir("/proc/self/fd")))
        self.values["journals"].append(sum(sizes))
        self._calls = 0


def held(roots: list[object]) -> int:
    """Bytes of all objects that these refer to, up to the world around them."""
    seen: set[int] = set()
    waiting, size = list(roots), 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, BORDERS):
            continue
        seen.add(id(each))
        size += sys.getsizeof(each)
        waiting += gc.get_referents(each)
    return size


@contextmanager
def changed(what: object, name: str, value: object) -> Iterator[None]:
    before = getattr(what, name)
    setattr(what, name, value)
    yield
    setattr(what, name, before)


def _channel_fails(hours: Hours) -> AbstractContextManager[None]:
    return changed(hours.world, "channel", hours._random.choice(("refuses", "loses answers")))


def _a_call_fails(hours: Hours) -> AbstractContextManager[None]:
    guard = hours._random.choice([each for each in hours.world.guards.values() if each is not None])
    trap = Trap(hours._byte() % 48, hours._random.choice(("fail before", "fail after")))
    return changed(guard, "trap", trap)


@contextmanager
def _watchdog_gone(hours: Hours) -> Iterator[None]:
    machine = hours.world.machines[1]
    hours._random.choice((hours.world.kill_guard, hours.world.stop_guard))(machine)
    yield
    hours.world.start_guard(machine)


@contextmanager
def _process_hangs(hours: Hours) -> Iterator[None]:
    process = hours._process()
    if process is not None:
        process.hang()
    yield
    if process is not None and process.alive:
        process.resume()


Act = Callable[[Hours, str], None]
TROUBLES: tuple[Callable[[Hours], AbstractContextManager[None]], ...] = (
    lambda hours: changed(hours.world, "store_up", False),
    lambda hours: changed(hours._machine(), "cut_off", True),
    lambda hours: changed(hours._machine(), "up", False),
    *(_channel_fails, _watchdog_gone, _process_hangs, _a_call_fails),
)
WEIGHTS: dict[Act, int] = {
    Hours.tick: 30, Hours.spawn: 6, Hours.begin: 3, Hours.say: 6, Hours.end: 6, Hours.leave: 5, Hours.kill: 2,
    Hours.rotate: 2, Hours.command: 1, Hours.bury: 1, Hours.trouble: 2,
}  # fmt: skip
ACTS = (list(WEIGHTS), list(WEIGHTS.values()))
