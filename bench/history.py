"""`python -m bench.history --runs N --store URL`: makes a long history through `append`, and asks it what people ask.

Every script run is a journal of its own, shipped in one batch as at the end of a script: a root run with four tasks,
ten events each (start, four lines, three of progress, a beat, an end), 50 jobs over `--days`, 1 % of them failed. Tasks
count as runs, as they do in the store. A store that has runs already is only asked. `postgresql:` without more is a
server that is started for this, and gone with it. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.ingest import standing
from holter.agent.reports import report
from holter.backends.base import Backend
from holter.backends.clock import SYSTEM, Clock, base32
from holter.backends.lines import encode
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.urls import open_backend, path_of

JOBS, TASKS = 50, 4
DAY = 86400.0
ERROR = {
    "type": "ConnectionError",
    "message": "no route to host",
    "traceback": "...",
    "fingerprint": "5d0c2f11",
}


class PastClock(Clock):
    """The store's clock while the history is made."""

    at = 0.0

    def wall(self) -> float:
        return self.at


def script(number: int, at: float, chance: random.Random, jobs: int = JOBS) -> tuple[str, bytes]:
    """The journal of one run of one script that began at `at`: its id and its bytes."""
    root = base32(int(at * 1000) << 35 | chance.getrandbits(35), 16)
    journal = base32(int(at * 1000) << 35 | chance.getrandbits(35), 16)
    job, host = f"job-{number % jobs:02}", f"web-{number % 7}"
    failed = chance.random() < 0.01
    lines = [
        {
            "event": "process",
            "at": at,
            "journal": journal,
            "host": host,
            "pid": 1000 + number % 30000,
            "user": "ops",
        }
        | {"project": "shop", "argv": ["python", f"/srv/{job}.py"], "cwd": "/srv", "boot": "b1"}
    ]
    lines += _run(root, job, "flow", at, 2.0 + number % jobs % JOBS + chance.random() * 60, failed)
    for task in range(TASKS):
        name = f"task-{number % jobs:02}-{task}"
        lines += _run(
            f"{root}.{task:04}", name, "task", at + 1 + task, chance.random() * 9, failed and task == 3
        )
    lines.append({"event": "close", "at": at + 70})
    return journal, b"".join(map(encode, lines))


def _run(run: str, name: str, kind: str, at: float, seconds: float, failed: bool) -> Iterator[dict[str, Any]]:
    about: dict[str, Any] = {
        "run": run,
        "kind": kind,
        "name": name,
        "tags": ["nightly"],
        "parameters": {"day": int(at)},
    }
    yield {"event": "start", "at": at, **about}
    for number in range(4):
        text = f"{name}: read {number * 1000} rows of part {number} in {seconds:.3f} s"
        yield {
            "event": "log",
            "run": run,
            "at": at + number / 4,
            "level": "INFO",
            "stream": "print",
            "text": text,
        }
    for number in range(3):
        yield {
            "event": "progress",
            "run": run,
            "at": at + number / 3,
            "done": number,
            "total": 3,
            "text": "parts",
        }
    yield {"event": "beat", "at": at + 1, "seq": 1}
    end: dict[str, Any] = (
        {"state": "FAILED", "error": ERROR} if failed else {"state": "COMPLETED", "result": 1}
    )
    usage = {"cpu_seconds": 0.1, "max_rss_bytes": 30_000_000}
    yield {"event": "end", "run": run, "at": at + seconds, "seconds": seconds, "usage": usage, **end}


def make(store: Backend, clock: PastClock, runs: int, days: float, now: float, jobs: int = JOBS) -> float:
    """Append `runs` runs that end at `now`; seconds that the store took."""
    chance = random.Random(1)
    scripts = runs // (TASKS + 1)
    taken = 0.0
    for number in range(scripts):
        at = now - 3600 - days * DAY * (1 - number / scripts)
        clock.at = at + 70
        journal, data = script(number, round(at, 3), chance, jobs)
        began = time.perf_counter()
        store.append(journal, 0, data)
        taken += time.perf_counter() - began
    return taken


def timed(question: Callable[[], object], times: int = 5) -> dict[str, float]:
    """Milliseconds of the first time and the median of the next ones."""
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        question()
        taken.append((time.perf_counter() - began) * 1000)
    return {"first": round(taken[0], 1), "median": round(statistics.median(taken[1:]), 1)}


def ask(store: Backend, now: float) -> dict[str, Any]:
    month = RunQuery(roots=True, since=now - 30 * DAY, until=now)
    everything = RunQuery(since=now - 30 * DAY, until=now)
    newest = store.runs(RunQuery(roots=True, limit=1))[0]
    return {
        "runs, newest 50": timed(lambda: store.runs(RunQuery(roots=True))),
        "runs, newest 50 tasks": timed(lambda: store.runs(RunQuery(kinds=("task",)))),
        "runs, newest 50 of a job": timed(lambda: store.runs(RunQuery(roots=True, job="job-07"))),
        "runs, newest 50 failed of a job": timed(
            lambda: store.runs(RunQuery(roots=True, job="job-07", states=("FAILED",)))
        ),
        "runs, newest 50 failed": timed(lambda: store.runs(RunQuery(roots=True, states=("FAILED",)))),
        "runs, newest 50 with a tag": timed(lambda: store.runs(RunQuery(roots=True, tags=("nightly",)))),
        "runs, live": timed(lambda: store.runs(RunQuery(states=("RUNNING", "RETRYING", "PENDING")))),
        "run": timed(lambda: store.run(newest.id)),
        "logs of a run": timed(lambda: store.logs(LogQuery(newest.id))),
        "report --since 30d": timed(lambda: report(store, {}, month)),
        "report of all kinds --since 30d": timed(lambda: report(store, {}, everything)),
        "report --since 7d": timed(
            lambda: report(store, {}, RunQuery(roots=True, since=now - 7 * DAY, until=now))
        ),
    }


def size(url: str, home: str) -> int:
    """Bytes on disk: of files as the system counts them, of a PostgreSQL those of its whole database; 0 of others."""
    if url.startswith("postgresql:"):
        return _size_of_database(url)
    if not url.startswith(("sqlite:", "file:")):
        return 0
    path = pathlib.Path(path_of(url, home))
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    return sum(each.stat().st_blocks * 512 for each in files if each.is_file())


def _size_of_database(url: str) -> int:
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        (found,) = db.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
    return int(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.history", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--days", type=float, default=60.0)
    parser.add_argument("--store", default="sqlite:///history.db")
    parser.add_argument("--home", default=os.getcwd())
    options = parser.parse_args()
    with standing(options.store) as url:
        print(json.dumps(measure(url, options), indent=2))


def measure(url: str, options: argparse.Namespace) -> dict[str, Any]:
    clock, now = PastClock(), SYSTEM.wall()
    store = open_backend(url, options.home, clock=clock)
    figures: dict[str, Any] = {"store": url.partition(":")[0]}
    if not store.runs(RunQuery(limit=1)):
        seconds = make(store, clock, options.runs, options.days, now, options.jobs)
        figures |= {
            "runs": options.runs,
            "events": options.runs * 10,
            "events_per_second": round(options.runs * 10 / seconds),
        }
    counts = [job.runs for job in store.summarize(RunQuery())]
    figures |= {"runs": sum(counts), "milliseconds": ask(store, now)}
    if room := size(url, options.home):
        figures |= {"bytes": room, "bytes_per_run": round(room / sum(counts))}
    store.close()
    return figures


if __name__ == "__main__":
    main()
