"""Does it stay as cheap? 100,000 tasks in one flow, eight threads, a thousand asyncio tasks. Prints JSON."""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from typing import Any

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


def micros(act: Any, number: int) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) / number * 1e6


@flow
def long_flow() -> dict[str, float]:
    """Microseconds per call of the first and the last 10,000; how the peak of memory grew over the second half, when
    the shipper has long loaded what it needs."""
    slices, peaks = [], []
    for _ in range(TASKS // SLICE):
        slices.append(micros(lambda: [step(n) for n in range(SLICE)], SLICE))
        peaks.append(own_peak_mb())
    return {
        "first": round(slices[0], 2),
        "last": round(slices[-1], 2),
        "median": round(statistics.median(slices), 2),
        "peak_growth_mb": round(peaks[-1] - peaks[len(peaks) // 2 - 1], 1),
    }


@flow
def threads(count: int = 8, number: int = 2_000) -> float:
    """Microseconds of wall time per call, over all threads."""

    def work() -> None:
        for n in range(number):
            step(n)

    def run() -> None:
        workers = [threading.Thread(target=work) for _ in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return micros(run, count * number)


@flow
def one_thread(number: int = 16_000) -> float:
    return micros(lambda: [step(n) for n in range(number)], number)


@flow
async def gathered(count: int = 1_000, rounds: int = 10) -> float:
    async def run() -> None:
        for _ in range(rounds):
            await asyncio.gather(*(astep(n) for n in range(count)))

    began = time.perf_counter()
    await run()
    return (time.perf_counter() - began) / (count * rounds) * 1e6


@flow
async def awaited(number: int = 10_000) -> float:
    began = time.perf_counter()
    for n in range(number):
        await astep(n)
    return (time.perf_counter() - began) / number * 1e6


def main() -> None:
    figures: dict[str, Any] = {"tasks in one flow": long_flow()}
    figures["one thread"] = round(statistics.median(one_thread() for _ in range(3)), 2)
    figures["eight threads"] = round(statistics.median(threads() for _ in range(3)), 2)
    figures["awaited in turn"] = round(statistics.median(asyncio.run(awaited()) for _ in range(3)), 2)
    figures["1,000 gathered"] = round(statistics.median(asyncio.run(gathered()) for _ in range(3)), 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
