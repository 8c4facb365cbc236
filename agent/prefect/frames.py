"""Tracebacks without our own frames: what a script's error shows is the script."""

from __future__ import annotations

import os
from types import TracebackType

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def of_the_script(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of Holter; as it was where there are no others."""
    kept = []
    step = trace
    while step is not None:
        if not step.tb_frame.f_code.co_filename.startswith(_OURS):
            kept.append(step)
        step = step.tb_next
    shown: TracebackType | None = None
    for each in reversed(kept):
        shown = TracebackType(shown, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return shown or trace
