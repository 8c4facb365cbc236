"""Standard `logging` and loguru records of a run, kept with its prints in the order in which they were made.

Nothing is added to any logger: records are read where they are made, by the record factory, so that handlers, levels
and formatters stay exactly as they are, also while a run is open. loguru has no such place; there it is a sink, which
is taken out again.
"""

from __future__ import annotations

import _thread
import sys

from .recorder import current
from .tape import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_lock = _thread.allocate_lock()
_wanted = 0
_factory: Any = None
_sink: int | None = None


class records:
    """`with records():` keeps the log records of runs whose `log_records` is true. Nests, in any thread."""

    __slots__ = ()

    def __enter__(self) -> None:
        global _wanted
        with _lock:
            _wanted += 1
            if _wanted == 1:
                _listen()

    def __exit__(self, *error: object) -> None:
        global _wanted
        with _lock:
            _wanted -= 1
            if _wanted == 0:
                _stop()


def hears_loguru() -> bool:
    """Whether loguru's records are taken at the moment; those of a loguru that was imported later are not."""
    return _sink is not None


def _listen() -> None:
    global _factory, _sink
    import logging

    _factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(_make)
    loguru = sys.modules.get("loguru")
    if loguru is not None:
        # `diagnose` would write the values of local variables into tracebacks, passwords and all
        _sink = loguru.logger.add(_from_loguru, level=0, format="{message}", catch=True, diagnose=False)


def _stop() -> None:
    global _sink
    import logging

    if logging.getLogRecordFactory() is _make:  # somebody else's factory, put on top of ours, stays
        logging.setLogRecordFactory(_factory)
    if _sink is not None:
        try:
            sys.modules["loguru"].logger.remove(_sink)
        except ValueError:  # the user took all sinks out meanwhile
            pass
        _sink = None


def _make(*args: Any, **kwargs: Any) -> Any:
    record = _factory(*args, **kwargs)
    run = current()
    # One without a name is of `makeLogRecord`, from another process.
    if run is not None and run.log_records and record.name is not None:
        _keep(run, record)
    return record


@harmless
def _keep(run: Any, record: Any) -> None:
    from .capture import has_run_handler

    if has_run_handler(record.name):
        return
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        import traceback

        text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
    run.log(text, level=record.levelname, at=record.created)


def _from_loguru(message: Any) -> None:
    run = current()
    if run is not None and run.log_records:
        record = message.record
        run.log(str(message).rstrip("\n"), level=record["level"].name, at=record["time"].timestamp())
