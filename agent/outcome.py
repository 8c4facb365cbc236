"""How a command ended, in the words of a run, and whether that is worth another attempt. Pure."""

from __future__ import annotations

import re
import signal
from hashlib import blake2b

from .endings import Ending
from .secrets import clean
from .trouble import EXIT_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

TIMED_OUT = 124  # exit code, as GNU timeout has it


def judge(
    code: int,
    *,
    told: int | None = None,
    timeout: float | None = None,
    complaint: str = "",
    starved: bool = False,
) -> Ending:
    """How a command ended. `code` is its exit code, or minus the signal that ended it; `told` the last signal to end
    that was passed on to it; `timeout` the seconds of the time limit that it ran into; `complaint` what it said last.
    `starved`: the kernel killed for want of memory meanwhile.

    An exit by a signal is CRASHED, but CANCELLED after Ctrl-C; `exit_code` is what `holter run` exits with. Pure.
    """
    died_by = _signal_name(-code) if code < 0 else None
    exit_code = 128 - code if code < 0 else code
    if timeout is not None:
        return Ending("TIMED_OUT", f"ran longer than {timeout:g} s", TIMED_OUT, died_by)
    if code == 0:
        return Ending("COMPLETED", None, 0)
    if told == signal.SIGINT:
        return Ending("CANCELLED", "interrupted (Ctrl-C)", exit_code, died_by or "SIGINT")
    if told is not None and exit_code == 128 + told:
        return Ending("CRASHED", f"terminated by {_signal_name(told)}", exit_code, _signal_name(told))
    after = f" after {_signal_name(told)}" if told is not None else ""
    if died_by == "SIGKILL" and starved:
        return Ending("CRASHED", "killed by the kernel: out of memory", exit_code, died_by)
    if died_by is not None:
        return Ending("CRASHED", f"killed by {died_by}{_cause(-code)}{after}", exit_code, died_by)
    return Ending(
        "FAILED", f"exit code {code}{after}" + (f": {complaint[:500]}" if complaint else ""), exit_code
    )


def retryable(ending: Ending, retry_on: Sequence[str]) -> bool:
    """Whether `retry_on` (see `parse_retry_on`) names this ending."""
    if ending.state == "COMPLETED":
        return False
    kind = {"TIMED_OUT": "timeout", "CRASHED": "crash"}.get(ending.state, "exit")
    return bool({"any", kind, f"{kind}:{ending.exit_code}"} & set(retry_on))


def error_of(ending: Ending, complaint: str) -> dict[str, Any] | None:
    """What a failed command has for an exception. The fingerprint is the same whatever the numbers in the message."""
    if ending.state != "FAILED":
        return None
    message = clean(complaint)[:2000] or f"exit code {ending.exit_code}"
    shape = f"{ending.exit_code}|{re.sub('[0-9]+', '#', message)}"
    return {
        "type": EXIT_CODE,
        "message": message,
        "traceback": None,
        "fingerprint": blake2b(shape.encode("utf-8", "replace"), digest_size=6).hexdigest(),
    }


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _cause(number: int) -> str:
    if number == signal.SIGKILL:
        return " (out of memory, or somebody's kill -9)"
    text = signal.strsignal(number)
    return f" ({text.lower()})" if text else ""
