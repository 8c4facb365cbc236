"""The thread that holds this process's leases: it asks, renews and gives back, with a store handle of its own.

Nobody else touches the store for a lease, so however long a store hangs, the code inside a block does not notice; and
a second thread, which touches no store, says in time when a lease is lost. Both are bare `_thread` ones, as the
shipper's: nobody's to list, to join or to wait for. A forked child has neither the threads nor the leases.
"""

from __future__ import annotations

import _thread
import atexit
import os

from ..backends.clock import SYSTEM, Clock, uniform
from ..backends.errors import StorageError
from . import shipper, signals, tape
from .bare_threads import held_lock, in_main_interpreter, start_joinable
from .knobs import knobs
from .leases import GONE, HELD, KIND, LOST, REFUSED, WAITING, Lease, Sight, boot, empty, turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..backends.base import Backend

CALL_SECONDS = 5.0  # that the store may take for an answer; of a short lease a third
QUICKEST, SLOWEST = 0.02, 1.0  # seconds between two looks of a waiter
RACES = 8  # puts in a row that somebody else was faster with, before others have their turn
IDLE = 10.0  # seconds after which a store that is not needed is closed
EXIT_SECONDS = 1.0


class Keeper:
    """Keeps leases in the store that `open_store(timeout)` opens. `add` one and look at its `state`; `wake` the keeper
    when it shall see at once that one is `leaving`. Its `listener(lease, lost)` is called when a lease that was held is
    lost, and when it was not lost after all."""

    def __init__(self, open_store: Callable[[float], Backend], clock: Clock = SYSTEM) -> None:
        self._open_store, self._clock = open_store, clock
        self._leases: dict[str, Lease] = {}
        self._sights: dict[str, Sight] = {}
        self._store: Backend | None = None
        self._timeout = 0.0
        self._idle_since: float | None = None
        self._wake, self._lock = held_lock(), _thread.allocate_lock()
        self._running = self._watching = self._closing = False
        self._done = held_lock()

    def add(self, lease: Lease) -> None:
        """Raises StorageError where no thread can be started: what nobody renews must not be held."""
        self._leases[lease.id] = lease
        with self._lock:
            try:
                self._start()
            except RuntimeError as error:
                del self._leases[lease.id]
                raise StorageError(
                    f"no thread can be started to renew a lease: {error}", hint="raise the limit of processes"
                ) from error
        self.wake()

    def wake(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:  # it is awake already
            return

    def _start(self) -> None:
        if not in_main_interpreter():
            raise RuntimeError("this is a sub-interpreter")
        import threading  # noqa: F401 - in the caller's thread, for the reason that `Shipper.start` has

        if not self._running:
            self._join = start_joinable(self._run)
            self._running = True
        if not self._watching:
            _thread.start_new_thread(self._watch, ())
            self._watching = True

    def let_go(self, seconds: float = EXIT_SECONDS) -> None:
        """Give everything back, in at most so many seconds; what cannot be given back runs out by itself."""
        for lease in list(self._leases.values()):
            lease.listener = None
            lease.leaving = True
        self.wake()
        end = self._clock.monotonic() + seconds
        while self._leases and self._clock.monotonic() < end:
            self._clock.sleep(0.002)

    def close(self) -> None:
        """Let go of everything, and end the thread."""
        self.let_go()
        self._closing = True
        if self._running:
            self.wake()
            if self._done.acquire(timeout=EXIT_SECONDS):
                self._join(EXIT_SECONDS)

    # --- the keeping thread ---

    def _run(self) -> None:
        while not self._closing:
            pause = self._round()
            self._wake.acquire(timeout=pause)
        self._drop_store()
        self._done.release()

    def _round(self) -> float:
        """Visit every limit of which something is due; return the seconds until the next is."""
        leases = list(self._leases.values())
        now = self._clock.monotonic()
        for limit in dict.fromkeys(
            lease.limit for lease in leases if lease.look_at <= now or (lease.leaving and lease.error is None)
        ):
            self._visit(limit)
        if not self._leases:
            return self._rest()
        self._idle_since = None
        now = self._clock.monotonic()
        return max(0.0, min([lease.look_at - now for lease in list(self._leases.values())], default=0.0))

    def _rest(self) -> float:
        if self._store is None:
            return 3600.0
        now = self._clock.monotonic()
        self._idle_since = self._idle_since or now
        if now - self._idle_since < IDLE:
            return IDLE
        self._drop_store()
        self._sights.clear()
        return 3600.0

    def _visit(self, limit: str) -> None:
        leases = [lease for lease in list(self._leases.values()) if lease.limit == limit]
        began = self._clock.monotonic()
        try:
            self._settle(limit, leases)
        except BaseException as error:  # noqa: BLE001 - a driver's panic must not end the thread that renews
            now = self._clock.monotonic()
            for lease in leases:
                lease.error = error if isinstance(error, Exception) else RuntimeError(repr(error))
                lease.failing_since = lease.failing_since or began
                lease.look_at = now + uniform(0.5, 1.0) * min(1.0, lease.seconds / 10)
            if not isinstance(error, StorageError):
                self._drop_store()

    def _settle(self, limit: str, leases: list[Lease]) -> None:
        """One turn for these leases, as often as somebody else was faster."""
        store = self._opened(min(CALL_SECONDS, *(lease.seconds / 3 for lease in leases)))
        sight = self._sights.setdefault(limit, Sight(boot()))
        for race in range(RACES):
            began = self._clock.monotonic()
            found = store.get(KIND, limit)
            doc = found.value if found else empty()
            now = self._clock.monotonic()
            sight.look(doc, now)
            changed, news = turn(doc, leases, sight, now, self._clock.wall())
            if not changed or store.put(KIND, limit, doc, found.version if found else 0) is not None:
                for lease, state, holder in news:
                    self._tell(lease, state, holder, began)
                return
            self._clock.sleep(uniform(0.0, 0.002 * 2**race))
        for lease in leases:  # so many are at it that it is time to let the store rest
            lease.look_at = self._clock.monotonic() + uniform(0.0, SLOWEST / 4)

    def _tell(self, lease: Lease, state: str | None, holder: Any, began: float) -> None:
        lease.told(state, holder, began)
        now = self._clock.monotonic()
        if lease.state in (GONE, REFUSED, LOST):
            self._leases.pop(lease.id, None)
        elif lease.state == WAITING:
            lease.looks += 1
            lease.look_at = now + min(SLOWEST, QUICKEST * lease.looks, lease.seconds / 10)
        else:
            lease.look_at = lease.renew_at
        if lease.state == LOST:
            lease.until = 0.0
            self._announce(lease, True)
        elif lease.state == HELD and lease.lost:
            self._announce(lease, False)

    def _opened(self, timeout: float) -> Backend:
        if self._store is not None and timeout < self._timeout:
            self._drop_store()
        if self._store is None:
            with shipper.loading:
                self._store, self._timeout = self._open_store(timeout), timeout
        return self._store

    def _drop_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            tape.harmless(store.close)()

    # --- the watching thread ---

    def _watch(self) -> None:
        """Says when a lease was not renewed in time, also while the keeping thread is stuck in the store."""
        while True:
            with self._lock:
                held = [lease for lease in list(self._leases.values()) if lease.token is not None]
                if not self._leases or self._closing:
                    self._watching = False
                    return
            now = self._clock.monotonic()
            for lease in held:
                if now >= lease.until and not lease.leaving:
                    self._announce(lease, True)
            self._clock.sleep(
                max(0.005, min([0.25, *(lease.until - now for lease in held if not lease.lost)]))
            )

    def _announce(self, lease: Lease, lost: bool) -> None:
        with self._lock:  # both threads may see it
            if lease.lost == lost or (lost and self._clock.monotonic() < lease.until):
                return
            lease.lost = lost
            listener = lease.listener
        if listener is not None:
            tape.harmless(listener)(lease, lost)


def keeper() -> Keeper:
    """This process's keeper, made on first use."""
    global _keeper
    if _keeper is None:
        _keeper = Keeper(_open_store)
        if not tape.process.signals:
            tape.process.signals = signals.watch()
    return _keeper


def _open_store(timeout: float) -> Backend:
    from ..backends.urls import open_backend

    settings = knobs()
    return open_backend(settings.backend, settings.home, timeout=timeout)


def _at_exit() -> None:
    global _keeper
    if _keeper is not None:
        _keeper.close()
        _keeper = None


def _last_words() -> None:
    if _keeper is not None:
        _keeper.let_go()


def _forget() -> None:
    """A forked child neither renews nor gives back what its parent holds."""
    global _keeper
    _keeper = None


_keeper: Keeper | None = None
signals.last_words.append(_last_words)
atexit.register(_at_exit)
os.register_at_fork(after_in_child=_forget)
