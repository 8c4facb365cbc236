"""Signals to `holter run`, passed on to the command's whole group.

A signal that this process was started to ignore (`nohup`, a background job) stays ignored, here and in the command.
Where there is no command yet, or none any more, a signal that ends processes ends the waiting.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from .children import Child

    T = TypeVar("T")

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
PASSED_ON = (*ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


class Told(BaseException):
    """This process was told to end by signal `number` while no command ran."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Relay:
    """Passes signals on from the moment it is made. `told` is the last of the ENDING ones, or None; `wake` is a
    non-blocking descriptor that becomes readable on any signal, SIGCHLD among them."""

    def __init__(self) -> None:
        """Install the handlers. Raises ValueError outside the main thread."""
        self.told: int | None = None
        self._child: Child | None = None
        self._may_raise = False
        self.wake, written = os.pipe()
        for fd in (self.wake, written):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # ignored, it would let the exit status go
        for number in PASSED_ON:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def watch(self, child: Child | None) -> None:
        """From now on signals are for this command; one that came while it was starting is sent at once."""
        self._child = child
        if child is not None and self.told is not None:
            child.send(self.told)

    def interruptible(self, wait: Callable[[], T]) -> T:
        """Call `wait`; raises Told out of it when an ending signal comes, or has come before."""
        self._may_raise = True
        try:
            if self.told is not None:
                raise Told(self.told)
            return wait()
        finally:
            self._may_raise = False

    def _on_signal(self, number: int, frame: Any) -> None:
        if number in ENDING:
            self.told = number
        if self._child is not None:
            self._child.send(number)
        elif self._may_raise and number in ENDING:
            raise Told(number)
