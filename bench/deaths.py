"""`python -m bench.deaths [--kills N] [--json FILE]`: from SIGKILL to the CRASHED run in the store, and to the alert.

Real scripts are killed one after the other under a real `holter watch`, while two busy processes keep both cores at
work; the alert goes to a webhook on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from holter.backends.urls import open_backend

JOB = """
import sys, time
from holter import current_run, flow

@flow
def job():
    print(current_run().id, flush=True)
    time.sleep(600)

job()
"""
BUSY = "while True: sum(range(10_000))"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.deaths", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--busy", type=int, default=2, help="processes that keep the machine at work")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        figures = measure(home, options.kills, options.busy)
    print(json.dumps(figures, indent=2))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(home: str, kills: int, busy: int) -> dict[str, Any]:
    rows, alerts = [], []
    with ExitStack() as stack:
        told = stack.enter_context(receiver())
        settings = f"channels: {{hook: {{webhook: '{told.url}'}}}}\nwatchdog: {{digest: 0}}\n"
        pathlib.Path(f"{home}/holter.yaml").write_text(settings, encoding="utf-8")
        for _ in range(busy):
            stack.enter_context(running(home, "-c", BUSY))
        stack.enter_context(running(home, "-m", "holter", "watch"))
        store = open_backend("sqlite:///holter.db", home)
        time.sleep(3)
        for _ in range(kills):
            with running(home, "-c", JOB) as script:
                assert script.stdout is not None
                run = script.stdout.readline().strip()
                time.sleep(random.uniform(0.05, 1.0))
                began = time.perf_counter()
                script.kill()
                rows.append(until(lambda run=run: crashed(store, run)) - began)
                alerts.append(until(lambda run=run: run in told.heard and told.heard[run]) - began)
        store.close()
    return {
        "kills": kills,
        "busy processes": busy,
        "cores": os.cpu_count(),
        "to the CRASHED run, ms": spread(rows),
        "to the webhook, ms": spread(alerts),
    }


def crashed(store: Any, run: str) -> float:
    found = store.run(run)
    return time.perf_counter() if found is not None and found.state == "CRASHED" else 0.0


def until(truth: Any) -> float:
    """The moment (perf_counter) at which it came true, to a millisecond."""
    end = time.monotonic() + 60
    while not (moment := truth()):
        if time.monotonic() > end:
            raise TimeoutError("nobody noticed the death")
        time.sleep(0.001)
    return float(moment)


def spread(seconds: list[float]) -> dict[str, float]:
    ranked = sorted(1000 * each for each in seconds)
    return {
        name: round(ranked[min(len(ranked) - 1, int(len(ranked) * share))], 1)
        for name, share in (("median", 0.5), ("p99", 0.99), ("most", 1.0))
    }


@contextmanager
def running(home: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, "HOLTER_HOME": home},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


class Told(BaseHTTPRequestHandler):
    """Notes when which run was told of."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.setdefault(body["run_id"], time.perf_counter())  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        return


@contextmanager
def receiver() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Told)
    server.heard, server.url = {}, f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    raise SystemExit(main())
