"""`holter watch`: a dull loop over steps that each do one unit of work.

Two loops that meet only in the store: the detecting one (watchdog.py) adopts dead journals and judges, the alerting one
(herald.py) turns what it finds there into alerts and delivers them. A channel that hangs cannot delay a verdict. A step
that fails is logged, backed off and tried again; it cannot stop the others, and it cannot crash-loop the daemon.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from filelock import FileLock, Timeout
from loguru import logger

from ...backends.errors import HolterError
from ...backends.urls import redacted
from ..settings import Settings
from .herald import Herald
from .steps import Step, open_store
from .tidier import Tidier
from .watchdog import Watchdog

__all__ = ["AlreadyWatching", "Herald", "Step", "Tidier", "Watchdog", "open_store", "watch"]

logger.disable("holter")  # quiet where it is embedded, as loguru asks of libraries; `watch` speaks up
TIDY_LOOK = 60.0  # seconds between looks whether it is time
NOTIFY_EVERY = 0.5  # seconds between looks at the transitions when nothing woke the alerting loop


class AlreadyWatching(HolterError, RuntimeError):
    """Another watchdog of this home is running."""


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
