"""What a command says: passed on byte for byte, and kept as log lines within bounds.

All of it is kept up to HEAD. Beyond that the last TAIL is held in memory until the command ends, and of what
falls out between the two only lines that look like errors are kept, up to ERRORS; the rest is counted. The three
count what the record takes: the text, and LINE_COST for each line, so a flood of short lines is bounded too.
Memory: about twice TAIL, however much the command says.
"""

from __future__ import annotations

import os
from collections import deque
from errno import ENOSPC
from select import select

from ..backends.clock import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    class Block(NamedTuple):
        stream: str
        at: float
        data: bytes
        cost: int
else:
    from collections import namedtuple

    Block = namedtuple("Block", "stream at data cost")

LINE_COST = 100  # bytes that one line takes in a record beside its text
HEAD = 16 * 2**20
TAIL = 2 * 2**20
ERRORS = 2**20
PIECE = 64 * 1024  # bytes: a longer line, or binary output without any, is kept in pieces
OURS = "holter"  # stream of the lines that say what was left out
_WORDS = (b"error", b"exception", b"traceback", b"fatal", b"fail", b"panic", b"critical")


class Mirror:
    """Our own output. A stream that nobody reads any more is let go; the command does not notice."""

    def __init__(self, streams: dict[str, int]) -> None:
        """`streams` are the descriptors by name."""
        self._open = dict(streams)

    def write(self, stream: str, data: bytes) -> None:
        """Write all of `data` at once, waiting where the reader is slow. Never raises."""
        fd = self._open.get(stream)
        rest = memoryview(data)
        while fd is not None and rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:  # somebody made our stdout non-blocking
                select([], [fd], [])
            except OSError as error:
                if error.errno != ENOSPC:  # a full disk may have room again for the next piece
                    del self._open[stream]
                return


class Keeper:
    """Turns bytes of the streams "stdout" and "stderr" into lines for `write(stream, text, at)`.

    Lines of one stream keep their order; a line that looks like an error and fell out of the tail is written when it
    falls out. After `finish`, `lines_left_out` and `bytes_left_out` count what was not written, and `complaint` is the
    last line written that looks like an error, else the last one of stderr, else "".
    """

    def __init__(
        self,
        write: Callable[[str, str, float], None],
        head: int = HEAD,
        tail: int = TAIL,
        errors: int = ERRORS,
    ) -> None:
        self.lines_left_out = 0
        self.bytes_left_out = 0
        self._write = write
        self._head, self._tail, self._errors = head, tail, errors
        self._unfinished = {"stdout": b"", "stderr": b""}
        self._held: deque[Block] = deque()
        self._held_cost = 0
        self._last = {"error": "", "stderr": ""}

    @property
    def complaint(self) -> str:
        return self._last["error"] or self._last["stderr"]

    def feed(self, stream: str, data: bytes) -> None:
        """Take the next bytes of a stream, cut anywhere."""
        end = data.rfind(b"\n") + 1
        rest = self._unfinished[stream]
        if not end and len(rest) + len(data) < PIECE:
            self._unfinished[stream] = rest + data
            return
        if not end:
            data, end = rest + data, _whole_characters(rest + data)
            rest = b""
        self._unfinished[stream] = data[end:]
        self._take(stream, rest + data[:end])

    def finish(self) -> None:
        """The command ended: write the last line, if it had no newline, and the tail."""
        for stream, rest in self._unfinished.items():
            if rest:
                self._unfinished[stream] = b""
                self._take(stream, rest)
        if self.lines_left_out:
            self._note(f"... {self.bytes_left_out} bytes in {self.lines_left_out} lines left out ...")
        while self._held:
            self._put(self._held.popleft())

    def _take(self, stream: str, data: bytes) -> None:
        block = Block(stream, SYSTEM.wall(), data, len(data) + LINE_COST * (data.count(b"\n") or 1))
        if block.cost <= self._head:
            self._head -= block.cost
            return self._put(block)
        self._head = 0  # from here on everything goes through the tail, or lines would change places
        self._held.append(block)
        self._held_cost += block.cost
        while self._held_cost - self._held[0].cost >= self._tail:
            self._drop(self._held.popleft())

    def _put(self, block: Block) -> None:
        for line in error_lines(block.data)[-1:]:
            self._last["error"] = _text(line)
        for text in _text(block.data).split("\n"):
            self._write(block.stream, text, block.at)
            if block.stream == "stderr" and text.strip():
                self._last["stderr"] = text

    def _drop(self, block: Block) -> None:
        """The block falls out of the tail: its error lines are written while their budget lasts, the rest counted."""
        if not self.lines_left_out:
            self._note("... the output is long: from here on, lines that look like errors, then its end ...")
        self._held_cost -= block.cost
        lines, size = block.data.count(b"\n") or 1, len(block.data)
        for line in error_lines(block.data) if self._errors > 0 else ():
            self._errors -= len(line) + LINE_COST
            if self._errors <= 0:
                break
            self._last["error"] = text = _text(line)
            self._write(block.stream, text, block.at)
            lines, size = lines - 1, size - len(line) - 1
        self.lines_left_out += lines
        self.bytes_left_out += max(size, 0)

    def _note(self, text: str) -> None:
        self._write(OURS, text, SYSTEM.wall())


def error_lines(data: bytes) -> list[bytes]:
    """The lines that contain a word like error or failed, in any case."""
    lower = data.lower()
    if not any(word in lower for word in _WORDS):  # the usual case, at the speed of memory
        return []
    return [line for line in data.split(b"\n") if any(word in line.lower() for word in _WORDS)]


def _text(data: bytes) -> str:
    """Without the last newline; bytes that are no UTF-8 as \\xNN."""
    return data.removesuffix(b"\n").decode("utf-8", "backslashreplace")


def _whole_characters(data: bytes) -> int:
    """Length of `data` without the beginning of a UTF-8 character that its end cuts."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            width = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return len(data) - back if width > back else len(data)
    return len(data)
