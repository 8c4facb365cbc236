"""The terminal as a picture and keys: the alternate screen, entered and left whatever happens in between."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
ESCAPE_WAIT = 0.025  # seconds in which the rest of a key's sequence follows its escape
_NAMES = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "first",
    "\x1b[1~": "first",
    "\x1bOH": "first",
    "\x1b[F": "last",
    "\x1b[4~": "last",
    "\x1bOF": "last",
    "\x1b": "back",
    "\x7f": "back",
    "\r": "enter",
    "\n": "enter",
}


class FullScreen:
    """Inside the block: `draw` lines, wait for `keys`. `wake` may be called from another thread.

    SIGTERM and SIGHUP become SystemExit (128+n), Ctrl-C KeyboardInterrupt; Ctrl-Z gives the terminal back until `fg`.
    Only the main thread may enter it.
    """

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._in, self._shown = sys.stdin.fileno(), ""
        self._size = (0, 0)

    def __enter__(self) -> FullScreen:
        self._before = termios.tcgetattr(self._in)
        self._woken, self._waker = os.pipe()
        for end in (self._woken, self._waker):
            os.set_blocking(end, False)
        self._handlers = {
            number: signal.signal(number, action)
            for number, action in (
                (signal.SIGTERM, self._stop),
                (signal.SIGHUP, self._stop),
                (signal.SIGTSTP, self._suspend),
                (signal.SIGWINCH, self._resized),
            )
        }
        self._fd = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        try:
            self._enter()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
        signal.set_wakeup_fd(self._fd)
        for number, action in self._handlers.items():
            signal.signal(number, action)
        os.close(self._woken)
        os.close(self._waker)

    def _enter(self) -> None:
        self._shown = ""
        tty.setcbreak(self._in, termios.TCSADRAIN)
        self._write(ENTER)

    def _leave(self) -> None:
        with suppress(OSError, termios.error):  # the window is closed: there is nothing to give back
            self._write(LEAVE)
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    # --- signals ---

    def _stop(self, number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def _suspend(self, number: int, _: FrameType | None) -> None:
        self._leave()
        held = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, held)
        self._enter()

    def _resized(self, *_: Any) -> None:
        """The wakeup descriptor has ended the wait."""

    def wake(self) -> None:
        """End the wait for keys."""
        with suppress(OSError):  # full, so it will wake anyway; or closed, and nobody waits
            os.write(self._waker, b"\0")

    # --- the picture ---

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, now."""
        with suppress(OSError):
            columns, lines = os.get_terminal_size(sys.stdout.fileno())
            if columns and lines:
                return columns, lines
        return shutil.get_terminal_size()

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines, from the top; what was there goes. Each fits the width. Nothing is written where nothing
        changed."""
        rows = [self._ansi(each) for each in lines]
        # erased before it is written: after a line that fills the window the cursor still stands on its last sign
        frame = "\x1b[H" + "\r\n".join(f"\x1b[K{row}" for row in rows)
        if len(rows) < self.size[1]:
            frame += "\r\n\x1b[J"
        if self._size != self.size:
            self._size, self._shown = self.size, ""  # what is cut off by one size is not there in the next
        if frame != self._shown:
            self._write(frame)
            self._shown = frame

    def _ansi(self, text: Text) -> str:
        with self._console.capture() as caught:
            self._console.print(text, end="", soft_wrap=True)
        return caught.get()

    def render(self, parts: Sequence[Any], width: int) -> list[Text]:
        """Anything that rich draws, as lines."""
        from rich.segment import Segment

        options = self._console.options.update(width=width)
        return [
            Text.assemble(*((segment.text, segment.style or "") for segment in Segment.simplify(row)))
            for part in parts
            for row in self._console.render_lines(part, options, pad=False)
        ]

    # --- keys ---

    def keys(self, timeout: float) -> Iterator[str]:
        """The keys that were pressed, by name or sign; none after `timeout` seconds or a `wake`. Raises EOFError where
        the terminal is gone."""
        ready, _, _ = select.select([self._in, self._woken], [], [], max(0.0, timeout))
        if self._woken in ready:
            with suppress(BlockingIOError):
                os.read(self._woken, 4096)
        if self._in in ready:
            data = os.read(self._in, 4096)
            if not data:
                raise EOFError
            if data.endswith(b"\x1b") and select.select([self._in], [], [], ESCAPE_WAIT)[0]:
                data += os.read(self._in, 4096)
            yield from split(data.decode(errors="ignore"))


def split(text: str) -> Iterator[str]:
    """The keys in what a terminal sent: `up`, `page down`, `enter`, `back`, `j`. Unknown sequences are left out."""
    while text:
        long = 1
        if text[0] == "\x1b" and text[1:2] in ("[", "O"):
            long = 3
            while text[1] == "[" and long < len(text) and not ("@" <= text[long - 1] <= "~"):
                long += 1
        key, text = text[:long], text[long:]
        name = _NAMES.get(key, key)
        if name.isprintable():
            yield name
