"""`holter watch`: a dull loop over steps that each do one unit of work.

Two loops that meet only in the store: the detecting one adopts dead journals and reconciles conditions, the
alerting one turns transitions into alerts and delivers them. A channel that hangs cannot delay a verdict. A step that
fails is logged, backed off and tried again; it cannot stop the others, and it cannot crash-loop the daemon.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from attrs import define, field
from filelock import FileLock, Timeout
from loguru import logger

from ...backends.base import Backend
from ...backends.clock import SYSTEM, Clock
from ...backends.errors import HolterError
from ...backends.urls import open_backend, redacted
from ..settings import Settings
from . import notify, outbox, pulse, reap
from .adopt import Adopted, catch_up
from .afar import Ears
from .births import Births
from .deaths import Deaths
from .enforce import Enforcer
from .judgements import Judge
from .reap import Reaper
from .reconcile import reconcile
from .sightings import Sightings
from .tidy import forget

logger.disable("holter")  # quiet where it is embedded, as loguru asks of libraries; `watch` speaks up
BACK_OFF_AT_MOST = 60.0  # seconds between tries of a step that keeps failing
TIDY_EVERY = 3600.0
TIDY_LOOK = 60.0  # seconds between looks whether it is time
NOTIFY_EVERY = 0.5  # seconds between looks at the transitions when nothing woke the alerting loop


class AlreadyWatching(HolterError, RuntimeError):
    """Another watchdog of this home is running."""


@define
class Step:
    """One step of the loop with its back-off: `every` seconds (0: each pass), sooner never."""

    name: str
    act: Callable[[], object]
    every: float = 0.0
    failures: int = 0
    _due: float = field(default=0.0)

    def run(self, now: float) -> None:
        """Do it if it is due. `now` is monotonic seconds. Errors are logged and backed off, never raised."""
        if now < self._due:
            return
        try:
            self.act()
        except Exception as error:  # noqa: BLE001 - a step that fails cannot stop the others
            self.failures += 1
            wait = min(BACK_OFF_AT_MOST, 2.0 ** min(self.failures, 6) / 2)
            self._due = now + max(self.every, wait)
            logger.opt(exception=not isinstance(error, HolterError | OSError)).error(
                "{} failed ({} in a row, next try in {:.0f} s): {}", self.name, self.failures, wait, error
            )
        else:
            if self.failures:
                logger.info("{} works again", self.name)
            self.failures = 0
            self._due = now + self.every


class Watchdog:
    """The detecting half. `step()` is one pass; everything it knows besides the store is when journals last grew."""

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM, once: bool = False) -> None:
        self.settings = settings
        self.clock = clock
        self.once = once
        self.started_at = clock.wall()
        self.deaths = Deaths(None if once else Births(_journals(settings)))
        self.seen = Adopted()
        self._looked = False  # whether `seen` is of this pass: silence is judged on nothing older
        self._sightings = Sightings()
        self._ears = Ears(settings.watchdog.lost_after)
        self._reaper = Reaper(clock)
        self._backend: Backend | None = None
        self._judge: Judge | None = None
        self._enforcer = Enforcer(clock, once)
        self.steps = [
            Step("adopting dead journals", self._adopt),
            Step("reconciling live runs", self._reconcile),
            Step("enforcing time limits", self._enforce),
            Step("freeing leases that ran out", self._reap, every=reap.EVERY),
            Step("writing the pulse", self._pulse, every=pulse.EVERY),
        ]

    def step(self) -> bool:
        """One pass over every step; true if something was found that the alerting loop should look at now."""
        before = self.seen.crashed
        self._looked = False
        for step in self.steps:
            step.run(self.clock.monotonic())
        return self.seen.crashed != before

    def close(self) -> None:
        """Say that nobody watches any more, and let go of everything. Raises nothing: the store may be away."""
        Step("closing", self._close).run(self.clock.monotonic())
        self.deaths.close()

    def _close(self) -> None:
        if self._backend is not None:
            self._enforcer.close(self._backend)
        if self._judge is not None:
            self._judge.close()
        if self._backend is not None:
            pulse.beat(
                self._backend,
                self.clock.wall(),
                started_at=self.started_at,
                once=self.once,
                stopped=not self.once,
            )
            self._backend.close()

    def _store(self) -> Backend:
        if self._backend is None:
            self._backend = open_store(self.settings, self.clock)
        return self._backend

    def _adopt(self) -> None:
        out = catch_up(self.settings.home, self._store(), self.clock, before=self.seen.live)
        for fault in set(out.faults) - set(self.seen.faults):
            logger.error("cannot adopt {}", fault)
        if out.crashed:
            logger.warning("{} runs crashed", out.crashed)
        out.crashed += self.seen.crashed
        self.seen = out
        self._looked = True
        self.deaths.follow(out.live)

    def _reconcile(self) -> None:
        if not self._looked:
            return
        silence = self._sightings.look(self.seen.live, self.clock)
        checks = dict(self.settings.checks)
        store, live = self._store(), self.seen.live
        far = self._ears.listen(store.processes(), live, self.clock)
        changed = reconcile(store, self._open_judge(), live, silence, checks, self.clock, far)
        if changed:
            logger.info("{} conditions changed", changed)

    def _enforce(self) -> None:
        if not self._looked:
            return
        ended = self._enforcer.enforce(self._store(), self._open_judge(), self.seen.live)
        if ended:
            logger.warning("{} runs ended from outside: past their time limit", ended)

    def _open_judge(self) -> Judge:
        if self._judge is None:
            self._judge = Judge(self.settings.home, self.settings.project, self._store(), self.clock)
        return self._judge

    def _reap(self) -> None:
        for text in self._reaper.reap(self._store()):
            logger.warning("{}", text)

    def _pulse(self) -> None:
        pulse.beat(self._store(), self.clock.wall(), started_at=self.started_at, once=self.once)


class Tidier:
    """The forgetting half, with a store handle of its own: a history that is to go holds up nobody."""

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM) -> None:
        self.settings = settings
        self.clock = clock
        self.stopped = False
        self._backend: Backend | None = None
        self.steps = [Step("forgetting old records", self._tidy, every=TIDY_EVERY)]

    def step(self) -> None:
        for step in self.steps:
            step.run(self.clock.monotonic())

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()

    def _tidy(self) -> None:
        if self._backend is None:
            self._backend = open_store(self.settings, self.clock)
        gone = forget(self._backend, self.settings, self.clock, lambda: self.stopped)
        if gone.runs or gone.logs:
            logger.info("forgot {} runs and {} log lines", gone.runs, gone.logs)
        outbox.tidy(self._backend, self.clock)


class Herald:
    """The alerting half, with a store handle of its own: collects transitions, delivers what is due."""

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM) -> None:
        self.settings = settings
        self.clock = clock
        self._backend: Backend | None = None
        self.steps = [Step("collecting alerts", self._collect), Step("delivering alerts", self._deliver)]

    def step(self) -> None:
        for step in self.steps:
            step.run(self.clock.monotonic())

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()

    def _store(self) -> Backend:
        if self._backend is None:
            self._backend = open_store(self.settings, self.clock)
        return self._backend

    def _collect(self) -> None:
        while notify.collect(self._store(), self.clock, self.settings):
            pass

    def _deliver(self) -> None:
        while notify.deliver(self._store(), self.clock, self.settings):
            pass


def _journals(settings: Settings) -> str:
    folder = f"{settings.home}/journals"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def open_store(settings: Settings, clock: Clock = SYSTEM) -> Backend:
    return open_backend(settings.backend, settings.home, clock=clock)


def watch(settings: Settings, *, once: bool = False) -> int:
    """Watch until SIGTERM or SIGINT, and return 0; or for one pass, and return 1 if something in it failed.

    Raises AlreadyWatching where another watchdog of this home runs (`once`: does nothing then, and returns 0).
    """
    logger.remove()
    logger.add(
        sys.stderr, format="{time:YYYY-MM-DD HH:mm:ss} {level: <7} {message}", level="INFO", diagnose=False
    )
    logger.enable("holter")
    os.makedirs(settings.home, mode=0o700, exist_ok=True)
    lock = FileLock(f"{settings.home}/watchdog.lock", fallback_to_soft=False, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if once:
            return 0
        raise AlreadyWatching(
            f"a watchdog of {settings.home} is running already",
            hint="`holter doctor` shows it; one is enough",
        ) from None
    try:
        return _once(settings) if once else _loop(settings)
    finally:
        lock.release()


def _once(settings: Settings) -> int:
    dog, herald, tidier = Watchdog(settings, once=True), Herald(settings), Tidier(settings)
    for each in (dog, herald, tidier):
        each.step()
    for each in (tidier, herald, dog):
        each.close()
    return 1 if any(step.failures for each in (dog, herald, tidier) for step in each.steps) else 0


def _loop(settings: Settings) -> int:
    dog = Watchdog(settings)
    stop, news = threading.Event(), threading.Event()

    def ask_to_stop(number: int, frame: Any) -> None:
        stop.set()
        news.set()
        dog.deaths.wake()

    previous = {each: signal.signal(each, ask_to_stop) for each in (signal.SIGTERM, signal.SIGINT)}
    alerting = threading.Thread(target=_alerting, args=(settings, stop, news), name="holter-alerts")
    alerting.start()
    tidier = Tidier(settings)
    tidying = threading.Thread(target=_tidying, args=(tidier, stop), name="holter-tidy", daemon=True)
    tidying.start()
    logger.info("watching {} into {}", settings.home, redacted(settings.backend))
    try:
        while not stop.is_set():
            if dog.step():
                news.set()
            if not stop.is_set():
                dog.deaths.wait(settings.watchdog.interval)
    finally:
        stop.set()
        news.set()
        tidier.stopped = True
        alerting.join(timeout=15)
        tidying.join(
            timeout=2
        )  # in the middle of a long history it is left: transactions are whole or nothing
        dog.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    logger.info("stopped")
    return 0


def _alerting(settings: Settings, stop: threading.Event, news: threading.Event) -> None:
    herald = Herald(settings)
    while not stop.is_set():
        herald.step()
        news.wait(NOTIFY_EVERY)
        news.clear()
    herald.close()


def _tidying(tidier: Tidier, stop: threading.Event) -> None:
    while not stop.is_set():
        tidier.step()
        stop.wait(TIDY_LOOK)
    tidier.close()
