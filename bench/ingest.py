"""`python -m bench.ingest [--store URL]...`: what a collector takes in, beside a bare insert into the same database.

Everything runs on this machine: the collector, its database and the writers share its cores. Three scenes for each
store: writers that send as fast as they are answered; two thousand clients at once with one journal each; and more than
it can take, to see whether it sends clients away, how much memory it takes, and whether all arrives in the end. Before
them, the same lines in the same batches, inserted into one table of the same database: into SQLite by the same writers,
into PostgreSQL by one program.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.load import Load, drive, events_in, journal, pieces
from holter.agent.shipper import BATCH

HOLTER = str(Path(sysconfig.get_path("scripts")) / "holter")
WRITERS = 4
Figures = dict[str, Any]


def main() -> int:
    options = arguments()
    figures = {}
    for given in options.store or ["sqlite:///collector.db"]:
        with tempfile.TemporaryDirectory() as folder, standing(given) as store:
            figures[store.partition(":")[0]] = measure(store, folder, options)
    print(json.dumps(figures, indent=2))
    return 0


@contextmanager
def standing(store: str) -> Iterator[str]:
    """The store's URL; of a bare `postgresql:`, that of a server which is started for this."""
    if store != "postgresql:":
        yield store
        return
    from holter.testing.database import Server

    server = Server()
    try:
        yield server.url
    finally:
        server.stop()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__)
    parser.add_argument(
        "--store", metavar="URL", action="append", help="of the collector; may be given again"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of the collector")
    parser.add_argument("--events", type=int, default=200_000, help="that the writers send")
    parser.add_argument("--clients", type=int, default=2_000, help="at once")
    return parser.parse_args()


def measure(store: str, folder: str, options: argparse.Namespace) -> Figures:
    figures: Figures = {}
    tapes = [journal(runs=100, lines=8) for _ in range(max(1, options.events // 1001))]
    batches = [(name, offset, part) for name, data in tapes for offset, part in pieces(data, BATCH)]
    figures["bare insert"] = speed(BARE[store.partition(":")[0]](store, folder, tapes), batches)
    note("bare insert", figures)
    with serving(store, folder, options.workers) as (url, process):
        figures["writers"] = speed(push(url, tapes, folder), batches)
        figures["fraction of bare"] = round(
            figures["writers"]["events_per_second"] / figures["bare insert"]["events_per_second"], 3
        )
        note("writers", figures)
        small = Load(clients=options.clients, rounds=3, size=2_000, gzip=True)
        figures["clients"] = with_memory(process, lambda: asyncio.run(drive(url, small)))
        note("clients", figures)
        flood = Load(clients=options.clients // 10, rounds=1, size=500_000, gzip=False)
        figures["overload"] = with_memory(process, lambda: asyncio.run(drive(url, flood)))
        note("overload", figures)
    return figures


def note(name: str, figures: Figures) -> None:
    sys.stderr.write(f"{name}: {figures[name]}\n")


def speed(seconds: float, batches: list[tuple[str, int, bytes]]) -> Figures:
    events = sum(events_in(data) for _, _, data in batches)
    size = sum(len(data) for _, _, data in batches)
    return {
        "events": events,
        "seconds": round(seconds, 2),
        "events_per_second": round(events / seconds),
        "megabytes_per_second": round(size / seconds / 1e6, 1),
    }


# --- a bare insert ---------------------------------------------------------------------------------------------


def bare_sqlite(store: str, folder: str, tapes: list[tuple[str, bytes]]) -> float:
    """Seconds that the same writers take who insert into one table of one database themselves."""
    db = sqlite3.connect(f"{folder}/bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute(
        "CREATE TABLE lines (journal TEXT, position INTEGER, body TEXT, PRIMARY KEY (journal, position))"
    )
    db.close()
    return push(f"{folder}/bare.db", tapes, folder)


def bare_postgres(store: str, folder: str, tapes: list[tuple[str, bytes]]) -> float:
    import psycopg

    batches = [(name, offset, part) for name, data in tapes for offset, part in pieces(data, BATCH)]
    with psycopg.connect(store, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS bench_lines")
        db.execute(
            "CREATE TABLE bench_lines (journal text, position bigint, body text, PRIMARY KEY (journal, position))"
        )
        began = time.perf_counter()
        for name, offset, data in batches:
            with db.transaction(), db.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO bench_lines VALUES (%s,%s,%s)", list(rows(name, offset, data))
                )
        seconds = time.perf_counter() - began
        db.execute("DROP TABLE bench_lines")
    return seconds


BARE: dict[str, Callable[[str, str, list[tuple[str, bytes]]], float]] = {
    "sqlite": bare_sqlite,
    "postgresql": bare_postgres,
}


def rows(name: str, offset: int, data: bytes) -> Iterator[tuple[str, int, str]]:
    for line in data.splitlines(keepends=True):
        yield name, offset, line.decode("ascii")
        offset += len(line)


# --- a collector, and who writes to it ---------------------------------------------------------------------------


@contextmanager
def serving(store: str, folder: str, workers: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`holter serve` on a free port, until the block ends."""
    environ = {**os.environ, "HOLTER_HOME": f"{folder}/home"}
    argv = [HOLTER, "serve", "--port", "0", "--workers", str(workers), "--backend", store]
    process = subprocess.Popen(argv, env=environ, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        line = process.stderr.readline().decode()
        url = next(word for word in line.split() if word.startswith("http"))
        await_up(url)
        yield url, process
    finally:
        process.terminate()
        process.wait(30)


def await_up(url: str) -> None:
    from urllib.request import urlopen

    deadline = time.monotonic() + 20
    while True:
        try:
            with urlopen(f"{url}/readyz", timeout=5):  # noqa: S310 - our own
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def push(url: str, tapes: list[tuple[str, bytes]], folder: str) -> float:
    """Seconds until WRITERS processes, each with its share of the journals, had all of it acknowledged."""
    for number in range(WRITERS):
        share = [(name, data.decode("ascii")) for name, data in tapes[number::WRITERS]]
        Path(folder, f"share{number}.json").write_text(json.dumps(share), encoding="ascii")
    crew = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.load", url, f"{folder}/share{number}.json", str(BATCH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        )
        for number in range(WRITERS)
    ]
    for each in crew:
        assert each.stdout is not None
        each.stdout.readline()  # it has read its share
    began = time.perf_counter()
    for each in crew:
        assert each.stdin is not None
        each.stdin.close()
    for each in crew:
        assert each.wait(300) == 0
        assert each.stdout is not None
        each.stdout.close()
    return time.perf_counter() - began


def with_memory(process: subprocess.Popen[bytes], act: Callable[[], Figures]) -> Figures:
    """What `act` says, and the most memory that the collector has had until then."""
    figures = act()
    family = [process.pid, *children(process.pid)]
    figures["peak_mb"] = round(max(peak_mb(pid) for pid in family), 1)
    return figures


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(each) for each in found]


def peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
