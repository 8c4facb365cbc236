"""`python -m bench.pages --folder DIR`: how fast the dashboard is over a long history, and how much it sends.

Makes the history once (1,000,000 runs of 500 jobs in SQLite, unless `bench.history` made one, and one run of 100,000
tasks with 50 MB of lines) and leaves it in the folder; asks each page 20 times of a `holter serve` of its own, and
looks at it in headless Chromium if that is there. Prints JSON: medians in milliseconds, bytes over the wire.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from http.client import HTTPConnection
from typing import Any

from holter.backends.base import Backend
from holter.backends.clock import SYSTEM
from holter.backends.lines import encode
from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend

from .history import DAY, PastClock, make

TIMES = 20
BIG = "big0000000000000"
_PAINTED = "performance.getEntriesByName('first-contentful-paint').map(each => each.startTime)"
LINES_BYTES = 50 * 2**20


def big_run(store: Backend, at: float, tasks: int) -> None:
    """One run of so many tasks, with LINES_BYTES of lines, in batches as a shipper sends them."""
    about = {"host": "web-1", "pid": 7, "project": "shop"}
    offset, batch = 0, [encode({"event": "process", "at": at, "journal": "big-journal", **about})]
    batch.append(encode({"event": "start", "at": at, "run": BIG, "kind": "flow", "name": "big"}))
    text = "x" * (LINES_BYTES // tasks - 20)
    for number in range(tasks):
        run, begun = f"{BIG}.{number:06}", at + number / 100
        state = "FAILED" if number % 5000 == 4999 else "COMPLETED"
        start = {"event": "start", "at": begun, "run": run, "kind": "task", "name": f"part-{number % 20}"}
        line = {"event": "log", "at": begun, "run": run, "level": "INFO", "stream": "print"}
        end = {"event": "end", "at": begun + 0.5, "run": run, "state": state, "seconds": 0.5}
        batch += map(encode, (start, {**line, "text": f"row {number} {text}"}, end))
        if len(batch) > 2000:
            offset, batch = store.append("big-journal", offset, b"".join(batch)), []
    batch.append(
        encode({"event": "end", "at": begun + 1, "run": BIG, "state": "COMPLETED", "seconds": tasks / 100})
    )
    store.append("big-journal", offset, b"".join(batch))


def prepare(folder: str, url: str, runs: int, jobs: int, tasks: int) -> Backend:
    clock, now = PastClock(), SYSTEM.wall()
    store = open_backend(url, folder, clock=clock)
    if not store.runs(RunQuery(limit=1)):
        make(store, clock, runs, 60.0, now, jobs)
    if store.run(BIG) is None:
        clock.at = now - 1800
        big_run(store, now - 1800 - DAY, tasks)
    return store


def ask(port: int, path: str) -> dict[str, float]:
    """The median time until the last byte, and the bytes."""
    taken, size = [], 0
    for _ in range(TIMES):
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        began = time.perf_counter()
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        size = len(answer.read())
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        connection.close()
    return {"milliseconds": round(statistics.median(taken), 1), "kilobytes": round(size / 1000, 1)}


def wait_for(port: int) -> None:
    """Until it answers; it says where it collects before it listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/healthz")
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def paint(port: int, path: str) -> float | None:
    """Milliseconds to the first contentful paint in headless Chromium, the median of five; None without one."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(5):
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}{path}")
            while not (times := page.evaluate(_PAINTED)):  # the pages forbid what `wait_for_function` does
                time.sleep(0.01)
            found.append(times[0])
            page.close()
        browser.close()
    return round(statistics.median(found), 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--store", default="sqlite:///holter.db")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--tasks", type=int, default=100_000)
    options = parser.parse_args()
    pathlib.Path(options.folder).mkdir(parents=True, exist_ok=True)
    store = prepare(options.folder, options.store, options.runs, options.jobs, options.tasks)
    figures: dict[str, Any] = {"runs": sum(job.runs for job in store.summarize(RunQuery()))}
    store.close()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "holter", "serve", "--port", "0"],
        env={**os.environ, "HOLTER_HOME": options.folder, "HOLTER_BACKEND": options.store},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stderr is not None
            said = next(line for line in server.stderr if "collecting at" in line)
            port = int(said.split("http://127.0.0.1:")[1].split(" ")[0])
            wait_for(port)
            for name, path in {
                "overview": "/",
                "job": "/job?project=shop&name=job-07",
                "run of many tasks": f"/runs/{BIG}",
                "its last steps": f"/runs/{BIG}?page=500",
                "its lines, searched": f"/runs/{BIG}?q=row+77777",
            }.items():
                figures[name] = ask(port, path) | {"first paint": paint(port, path)}
        finally:
            server.terminate()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
