"""Does it stay as cheap? 100,000 tasks in one flow, eight threads, a thousand asyncio tasks. Prints JSON."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import threading
import time
from typing import Any

from bench.incall import file_logger
from bench.timing import own_peak_mb
from holter import flow, task

TASKS = 100_000
SLICE = 10_000


@task
def step(number: int) -> None:
    """Nothing but the recording."""


@task
async def astep(number: int) -> None:
    """Nothing but the recording, awaited."""


async def bare(number: int) -> None:
    """The same without us: what `gather` and `await` cost by themselves."""


def micros(act: Any, number: int) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) / number * 1e6


@flow
def long_flow() -> dict[str, float]:
    """Microseconds per call of the first and the last 10,000, and how the peak of memory grew meanwhile."""
    slices, peaks = [], []
    for _ in range(TASKS // SLICE):
        slices.append(micros(lambda: [step(n) for n in range(SLICE)], SLICE))
        peaks.append(own_peak_mb())
    return {
        "first": round(slices[0], 2),
        "last": round(slices[-1], 2),
        "median": round(statistics.median(slices), 2),
        "peak_growth_mb": round(peaks[-1] - peaks[0], 1),
    }


@flow
def warm_up(seconds: float = 2.0) -> None:
    """Let the shipper do its first batches, which load what it needs: that is paid once, not per task."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        step(0)


@flow
def threads(call: Any, count: int, number: int = 16_000) -> float:
    """Microseconds of wall time per call, over all of `count` threads, which share `number` calls."""

    def work() -> None:
        for n in range(number // count):
            call(n)

    def run() -> None:
        workers = [threading.Thread(target=work) for _ in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return micros(run, number)


def in_turn(call: Any, rounds: int = 9) -> dict[str, float]:
    """One thread and eight, in turn: medians, and the median of the ratios."""
    pairs = [(threads(call, 1), threads(call, 8)) for _ in range(rounds)]
    return {
        "one": round(statistics.median(one for one, _ in pairs), 2),
        "eight": round(statistics.median(eight for _, eight in pairs), 2),
        "ratio": round(statistics.median(eight / one for one, eight in pairs), 2),
    }


@flow
async def gathered(call: Any, count: int = 1_000, rounds: int = 10) -> float:
    began = time.perf_counter()
    for _ in range(rounds):
        await asyncio.gather(*(call(n) for n in range(count)))
    return (time.perf_counter() - began) / (count * rounds) * 1e6


@flow
async def awaited(call: Any, number: int = 10_000) -> float:
    began = time.perf_counter()
    for n in range(number):
        await call(n)
    return (time.perf_counter() - began) / number * 1e6


def main() -> None:
    warm_up()
    figures: dict[str, Any] = {"tasks in one flow": long_flow()}
    figures["threads"] = in_turn(step)
    with tempfile.TemporaryDirectory() as folder:  # what the hand-over of the GIL costs anybody who writes
        figures["threads, a log line instead"] = in_turn(file_logger(folder))
    # Beyond what asyncio itself costs.
    for name, run in (
        ("awaited in turn", awaited),
        ("1,000 gathered", gathered),
    ):
        figures[name] = round(
            statistics.median(asyncio.run(run(astep)) - asyncio.run(run(bare)) for _ in range(5)), 2
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
