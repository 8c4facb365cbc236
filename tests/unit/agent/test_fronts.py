"""Front ends for loggers, with the real libraries: records go into the run once, and nothing else changes."""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
import queue
from collections.abc import Callable, Iterator
from typing import Any

import loguru
import pytest
import structlog

from holter import flow, get_run_logger
from holter.agent.fronts import RunHandler, loguru_sink, structlog_processor


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("holter-test-fronts")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(RunHandler())
    yield logger
    logger.handlers.clear()


@pytest.fixture
def guru() -> Iterator[Any]:
    number = loguru.logger.add(loguru_sink, level="DEBUG")
    yield loguru.logger
    loguru.logger.remove(number)


def structured(*before: Any, **options: Any) -> Any:
    """A structlog logger that prints to nobody; what its renderer got is in `shown`."""
    shown: list[Any] = []

    def render(logger: Any, method: str, event: Any) -> str:
        shown.append(event)
        return "rendered"

    logger = structlog.wrap_logger(
        structlog.ReturnLogger(), processors=[*before, structlog_processor, render], **options
    )
    return logger, shown


def said(record: Callable[[], Any], call: Callable[[], object], **options: Any) -> list[tuple[str, str]]:
    """Levels and texts of the lines that a flow kept of what this call said in it."""
    made = record()
    flow(name="fronts", **options)(lambda: (call(), None)[1])()
    return [(line.level, line.text) for line in made.logs(made.run)]


# --- logging -----------------------------------------------------------------------------------------------------


def test_a_handler_keeps_records_with_its_level_filter_and_format(
    record: Callable[[], Any], log: logging.Logger
) -> None:
    (handler,) = (each for each in log.handlers if isinstance(each, RunHandler))  # pytest adds one of its own
    handler.setLevel(logging.INFO)
    handler.addFilter(lambda each: "noise" not in each.getMessage())
    handler.setFormatter(logging.Formatter("<%(message)s>"))

    def speak() -> None:
        log.debug("too low")
        log.info("noise")
        log.warning("%d rows", 3)

    assert said(record, speak) == [("WARNING", "<3 rows>")]


def test_a_handler_can_be_named_in_dictconfig(record: Callable[[], Any], log: logging.Logger) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"run": {"class": "holter.agent.fronts.RunHandler", "level": "ERROR"}},
            "loggers": {log.name: {"handlers": ["run"], "level": "INFO", "propagate": False}},
        }
    )
    assert said(record, lambda: (log.info("no"), log.error("yes"))) == [("ERROR", "yes")]


def test_an_exception_is_kept_with_its_traceback(record: Callable[[], Any], log: logging.Logger) -> None:
    def speak() -> None:
        try:
            raise ValueError("bad")
        except ValueError:
            log.exception("it failed")

    ((level, text),) = said(record, speak)
    assert level == "ERROR" and text.startswith("it failed\nTraceback") and text.endswith("ValueError: bad")


def test_a_record_is_kept_once_whatever_else_listens(record: Callable[[], Any], log: logging.Logger) -> None:
    assert said(record, lambda: log.info("once"), log_records=True) == [("INFO", "once")]
    root = logging.getLogger()
    handler = RunHandler()
    root.addHandler(handler)
    try:
        assert said(record, lambda: get_run_logger("holter-test-own").warning("once")) == [
            ("WARNING", "once")
        ]
    finally:
        root.removeHandler(handler)


