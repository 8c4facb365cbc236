"""`holter watch`: a dull loop over steps that each do one unit of work.

Two loops that meet only in the store: the detecting one (watchdog.py) adopts dead journals and judges, the alerting one
(herald.py) turns what it finds there into alerts and delivers them. A third (outcry.py) tells where these two fail. A
channel that hangs cannot delay a verdict. A step that fails is logged, backed off and tried again; it cannot stop the
others, and it cannot crash-loop the daemon.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from loguru import logger

from ...backends.errors import HolterError
from ...backends.gate import Gate
from ...backends.urls import redacted
from ..settings import Settings
from .automate import Automator
from .exporting import Exporter
from .herald import Herald
from .metrics import errors
from .metrics_port import MetricsPort
from .outcry import Outcry
from .ping import Pinger
from .sd_notify import Systemd, tell
from .steps import Half, Step, open_store
from .tidier import Tidier
from .watchdog import Watchdog

__all__ = ["AlreadyWatching", "Herald", "Step", "Tidier", "Watchdog", "open_store", "watch"]

logger.disable("holter")  # quiet where it is embedded, as loguru asks of libraries; `watch` speaks up
# Open files; more would be a burden for programs that are started here and close them all.
DESCRIPTORS = 65_536
TIDY_LOOK = 60.0  # seconds between looks whether it is time
ONCE = 60.0  # seconds after which a single pass sends and forgets nothing more, and begins no other step
LOOK = 1.0  # seconds between looks of the loops that nothing woke: a crash wakes the alerting one


class AlreadyWatching(HolterError, RuntimeError):
    """Another watchdog of this home is running."""


def watch(settings: Settings, *, once: bool = False, metrics_port: int | None = None) -> int:
    """Watch until SIGTERM or SIGINT, and return 0; or for one pass, and return 1 if something in it failed, or there
    was no time for all of it. `metrics_port`: where a Prometheus on this host may ask.

    Raises AlreadyWatching where another watchdog of this home runs (`once`: does nothing then, and returns 0), and
    HolterError where the port cannot be had.
    """
    logger.remove()
    logger.add(
        sys.stderr, format="{time:YYYY-MM-DD HH:mm:ss} {level: <7} {message}", level="INFO", diagnose=False
    )
    logger.enable("holter")
    os.makedirs(settings.home, mode=0o700, exist_ok=True)
    _take_descriptors()
    lock = Gate(f"{settings.home}/watchdog.lock")
    try:
        if lock.take(0.0):
            return _once(settings) if once else _loop(settings, metrics_port)
    finally:
        lock.close()
    if once:
        return 0
    raise AlreadyWatching(
        f"a watchdog of {settings.home} is running already", hint="`holter doctor` shows it; one is enough"
    )


def _take_descriptors() -> None:
    """Each live process takes a descriptor, and the usual limit is 1,024; those beyond are watched by their locks."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
    with suppress(ValueError, OSError):  # macOS says "unlimited", and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), most))


def _once(settings: Settings) -> int:
    """One pass of every step, alerts last: they tell what it found. Bounded: what is not sent by then waits."""
    dog, herald, tidier = Watchdog(settings, once=True), Herald(settings, until=ONCE), Tidier(settings)
    automator, exporter = Automator(settings), Exporter(settings, until=ONCE)
    dog.fellows = [herald, tidier, automator, exporter]
    end = threading.Timer(ONCE, tidier.stop)
    end.daemon = True
    end.start()
    halves: tuple[Half, ...] = (dog, automator, herald, exporter, tidier)
    until, late = dog.clock.monotonic() + ONCE, False
    for each in halves:
        late = dog.clock.monotonic() > until  # where somebody holds the store, each step waited for it
        each.step(until)
    end.cancel()
    if late:
        logger.warning("out of time after {:.0f} s: what was left waits for the next pass", ONCE)
    failed = errors(halves)
    for each in reversed(halves):
        each.close()
    return 1 if failed or late else 0


def _loop(settings: Settings, metrics_port: int | None) -> int:
    dog, herald, tidier = Watchdog(settings), Herald(settings, patient=True), Tidier(settings)
    automator, exporter = Automator(settings), Exporter(settings)
    outcry = Outcry(settings, dog, herald)
    dog.fellows = [herald, tidier, automator, exporter, outcry]
    port = None if metrics_port is None else MetricsPort(lambda: dog.settings, metrics_port)
    stop, news = threading.Event(), threading.Event()
    # For the handler, which may interrupt this very thread while it holds an Event's lock.
    asked: list[int] = []

    def ask_to_stop(number: int, frame: Any) -> None:
        asked.append(number)
        dog.deaths.wake()

    def ask_to_reload(number: int, frame: Any) -> None:
        dog.reloader.asked = True
        dog.deaths.wake()

    hear = {signal.SIGTERM: ask_to_stop, signal.SIGINT: ask_to_stop, signal.SIGHUP: ask_to_reload}
    previous = {number: signal.signal(number, handler) for number, handler in hear.items()}
    alerting = threading.Thread(target=_alerting, args=(herald, stop, news), name="holter-alerts")
    tidying = threading.Thread(target=_tidying, args=(tidier, stop), name="holter-tidy", daemon=True)
    others = {"holter-act": automator, "holter-export": exporter, "holter-outcry": outcry}
    acting = [
        threading.Thread(target=_acting, args=(half, stop), name=name, daemon=True)
        for name, half in others.items()
    ]
    for thread in (tidying, *acting):
        thread.start()
    logger.info("watching {} into {}", settings.home, redacted(settings.backend))
    dog.step()
    alerting.start()  # after the first pass: what went down together, with the host or without us, is told together
    try:
        _passes(dog, herald, asked, news)
    finally:
        tell("STOPPING=1")
        stop.set()
        news.set()
        tidier.stop()
        alerting.join(timeout=15)
        for thread in acting:
            thread.join(timeout=5)
        tidying.join(timeout=2)  # in the middle of a history it is left: transactions are whole or nothing
        dog.close()
        if port is not None:
            port.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    logger.info("stopped")
    return 0


def _passes(dog: Watchdog, herald: Herald, asked: list[int], news: threading.Event) -> None:
    """Pass after pass, until it is asked to stop. Signs of life go out only after a pass that was completed, the ping
    only while neither watching nor alerting fails."""
    pinger, systemd = Pinger(), Systemd()
    while not asked:
        if dog.step():
            news.set()
        now = dog.clock.monotonic()
        systemd.passed(now)
        if not errors((dog, herald)):
            pinger.passed(dog.settings.watchdog, now)
        if not asked:
            dog.deaths.wait(min(dog.settings.watchdog.interval, systemd.every))


def _alerting(herald: Herald, stop: threading.Event, news: threading.Event) -> None:
    while not stop.is_set():
        herald.step()
        news.wait(LOOK)
        news.clear()
    herald.close()


def _tidying(tidier: Tidier, stop: threading.Event) -> None:
    while not stop.is_set():
        tidier.step()
        stop.wait(TIDY_LOOK)
    tidier.close()


def _acting(half: Half, stop: threading.Event) -> None:
    while not stop.is_set():
        half.step()
        stop.wait(LOOK)
    half.close()
