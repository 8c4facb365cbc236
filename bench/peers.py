"""The peers, each in a process of its own, measured in the same run as Holter: `python -m bench.peers NAME`.

A peer that is not installed is left out (`pip install -e '.[bench]'` brings them). Prints JSON: microseconds per call.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.timing import calls

Calls = dict[str, Callable[[], object]]


@contextmanager
def stamina(folder: str) -> Iterator[Calls]:
    import stamina

    @stamina.retry(on=ValueError, attempts=4)
    def step(number: int) -> None:
        """Nothing to retry."""

    yield {"stamina.retry call": lambda: step(1)}


@contextmanager
def loguru(folder: str) -> Iterator[Calls]:
    from loguru import logger

    logger.remove()
    logger.add(f"{folder}/loguru.log")
    yield {"loguru file line": lambda: logger.info("step {} done", 1)}


@contextmanager
def structlog(folder: str) -> Iterator[Calls]:
    import structlog

    with open(f"{folder}/structlog.log", "w", encoding="utf-8") as file:
        structlog.configure(
            processors=[structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer()],
            logger_factory=structlog.WriteLoggerFactory(file=file),
            cache_logger_on_first_use=True,
        )
        logger = structlog.get_logger()
        yield {"structlog JSON line": lambda: logger.info("step done", number=1)}


@contextmanager
def opentelemetry(folder: str) -> Iterator[Calls]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    with open(f"{folder}/spans.jsonl", "w", encoding="utf-8") as file:
        exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("bench")

        def span() -> None:
            with tracer.start_as_current_span("step") as current:
                current.set_attribute("number", 1)

        yield {"OpenTelemetry span to JSON lines": span}


@contextmanager
def mlflow(folder: str) -> Iterator[Calls]:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    with mlflow.start_run():
        yield {"MLflow log_metric (SQLite)": lambda: mlflow.log_metric("step", 1)}


@contextmanager
def dbos(folder: str) -> Iterator[Calls]:
    from dbos import DBOS

    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
            "run_admin_server": False,
        }
    )

    @DBOS.step()
    def step(number: int) -> None:
        """Nothing."""

    @DBOS.workflow()
    def workflow(number: int) -> None:
        step(1)

    DBOS.launch()
    yield {"DBOS workflow with one step (SQLite)": lambda: workflow(1)}
    DBOS.destroy()


@contextmanager
def prefect(folder: str) -> Iterator[Calls]:
    os.environ.update(PREFECT_HOME=folder, PREFECT_LOGGING_LEVEL="ERROR")
    from prefect import flow, task

    @task
    def step(number: int) -> None:
        """Nothing."""

    figures: dict[str, Any] = {}

    @flow
    def measure() -> None:
        figures.update(calls({"Prefect task call": lambda: step(1)}, rounds=10, number=10))

    measure()
    print(json.dumps(figures))
    yield {}


NEEDS = {
    "stamina": "stamina",
    "loguru": "loguru",
    "structlog": "structlog",
    "opentelemetry": "opentelemetry.sdk",
    "mlflow": "mlflow",
    "dbos": "dbos",
    "prefect": "prefect",
}
SLOW = {"mlflow", "dbos"}


def installed() -> list[str]:
    """The peers that can be measured here."""
    return [name for name, module in NEEDS.items() if importlib.util.find_spec(module.partition(".")[0])]


def main(name: str) -> None:
    logging.disable(logging.WARNING)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        globals()[name](folder) as candidates,
    ):
        if candidates:
            rounds, number = (10, 20) if name in SLOW else (40, 250)
            print(json.dumps(calls(candidates, rounds=rounds, number=number)))


if __name__ == "__main__":
    main(sys.argv[1])
