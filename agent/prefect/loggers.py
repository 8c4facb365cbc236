"""Prefect's loggers: what a run says goes to stderr in Prefect's form and into Holter's record.

`log_prints=True` turns printed lines into such lines, as under Prefect: they go to stderr, not to stdout.
"""

from __future__ import annotations

import _thread
import builtins
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..capture import get_run_logger as recorded
from . import context
from .exceptions import MissingContextError

FORMAT = "%(asctime)s.%(msecs)03d | %(levelname)-7s | %(said_by)s - %(message)s"
_off = False


class _Console(logging.Handler):
    """Writes to whatever sys.stderr is at that moment."""

    def format(self, record: logging.LogRecord) -> str:
        if not hasattr(record, "said_by"):
            record.said_by = record.name
        return super().format(record)

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            try:
                sys.stderr.write(self.format(record) + "\n")
            except (OSError, ValueError):  # closed: the record still has it
                return


def _root() -> logging.Logger:
    logger = logging.getLogger("prefect")
    if not any(isinstance(handler, _Console) for handler in logger.handlers):
        console = _Console()
        console.setFormatter(logging.Formatter(FORMAT, "%H:%M:%S"))
        logger.addHandler(console)
        level = os.environ.get("PREFECT_LOGGING_LEVEL", "INFO").upper()
        logger.setLevel(level if level in logging.getLevelNamesMapping() else "INFO")
    return logger


class PrefectLogAdapter(logging.LoggerAdapter[logging.Logger]):
    """A logger that knows who speaks."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs

    def getChild(self, suffix: str, extra: Any = None) -> PrefectLogAdapter:  # noqa: N802
        return PrefectLogAdapter(self.logger.getChild(suffix), {**(self.extra or {}), **(extra or {})})


def get_logger(name: str | None = None) -> logging.Logger:
    """A logger under "prefect", which writes to stderr. Not part of the run's record."""
    _root()
    if name is None or name == "prefect":
        return logging.getLogger("prefect")
    return logging.getLogger(name if name.startswith("prefect.") else f"prefect.{name}")


def get_run_logger(context_: Any = None, **extra: Any) -> Any:
    """The current run's logger. Raises MissingContextError outside of a run."""
    if _off:
        return logging.getLogger("null")
    call = _current()
    if call is None:
        raise MissingContextError("There is no active flow or task run context.")
    return logger_of(call.what.kind, call.run, **extra)


def _current() -> Any:
    return context.current_call()


def logger_of(kind: str, run: Any, **extra: Any) -> PrefectLogAdapter:
    _root()
    logger = recorded(f"prefect.{kind}_runs")
    said_by = f"{kind.capitalize()} run {run.name!r}"
    return PrefectLogAdapter(logger, {f"{kind}_run_name": run.name, "said_by": said_by, **extra})


def flow_run_logger(flow_run: Any, flow: Any = None, **extra: Any) -> PrefectLogAdapter:
    """The logger of a flow run, also where it is not the current one, as in a hook."""
    return logger_of("flow", flow_run, **extra)


def task_run_logger(task_run: Any, task: Any = None, **extra: Any) -> PrefectLogAdapter:
    return logger_of("task", task_run, **extra)


@contextmanager
def disable_run_logger() -> Iterator[None]:
    """`get_run_logger` gives a logger that says nothing, also outside of a run: for tests of `.fn`."""
    global _off
    before, _off = _off, True
    silent = logging.getLogger("null")
    was, silent.disabled = silent.disabled, True
    try:
        yield
    finally:
        _off, silent.disabled = before, was


# --- prints --------------------------------------------------------------------------------------------------

_lock = _thread.allocate_lock()
_wanted = 0
_plain_print = builtins.print


@contextmanager
def prints_logged() -> Iterator[None]:
    """`print` speaks through the current run's logger, where that run wants it. Nests, in any thread."""
    global _wanted, _plain_print
    with _lock:
        _wanted += 1
        if _wanted == 1:
            _plain_print = builtins.print
            builtins.print = _print
    try:
        yield
    finally:
        with _lock:
            _wanted -= 1
            if _wanted == 0 and builtins.print is _print:
                builtins.print = _plain_print


def _print(*values: Any, **options: Any) -> None:
    call = _current()
    if call is None or not call.log_prints or options.get("file") not in (None, sys.stdout, sys.stderr):
        return _plain_print(*values, **options)
    text = io.StringIO()
    _plain_print(*values, **{**options, "file": text})
    logger_of(call.what.kind, call.run).info("%s", text.getvalue().rstrip("\n"))
    return None
