"""`timeout_seconds` for code that runs in this process.

* Main thread: an interval timer (SIGALRM) interrupts Python code and blocking system calls alike.
* Other threads, or where somebody else uses SIGALRM: the exception is set on the thread; Python delivers it between two
  bytecodes, so a call that blocks inside C is interrupted only when it comes back.
* Coroutines: `asyncio.timeout`, at the next await.

Not guaranteed: C code that never comes back cannot be ended from inside its process. The run is TIMED_OUT as soon as
it does come back.
"""

from __future__ import annotations

import _signal
import time

from ..backends.errors import RunTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_alarms: list[Deadline] = []
_previous: Any = None


class Deadline:
    """`with Deadline(seconds):` raises RunTimeout inside the block when the time is up. `fired` tells whose it was."""

    __slots__ = ("_armed", "_timer", "at", "fired", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.fired = False
        self._armed = False
        self._timer: Any = None

    def __enter__(self) -> Deadline:
        self.at = time.monotonic() + self.seconds
        self._armed = True
        if not self._arm_alarm():
            self._arm_thread()
        return self

    def __exit__(self, *error: object) -> None:
        self._armed = False
        if self in _alarms:
            _alarms.remove(self)
            _arm_next()
        elif self._timer is not None:
            self._timer.cancel()
            if self.fired and not isinstance(error[1], RunTimeout):
                _raise_in(self._timer.thread, None)  # set but not delivered: take it back

    def _arm_alarm(self) -> bool:
        """Take SIGALRM if it is ours or nobody's; False in other threads and where the user has it."""
        global _previous
        try:
            if not _alarms:
                if _signal.getsignal(_signal.SIGALRM) != _signal.SIG_DFL or _signal.getitimer(_signal.ITIMER_REAL)[0]:
                    return False
                _previous = _signal.signal(_signal.SIGALRM, _on_alarm)
            elif not _in_main_thread():
                return False
        except ValueError:  # not the main thread
            return False
        _alarms.append(self)
        _arm_next()
        return True

    def _arm_thread(self) -> None:
        import threading

        self._timer = _Timer(self, threading.get_ident())
        self._timer.start()

    def expire(self) -> bool:
        """Mark as fired if it is still wanted."""
        self.fired = self._armed
        return self._armed

    def error(self) -> RunTimeout:
        return RunTimeout(f"ran longer than timeout_seconds={self.seconds:g}")


def _Timer(deadline: Deadline, thread: int) -> Any:
    import threading

    def expire() -> None:
        if deadline.expire():
            _raise_in(thread, RunTimeout)

    timer = threading.Timer(deadline.seconds, expire)
    timer.daemon = True
    timer.thread = thread  # type: ignore[attr-defined]
    return timer


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    import ctypes

    target = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), target)


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


def _arm_next() -> None:
    """Set the timer to the earliest deadline, or give SIGALRM back."""
    if _alarms:
        first = min(deadline.at for deadline in _alarms)
        _signal.setitimer(_signal.ITIMER_REAL, max(1e-6, first - time.monotonic()))
    else:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, _previous)


def _on_alarm(number: int, frame: Any) -> None:
    now = time.monotonic()
    due = [deadline for deadline in _alarms if deadline.at <= now and not deadline.fired and deadline.expire()]
    waiting = [deadline for deadline in _alarms if not deadline.fired]
    if waiting:
        first = min(deadline.at for deadline in waiting)
        _signal.setitimer(_signal.ITIMER_REAL, max(1e-6, first - now))
    if due:
        raise due[0].error()
