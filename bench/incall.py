"""What one call costs in a warm process, beside the floor and a log line. Child of `python -m bench`; prints JSON."""

from __future__ import annotations

import glob
import json
import logging
import os
import tempfile
from collections.abc import Callable

from bench.timing import calls
from holter import flow, task


@task
def step(number: int) -> None:
    """A task that does nothing: what is left is the recording."""


@task(retries=3)
def retried(number: int) -> None:
    """The same behind a retry policy that has nothing to do."""


@flow
def trivial() -> None:
    """A flow that does nothing."""


def bare(number: int) -> None:
    """The floor of all calls."""


def file_logger(folder: str) -> Callable[..., None]:
    """One line with time, level and message through the standard library."""
    logger = logging.getLogger("bench")
    handler = logging.FileHandler(f"{folder}/bench.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return lambda number=1: logger.info("step %s done", number)


def two_writes(folder: str) -> Callable[[], object]:
    """The physical floor: the bytes of one task's two events, written and nothing else."""
    step(1)
    with open(glob.glob(f"{os.environ['HOLTER_HOME']}/journals/*.jsonl")[0], "rb") as journal:
        start, end = journal.read().splitlines(keepends=True)[-2:]
    fd = os.open(f"{folder}/floor", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return lambda: (os.write(fd, start), os.write(fd, end))


@flow
def measure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = calls(
            {
                "bare call": lambda: bare(1),
                "two os.write of the same bytes": two_writes(folder),
                "logging.FileHandler line": file_logger(folder),
                "holter @task call": lambda: step(1),
                "holter @task(retries=3) call": lambda: retried(1),
                "holter @flow call": trivial,
            }
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    measure()
