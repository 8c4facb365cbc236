"""What `holter top` reads, in a thread of its own: a store that does not answer must not take the keys with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from rich.text import Text

from ...backends.base import Backend
from ...backends.clock import SYSTEM
from ...backends.errors import HolterError, StorageError
from ...backends.queries import LogQuery, RunQuery
from ...backends.records import Run
from ...backends.urls import open_backend
from ..lookup import descendants
from ..settings import Settings
from ..watchdog.adopt import catch_up
from .desk import TIMEOUT
from .logs import Printer
from .show import whole
from .top_app import Wish
from .top_picture import Observer

LINES = 1000  # of a run's last lines
SPARE = 4.0  # times as long as a look took, the store is left alone after it
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "dim", "TRACE": "dim"}
Answer = tuple[Wish, Any, BaseException | None]  # what was wished for, what was read, or why it could not be


class Reader:
    """Reads what is wished for every `interval` seconds, and at once when the wish changes; `wake` is called after each
    look. A store that fails is opened anew the next time."""

    def __init__(
        self, settings: Settings, query: RunQuery, interval: float, wake: Callable[[], None], unicode: bool
    ) -> None:
        self._settings, self._query, self._unicode = settings, query, unicode
        self._interval, self._wake = interval, wake
        self._wish, self._closing = Wish("list"), False
        self._kick = threading.Event()
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="holter-top", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Waits half a second at most: a look that hangs ends with the process."""
        self._closing = True
        self._kick.set()
        self._thread.join(0.5)

    def want(self, wish: Wish) -> None:
        if wish != self._wish:
            self._wish = wish
            self._kick.set()

    def answers(self) -> Iterator[Answer]:
        """What has been read since the last call."""
        with suppress(Empty):
            while True:
                yield self._answers.get_nowait()

    # --- in the thread ---

    def _work(self) -> None:
        while not self._closing:
            self._looks()

    def _looks(self) -> None:
        """One connection's looks: until one fails, or the end."""
        store: Backend | None = None
        try:
            store = open_backend(self._settings.backend, self._settings.home, timeout=TIMEOUT)
            observer = Observer(self._settings, store, self._query)
            while not self._closing:
                began, wish = SYSTEM.monotonic(), self._wish
                self._tell((wish, self._look(store, observer, wish), None))
                self._rest(max(self._interval, SPARE * (SYSTEM.monotonic() - began)))
        except Exception as error:  # noqa: BLE001 - handed to the main thread, which shows or raises it
            self._tell((self._wish, None, error))
            self._rest(self._interval)
        finally:
            if store is not None:
                store.close()

    def _tell(self, answer: Answer) -> None:
        self._answers.put(answer)
        self._wake()

    def _rest(self, seconds: float) -> None:
        if self._kick.wait(seconds):
            self._kick.clear()

    def _look(self, store: Backend, observer: Observer, wish: Wish) -> Any:
        with suppress(StorageError):  # it can be read, though not be brought up to date
            catch_up(self._settings.home, store)
        now = SYSTEM.wall()
        if wish.what == "list":
            return observer.look(now)
        run = store.run(wish.run_id)
        if run is None:
            return [Text("The store has no such run any more.")]
        return self._whole(store, run, now) if wish.what == "run" else _lines(store, run)

    def _whole(self, store: Backend, run: Run, now: float) -> list[Any]:
        last = store.logs(LogQuery(run.id, limit=10, last=True))
        return list(whole(run, descendants(store, run), last, now, unicode=self._unicode))


def _lines(store: Backend, run: Run) -> list[Text]:
    said = store.logs(LogQuery(run.id, limit=LINES, last=True))
    printer = Printer(store, run, colours=False)
    if not said:
        return [Text("It said nothing yet." if not run.ended else "It said nothing.", "dim")]
    shown = [
        Text(row, _COLOURS.get(log.level.upper(), ""))
        for log in sorted(said, key=lambda log: (log.at, log.seq))
        for row in printer.text_of(log).expandtabs().split("\n")
    ]
    end = Text(f"It ended: {run.state}", "dim") if run.ended else Text("It goes on.", "dim")
    return [*shown, end]


def known(error: BaseException) -> bool:
    """Whether an error is the store's business, and passes."""
    return isinstance(error, HolterError | OSError)
