"""`timeout_seconds` for code that runs in this process.

* Main thread: an interval timer (SIGALRM) interrupts Python code and blocking system calls alike.
* Other threads, or where somebody else uses SIGALRM: the exception is set on the thread; Python delivers it between two
  bytecodes, so a call that blocks inside C is interrupted only when it comes back.
* Coroutines: `asyncio.timeout`, at the next await.

Not guaranteed: what never comes back to Python (C code; in a thread any blocking call; a coroutine that blocks its
loop) cannot be ended from inside its process. The run is TIMED_OUT as soon as it does come back; if it does not, the
watchdog ends the process, a few seconds past the limit.
"""

from __future__ import annotations

import _signal
import os
import time

from ..backends.errors import RunTimeout
from .tape import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

_alarms: list[Deadline] = []  # of the main thread, outermost first
AGAIN = 0.1  # seconds
_GUARD = harmless(lambda: None).__code__
_CALLS_OUT = ("_delay_after", "_hook", "_run_name")  # guarded functions that call the user's


class Deadline:
    """`with Deadline(seconds):` raises RunTimeout inside the block when the time is up. `fired` tells whose it was."""

    __slots__ = ("_armed", "_lock", "_thread", "_timer", "at", "fired", "seconds")
    error: type[RunTimeout] = RunTimeout

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.fired = False
        self._timer: Any = None

    @property
    def message(self) -> str:
        return f"ran longer than timeout_seconds={self.seconds:g}"

    def __enter__(self) -> Deadline:
        self.at = time.monotonic() + self.seconds
        if not self._arm_alarm():
            self._arm_thread()
        return self

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._disarm_thread()
        elif self in _alarms:
            _alarms.remove(self)
            _set_alarm()
        # C code held the GIL, and nobody could interrupt it.
        if error[0] is None and time.monotonic() >= self.at:
            self.fired = True
            raise self.error(self.message)

    def _arm_alarm(self) -> bool:
        """Take SIGALRM if it is ours or nobody's; False in other threads and where the user has it."""
        holder = _signal.getsignal(_signal.SIGALRM)
        if holder is _on_alarm:
            if not _in_main_thread():
                return False
        elif holder != _signal.SIG_DFL or _signal.getitimer(_signal.ITIMER_REAL)[0]:
            return False
        else:
            try:
                _signal.signal(_signal.SIGALRM, _on_alarm)
            except ValueError:  # not the main thread
                return False
        _alarms.append(self)
        _set_alarm()
        return True

    def _arm_thread(self) -> None:
        import threading

        self._armed = True
        self._lock = threading.Lock()
        self._thread = threading.get_ident()
        self._timer = threading.Timer(self.seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        with self._lock:  # else the block could be left between the question and the deed
            if self._armed:
                self.fired = True
                _raise_in(self._thread, self.error)

    def _disarm_thread(self) -> None:
        with self._lock:
            self._armed = False
        self._timer.cancel()
        if self.fired:
            _raise_in(self._thread, None)  # set but not delivered: take it back


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    import ctypes

    target = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), target)


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


def _set_alarm() -> None:
    """Set the timer to the earliest deadline, or give SIGALRM back; where the user took it meanwhile, let it be."""
    if _signal.getsignal(_signal.SIGALRM) is not _on_alarm:
        return
    if _alarms:
        first = min(deadline.at for deadline in _alarms)
        # Repeated: one that comes just before the main thread blocks interrupts nothing.
        _signal.setitimer(_signal.ITIMER_REAL, max(1e-6, first - time.monotonic()), AGAIN)
    else:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)


def _on_alarm(number: int, frame: FrameType | None) -> None:
    if _is_writing(frame):
        _signal.setitimer(_signal.ITIMER_REAL, 0.001, AGAIN)
        return
    now = time.monotonic()
    due = next((deadline for deadline in _alarms if deadline.at <= now), None)
    if due is not None:
        due.fired = True
        del _alarms[_alarms.index(due) :]  # what runs inside it is over with it, and not for its own slowness
    _set_alarm()
    if due is not None:
        raise due.error(due.message)


def _is_writing(frame: FrameType | None) -> bool:
    """Whether the alarm met us while we write something down, which must not be left half done."""
    called = ""
    while frame is not None:
        if frame.f_code is _GUARD:
            return called not in _CALLS_OUT
        called, frame = frame.f_code.co_name, frame.f_back
    return False


def _forget() -> None:
    """A forked child does not inherit the timer, nor what it was set for."""
    _alarms.clear()
    if _signal.getsignal(_signal.SIGALRM) is _on_alarm:
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget)
