"""A signal that comes just before the main thread blocks is handled by Python only once that call returns: a
`sleep(3600)` sleeps on. The gap is a microsecond in a program of one thread; a second thread that wants the interpreter
makes it a hundred times as long, and we have one. So our thread hears of each signal, and interrupts the main thread
again where the handler did not begin.

It hears by `signal.set_wakeup_fd`, where nobody else does, through a socket that says whose process the signal met: a
child shares the descriptor until its `exec`, and its signals are none of ours.

Not guaranteed: where the program sets a wake-up descriptor of its own (asyncio's `add_signal_handler`, Trio), or
outside Linux; there the gap stays. Nor for SIGINT, which has a handler of Python's own.
"""

from __future__ import annotations

import _signal
import os
import sys
import time
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CREDENTIALS = 12  # bytes: pid, user and group of the sender, three C ints
REMINDERS = (0.02, 0.05, 0.2, 1.0)  # seconds from one to the next
PAUSE = 0.02  # seconds between two looks: a program may live on signals
_ears = _mouth = -1
_main_thread = 0


def open_ears() -> None:
    """Begin to hear of signals. Call it in the main thread."""
    global _ears, _mouth, _main_thread
    if _ears >= 0 or not sys.platform.startswith("linux") or "trio" in sys.modules:  # it would warn of us
        return
    import _socket  # the socket module adds enums, at 4 ms of import

    ears, mouth = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    ears.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
    mouth.setblocking(False)
    # Bare descriptors: an object would complain at the interpreter's end that nobody closed it.
    _main_thread, _ears, _mouth = get_ident(), ears.detach(), mouth.detach()
    taken = _signal.set_wakeup_fd(_mouth, warn_on_full_buffer=False)
    if taken >= 0:
        _signal.set_wakeup_fd(taken)
        _close()


def listen(seconds: float, unheard: Callable[[int], bool]) -> None:
    """Pass the time; meanwhile have the main thread handle each signal for which `unheard(number)` is true."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        number = _next_signal(left)
        for pause in REMINDERS:
            if not unheard(number):
                break
            time.sleep(pause)
            if unheard(number):
                _signal.pthread_kill(_main_thread, number)
        time.sleep(PAUSE)


def _next_signal(seconds: float) -> int:
    """The number of the next one that meets this process; 0 after so many seconds, or for another's."""
    if _ears < 0:
        time.sleep(seconds)
        return 0
    import _socket

    try:
        ears = _socket.socket(fileno=_ears)
        try:
            ears.settimeout(seconds)
            data, ancillary, _, _ = ears.recvmsg(1, _socket.CMSG_SPACE(CREDENTIALS))
        finally:
            ears.detach()
    except OSError:  # nothing came, or the program closed all descriptors
        time.sleep(PAUSE)
        return 0
    sender = int.from_bytes(ancillary[0][2][:4], sys.byteorder) if ancillary else 0
    return data[0] if sender == os.getpid() else 0


def _close() -> None:
    global _ears, _mouth
    for fd in (_ears, _mouth):
        os.close(fd)
    _ears = _mouth = -1


def _after_fork_in_child() -> None:
    """The child's signals are not the parent's, who shares the socket."""
    if _ears < 0:
        return
    other = _signal.set_wakeup_fd(-1)
    if other not in (-1, _mouth):
        _signal.set_wakeup_fd(other)
    _close()


os.register_at_fork(after_in_child=_after_fork_in_child)