def test_a_record_that_cannot_be_formatted_goes_where_logging_sends_it(
    record: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    odd = logging.makeLogRecord({"msg": "%d rows", "args": ("three",)})
    assert said(record, lambda: RunHandler().handle(odd)) == []
    assert "--- Logging error ---" in capsys.readouterr().err


def test_records_that_come_through_another_thread_belong_to_the_only_open_flow(
    record: Callable[[], Any],
) -> None:
    lines: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(lines, RunHandler())
    log = logging.getLogger("holter-test-queued")
    log.addHandler(logging.handlers.QueueHandler(lines))

    def speak() -> None:
        listener.start()
        log.error("from afar")
        listener.stop()

    assert said(record, speak) == [("ERROR", "from afar")]
    log.handlers.clear()


# --- loguru ------------------------------------------------------------------------------------------------------


def test_a_sink_keeps_level_message_and_bound_values(record: Callable[[], Any], guru: Any) -> None:
    def speak() -> None:
        guru.bind(table="orders", password="hunter22").success("{} rows", 3)

    assert said(record, speak) == [("SUCCESS", "3 rows table=orders password=***")]


def test_a_sink_keeps_a_traceback_without_the_values_of_variables(
    record: Callable[[], Any], guru: Any
) -> None:
    def speak() -> None:
        pin = "4711-" + "0815"
        try:
            raise ValueError(len(pin))
        except ValueError:
            guru.exception("it failed")

    ((level, text),) = said(record, speak)
    assert level == "ERROR" and text.endswith("ValueError: 9")
    assert "4711-0815" not in text


def test_a_sink_keeps_nothing_twice(record: Callable[[], Any], guru: Any) -> None:
    assert said(record, lambda: guru.info("once"), log_records=True) == [("INFO", "once")]


# --- structlog ---------------------------------------------------------------------------------------------------


def test_a_processor_keeps_the_event_with_its_values_and_hands_it_on(record: Callable[[], Any]) -> None:
    log, shown = structured(structlog.processors.add_log_level, structlog.processors.TimeStamper())
    assert said(record, lambda: log.warning("loaded", rows=3, token="hunter22")) == [
        ("WARNING", "loaded rows=3 token=***")
    ]
    assert shown[0]["token"] == "hunter22" and shown[0]["event"] == "loaded"  # noqa: S105


@pytest.mark.parametrize("before", [(), (structlog.processors.format_exc_info,)])
def test_a_processor_keeps_an_exception_however_it_comes(record: Callable[[], Any], before: Any) -> None:
    log, _ = structured(*before)

    def speak() -> None:
        try:
            raise ValueError("bad")
        except ValueError as error:
            log.exception("one")
            log.error("two", exc_info=error)  # noqa: TRY400 - that is what is tried
        log.info("three", exc_info=True)  # noqa: LOG014

    lines = said(record, speak)
    assert [level for level, _ in lines] == ["ERROR", "ERROR", "INFO"]
    assert all(text.endswith("ValueError: bad") for _, text in lines[:2])
    assert lines[2][1].split("\n")[0] == "three"


def test_a_processor_after_the_renderer_keeps_the_rendered_text(record: Callable[[], Any]) -> None:
    log, _ = structured(structlog.processors.JSONRenderer())
    assert said(record, lambda: log.info("x", n=1)) == [("INFO", '{"n": 1, "event": "x"}')]


def test_a_processor_keeps_nothing_twice_where_structlog_stands_on_logging(record: Callable[[], Any]) -> None:
    log = structlog.wrap_logger(
        logging.getLogger("holter-test-structlog"),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog_processor, structlog.processors.KeyValueRenderer(key_order=["event"])],
    )
    assert said(record, lambda: log.warning("once"), log_records=True) == [("WARNING", "event='once'")]
    assert said(record, lambda: log.warning("once")) == [("WARNING", "once")]


# --- all of them -------------------------------------------------------------------------------------------------


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __format__ = __str__  # type: ignore[assignment]


def test_outside_a_run_they_do_nothing(log: logging.Logger, guru: Any, record: Callable[[], Any]) -> None:
    made = record()
    structlogger, shown = structured()
    log.info("nobody")
    guru.info("listens")
    structlogger.info("here", odd=Broken())
    assert len(shown) == 1
    assert made.runs == []


def test_what_cannot_be_shown_never_reaches_the_job(record: Callable[[], Any], guru: Any) -> None:
    structlogger, shown = structured()

    def speak() -> None:
        structlogger.info("odd", value=Broken())
        guru.bind(value=Broken()).info("odd")
        structlogger.info("after")

    assert said(record, speak)[-1] == ("INFO", "after")
    assert len(shown) == 2
