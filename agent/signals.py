"""SIGTERM and SIGHUP end a script without telling it why; we write it down, and then the signal does its work.

Only where the signal has its default action, and only in the main thread (elsewhere Python refuses): a handler of the
user's stays as it is. The wait status that the parent sees is the same as without us. SIGINT needs nothing: Python
raises KeyboardInterrupt, which passes through the decorated function.

Not guaranteed: Python runs handlers between two bytecodes, so while the main thread is inside C code that does not come
back, these two signals wait for it.
"""

from __future__ import annotations

import _signal  # the signal module adds enums, at 3 ms of import
import os

from . import recorder, wakeups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

last_words: list[Callable[[], object]] = []  # what else is to be done before such a signal ends the process
_dying = False
_NAMES = {_signal.SIGTERM: "SIGTERM", _signal.SIGHUP: "SIGHUP"}


def watch() -> bool:
    """Install the handlers where nobody else has; False where it must be tried again from the main thread.

    Process 1 of a container gets none: the kernel ignores there what has its default action, and so must we.
    """
    if os.getpid() == 1:
        return True
    try:
        for number in _NAMES:
            if _signal.getsignal(number) == _signal.SIG_DFL:
                _signal.signal(number, _record_and_die)
        wakeups.open_ears()
    except ValueError:  # not the main thread
        return False
    except OSError:  # no descriptor left
        return True
    return True


def unheard(number: int) -> bool:
    """Whether the handler of this signal is ours and has not begun."""
    return number in _NAMES and not _dying and _signal.getsignal(number) is _record_and_die


def _record_and_die(number: int, frame: Any) -> None:
    global _dying
    _dying = True
    name = _NAMES[number]
    recorder.end_all("CRASHED", f"terminated by {name}", signal=name)
    for say in last_words:
        say()
    _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)
