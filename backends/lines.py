r"""One event, one line: how a journal is written and read.

A line is a JSON object in ASCII whose last key, `c`, is the CRC-32 (eight hex digits) of all bytes before `,"c":`:

    {"event":"end","run":"1kd3v8x2q7f4m9a0","at":1795413582.12,"state":"COMPLETED","c":"5d0c2f11"}\n

A line counts only when it ends in a newline and its checksum is right. Anything else is damage: it is counted,
it never stops the reading, and it costs no other line.
"""

from __future__ import annotations

from json import JSONDecoder, dumps
from zlib import crc32

TYPE_CHECKING = False  # typing costs 3 ms to import, and this module is on the way of every script's exit
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_SEAL = len(b',"c":"01234567"}')


def _refuse(name: str) -> None:
    """NaN and Infinity are no JSON."""
    raise ValueError(name)


# `decode` would look for white space that no line of ours has.
_READ = JSONDecoder(parse_constant=_refuse).raw_decode


def seal(body: bytes) -> bytes:
    """Close `body` (a JSON object without its last brace, ASCII) with checksum, brace and newline."""
    return b'%b,"c":"%08x"}\n' % (body, crc32(body))


def encode(event: dict[str, Any]) -> bytes:
    """One event as one sealed line. The hot path builds its lines itself, to the same effect."""
    return seal(dumps(event, separators=(",", ":"), allow_nan=False, default=str)[:-1].encode())


def decode(data: bytes, offset: int = 0) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield `(position, event)` for each line that ends in a newline; event is None where the line is damaged.

    `offset` is the journal position of `data[0]`. Bytes after the last newline are not looked at.
    """
    start, escaped = 0, b"\\u" in data  # one look at all is cheaper than one at each
    while (end := data.find(b"\n", start)) >= 0:
        if end > start:  # an empty line seals a torn one before it, and says nothing itself
            yield offset + start, _parse(data[start:end], escaped)
        start = end + 1


def batch(data: bytes, offset: int) -> list[tuple[int, dict[str, Any] | None]]:
    """The lines of one `append`, as `decode` gives them. Raises ValueError where the last one is not whole."""
    if whole(data) != len(data):
        raise ValueError("a batch ends in a newline")
    return list(decode(data, offset))


def whole(data: bytes) -> int:
    """Length of `data` up to and including its last newline."""
    return data.rfind(b"\n") + 1


def _parse(line: bytes, escaped: bool) -> dict[str, Any] | None:
    body, tail = line[:-_SEAL], line[-_SEAL:]
    if tail != b',"c":"%08x"}' % crc32(body):
        return None
    try:
        text = f"{body.decode('ascii')}}}"
        event: dict[str, Any]
        event, end = _READ(text)
    except (ValueError, RecursionError):
        return None
    if end != len(text) or not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    # PostgreSQL stores neither NUL nor lone surrogates, and a record must mean the same on every backend.
    if escaped and (b"\\u0000" in body or b"\\ud" in body.lower()):
        event = printable(event)
    return event


def printable(value: Any) -> Any:
    """The same JSON value with NUL and lone surrogates in its texts replaced by U+FFFD."""
    if isinstance(value, str):
        return "".join(["\ufffd" if _odd(char) else char for char in value]) if _odd(value) else value
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable(item) for item in value]
    return value


def _odd(text: str) -> bool:
    return "\0" in text or any("\ud800" <= char <= "\udfff" for char in text)
