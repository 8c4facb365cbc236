"""Front ends for loggers: what goes through logging, loguru or structlog goes into the current run as well.

For who chooses by logger what a run keeps; `@flow(log_records=True)` keeps all of it without any of these. Each is put
beside what is there already, and changes nothing of it. Outside a run they do nothing. What a run keeps anyway, by
`log_records` or `get_run_logger`, is not kept twice.

A thread without a run of its own (a `QueueListener`, loguru's `enqueue=True`) belongs to the only open flow of the
process; where several are open, what comes through it is in none of them.
"""

from __future__ import annotations

import logging

from . import logcapture
from .capture import has_run_handler
from .recorder import current
from .secrets import scrub
from .tape import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OWN_FIELDS = frozenset(  # of a structlog event: those that the record has a place for, or that are no text
    "event level timestamp logger logger_name exception exc_info stack stack_info positional_args".split()
)
_LEVELS = {
    "exception": "ERROR",
    "warn": "WARNING",
    "fatal": "CRITICAL",
}  # methods of structlog, by another name


class RunHandler(logging.Handler):
    """A handler of the standard `logging`: `logging.getLogger().addHandler(RunHandler())`, or by its name
    (`holter.agent.fronts.RunHandler`) in `dictConfig`. Level, filters and formatter are those of any handler.

    A record that cannot be formatted goes to `handleError`, as with any handler.
    """

    def emit(self, record: logging.LogRecord) -> None:
        run = current()
        if run is None or run.log_records or has_run_handler(record.name):
            return
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - what a formatter raises is told where logging tells it
            return self.handleError(record)
        run.log(text, level=record.levelname, at=record.created)


@harmless
def loguru_sink(message: Any) -> None:
    """A sink of loguru: `logger.add(loguru_sink)`, with `level=` and `filter=` as for any sink.

    The message is kept with its bound values, and an exception with its traceback, but without the values of local
    variables that loguru's `diagnose` writes into tracebacks. `format=` changes nothing here: time and level have
    places of their own.
    """
    run = current()
    if run is None or (run.log_records and logcapture.hears_loguru()):
        return
    record = message.record
    text = _with_values(record["message"], record["extra"])
    error = record["exception"]
    if error is not None and error.value is not None:
        text += "\n" + _traceback(error.value)
    run.log(text, level=record["level"].name, at=record["time"].timestamp())


def structlog_processor(logger: Any, method_name: str, event_dict: Any) -> Any:
    """A processor of structlog: put it before the renderer, `processors=[..., structlog_processor, JSONRenderer()]`.

    Gives back what it got. The event is kept with its values as `key=value`, and an exception with its traceback. After
    a renderer the rendered text is kept.
    """
    _keep_event(logger, method_name, event_dict)
    return event_dict


@harmless
def _keep_event(logger: Any, method_name: str, event: Any) -> None:
    run = current()
    if run is None or (run.log_records and isinstance(logger, logging.Logger)):
        return
    if isinstance(event, dict):
        level = str(event.get("level") or method_name)
        values = {key: value for key, value in event.items() if key not in _OWN_FIELDS and key[:1] != "_"}
        text = _with_values(event.get("event", ""), values)
        for told in (_exception(event), event.get("stack")):
            text += f"\n{told}" if told else ""
    else:
        level = method_name
        text = event.decode("utf-8", "replace") if isinstance(event, bytes | bytearray) else str(event)
    run.log(text, level=_LEVELS.get(level.lower(), level.upper()))


def _with_values(message: Any, values: dict[str, Any]) -> str:
    """The message, and the values as `key=value`; blank under secret names."""
    return " ".join([str(message), *(f"{key}={value}" for key, value in scrub(dict(values)).items())])


def _exception(event: dict[str, Any]) -> str:
    """The traceback in a structlog event: already a text, or an exception, its triple, or True for the present one."""
    if event.get("exception"):
        return str(event["exception"])
    error = event.get("exc_info")
    if isinstance(error, tuple):
        error = error[1]
    elif error is True:
        import sys

        error = sys.exception()
    return _traceback(error) if isinstance(error, BaseException) else ""


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error)).rstrip()
