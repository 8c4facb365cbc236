"""How a call ended: from the exception that left it to a state. Pure."""

from __future__ import annotations

import sys
from reprlib import repr as short  # shows also what cannot show itself

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Ending(NamedTuple):
        state: str
        reason: str | None = None
        exit_code: int | None = None
        signal: str | None = None
else:
    from collections import namedtuple

    Ending = namedtuple("Ending", "state reason exit_code signal", defaults=(None, None, None))


def ending_of(error: BaseException) -> Ending:
    """Only a normal return or `exit(0)` is success.

    `exit(n)` and `exit("text")` are FAILED with the exit code that the interpreter gives; Ctrl-C, the cancellation of
    an asyncio task and a generator that its consumer closes are CANCELLED; everything else is FAILED.
    """
    if isinstance(error, SystemExit):
        code: object = error.code
        # To Python 0.0 is a text to print, and status 1.
        if code is None or (isinstance(code, int) and code == 0):
            return Ending("COMPLETED", "exit(0)", 0)
        if isinstance(code, int):
            return Ending("FAILED", f"exit({code!r})", code & 0xFF)
        return Ending("FAILED", f"exit({repr(code) if isinstance(code, str) else short(code)})", 1)
    if isinstance(error, KeyboardInterrupt):
        return Ending("CANCELLED", "interrupted (Ctrl-C)", None, "SIGINT")
    if isinstance(error, GeneratorExit):
        return Ending("CANCELLED", "closed by its consumer")
    asyncio_errors = sys.modules.get("asyncio.exceptions")
    if asyncio_errors is not None and isinstance(error, asyncio_errors.CancelledError):
        return Ending("CANCELLED", "cancelled")
    # Whole: cut before it is cleaned, half a secret would stay.
    first_line = str(error).strip().partition("\n")[0]
    return Ending("FAILED", f"{type(error).__name__}: {first_line}".rstrip(": "))
