"""What a run says: its prints (`log_prints`) and its logger. Both reach the console exactly as without us.

`builtins.print` is replaced only while a run that wants its prints is open, and it records only what goes to the
standard output of a context that belongs to such a run. No handler, level or formatter of the user's is touched.
"""

from __future__ import annotations

import _thread
import builtins
import sys
from types import BuiltinFunctionType

from .recorder import current
from .tape import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from typing import Any

_lock = _thread.allocate_lock()
_wanted = 0
_plain_print = builtins.print
LINE_LIMIT = 100_000  # characters of a line that comes in pieces: a longer one is kept in parts


class prints:
    """`with prints():` keeps the printed lines of runs whose `log_prints` is true. Nests, in any thread."""

    __slots__ = ()

    def __enter__(self) -> None:
        global _wanted, _plain_print
        with _lock:
            _wanted += 1
            if _wanted == 1:
                _plain_print = builtins.print
                builtins.print = _recording_print

    def __exit__(self, *error: object) -> None:
        global _wanted
        with _lock:
            _wanted -= 1
            if _wanted == 0 and builtins.print is _recording_print:  # somebody else's replacement stays
                builtins.print = _plain_print


def _recording_print(
    *values: Any, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
) -> None:
    run = current() if file is None or file is sys.stdout else None
    wanted = run is not None and run.log_prints
    if wanted and isinstance(_plain_print, BuiltinFunctionType):
        values = tuple(map(str, values))  # once: that may take long, or print something itself
    _plain_print(*values, sep=sep, end=end, file=file, flush=flush)
    if wanted:
        _record(run, values, sep, end)


@harmless
def _record(run: Any, values: tuple[Any, ...], sep: str | None, end: str | None) -> None:
    text = (" " if sep is None else sep).join(map(str, values)) + ("\n" if end is None else end)
    thread = _thread.get_ident()
    before = run.partial.pop(thread, "") if run.partial else ""
    *lines, rest = (before + text).split("\n")
    if len(rest) > LINE_LIMIT:
        lines.append(rest)
    elif rest:
        run.__dict__.setdefault("partial", {})[thread] = rest  # atomic: two threads may begin a line at once
    if lines:
        run.log("\n".join(lines), stream="print")


def get_run_logger(name: str = "holter.run") -> logging.Logger:
    """A standard logger whose records go into the current run, and on to your own handlers as configured.

    Outside a run it is a plain logger; it never raises for want of a run. Records below the level of the logger above
    it (by default the root) are recorded but not shown.
    """
    import logging

    logger = logging.getLogger(name)
    if not any(isinstance(handler, _handler_class()) for handler in logger.handlers):
        logger.addHandler(_handler_class()())
        logger.setLevel(logging.DEBUG)
        # The handler passes records on, but only those that the root's level lets through.
        logger.propagate = False
    return logger


def has_run_handler(name: str) -> bool:
    """Whether the logger of this name came from `get_run_logger`, so that its records are kept already."""
    import logging

    return _RunHandler is not None and any(
        isinstance(h, _RunHandler) for h in logging.getLogger(name).handlers
    )


def _handler_class() -> type[logging.Handler]:
    global _RunHandler
    if _RunHandler is None:
        _RunHandler = _make_handler()
    return _RunHandler


_RunHandler: type[logging.Handler] | None = None


def _make_handler() -> type[logging.Handler]:
    """The class is made on first use: `logging` costs 13 ms, and most scripts that print do not need it."""
    import logging

    class RunHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            run = current()
            if run is not None:
                run.log(self.format(record), level=record.levelname, stream="log", at=record.created)
            above = logging.getLogger(record.name).parent
            while above is not None and has_run_handler(above.name):
                above = above.parent
            if above is not None and above.hasHandlers() and above.isEnabledFor(record.levelno):
                above.callHandlers(record)

    return RunHandler
