"""What a dead process's journal says of its end: which runs it left open, and how they ended."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping

from ...backends.clock import Clock
from ...backends.lines import decode, encode
from .. import identity
from ..journal import read
from ..tape import EXITED_LOSING, EXITED_LOSING_SUCCESS
from .headers import Header

BATCH = 2**20  # bytes that are read at once
Explain = Callable[[Header], str | None]  # why the process of a header was killed, where somebody knows


def verdicts(
    fd: int, header: Header, clock: Clock, explain: Explain, known: Mapping[str, float]
) -> tuple[list[bytes], int]:
    """One `judge` line for each run that the process left open, innermost first; and how many runs that makes, with
    those judged before, whose verdict the store did not take then. `known` are runs, with the time of their last sign
    of life, that are open though the journal may have lost them."""
    open_runs, judged, last_at = _left_open(fd)
    if known:
        open_runs = list(dict.fromkeys([*open_runs, *known]))
        last_at = max(known.values())
    if not open_runs:
        return [], judged
    state, reason = _what_happened(fd, header, explain)
    now = clock.wall()
    beat = header.get("heartbeat")
    fresh = now - last_at <= 2 * (beat if isinstance(beat, int | float) else 5.0)
    # One that is long dead ended when it fell silent.
    at = now if fresh and not identity.rebooted(header) else last_at
    lines = [
        encode({"event": "judge", "run": run, "at": at, "state": state, "by": "proof", "reason": reason})
        for run in reversed(open_runs)
    ]
    return lines, judged + len(lines)


def _left_open(fd: int) -> tuple[list[str], int, float]:
    """Runs that were started or carried over and not ended, in order; how many others have been judged; and the time
    of the last sign of life."""
    open_runs: dict[str, None] = {}
    judged = 0
    last_at = os.fstat(fd).st_mtime
    offset, seen = 0, 0.0
    while data := read(fd, offset, BATCH):
        for _, event in decode(data, offset):
            if event is None:
                continue
            seen = max(seen, float(event.get("at") or 0.0))
            if event["event"] == "start":
                open_runs[event["run"]] = None
            elif event["event"] == "carry":
                open_runs.update(dict.fromkeys(event["runs"]))
            elif event["event"] == "moved":  # what is open here is carried over in a newer journal
                return [], judged, seen
            elif event["event"] == "end":
                open_runs.pop(event["run"], None)
            elif event["event"] == "judge" and "state" in event and event["run"] in open_runs:
                del open_runs[event["run"]]
                judged += 1
        offset += len(data)
    return list(open_runs), judged, seen or last_at


def _what_happened(fd: int, header: Header, explain: Explain) -> tuple[str, str]:
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if mode == EXITED_LOSING_SUCCESS:
        return "COMPLETED", "its process exited in order, but the disk was full and took no ending"
    if mode == EXITED_LOSING:
        return (
            "FAILED",
            "its process exited in order, but the disk was full and took no ending (not all succeeded)",
        )
    if identity.rebooted(header):
        return "CRASHED", "host restarted"
    gone = f"its process (pid {header.get('pid')}) is gone without a word: killed, out of memory, or os._exit"
    return "CRASHED", explain(header) or gone
