"""Who loads a collector: writers with the real client, and thousands of clients in one event loop."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from holter.backends.clock import new_id
from holter.backends.http import HttpBackend
from holter.backends.http_wire import gzipped
from holter.backends.lines import encode

PATIENCE = 120.0  # seconds that a client goes on trying


def journal(runs: int, lines: int) -> tuple[str, bytes]:
    """A journal as a script leaves it: runs with a start, some lines, an end."""
    name, at = new_id(), time.time()
    header = {"host": "web-1", "pid": 42, "project": "shop", "user": "ann", "argv": ["python", "job.py"]}
    told: list[dict[str, Any]] = [{"event": "process", "journal": name, "at": at, **header}]
    for number in range(runs):
        run = new_id()
        about = {
            "tags": ["night"],
            "parameters": {"day": "monday", "part": number},
            "code": {"file": "etl.py"},
        }
        told.append({"event": "start", "run": run, "at": at, "kind": "flow", "name": "etl", **about})
        for line in range(lines):
            text = f"line {line} of part {number}, with some words that one may look for later"
            told.append(
                {"event": "log", "run": run, "at": at + line, "level": "INFO", "stream": "log", "text": text}
            )
        usage = {"cpu_seconds": 0.1, "max_rss_bytes": 12_345_678}
        told.append(
            {"event": "end", "run": run, "at": at + 9, "state": "COMPLETED", "seconds": 9.0, "usage": usage}
        )
    return name, b"".join(encode(each) for each in told)


def pieces(data: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines of at most about `size` bytes, each with its offset."""
    offset = 0
    while offset < len(data):
        end = data.rfind(b"\n", offset, offset + size) + 1 or data.find(b"\n", offset) + 1
        yield offset, data[offset:end]
        offset = end


def events_in(data: bytes) -> int:
    return data.count(b"\n")


class Load(NamedTuple):
    """So many clients at once, with a journal each that they send in `rounds` batches of about `size` bytes."""

    clients: int
    rounds: int
    size: int
    gzip: bool


async def drive(url: str, load: Load) -> dict[str, Any]:
    """All clients together; what they were answered, and how long they waited for it."""
    crew = [Client(url, load) for _ in range(load.clients)]
    began = time.perf_counter()
    await asyncio.gather(*(each.run() for each in crew))
    seconds = time.perf_counter() - began
    statuses: Counter[int] = sum((each.statuses for each in crew), Counter())
    waits = sorted(wait for each in crew for wait in each.waits)
    events = sum(each.events for each in crew)
    return {
        "clients": load.clients,
        "events": events,
        "events_per_second": round(events / seconds),
        "answers": {str(status): count for status, count in sorted(statuses.items())},
        "median_ms": round(waits[len(waits) // 2] * 1000, 1),
        "p99_ms": round(waits[len(waits) * 99 // 100] * 1000, 1),
    }


class Client:
    """One of thousands: one connection, one journal, and as patient as a shipper."""

    def __init__(self, url: str, load: Load) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.load = parts.hostname or "", parts.port or 80, load
        self.statuses: Counter[int] = Counter()
        self.waits: list[float] = []
        self.events = 0
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self) -> None:
        await asyncio.sleep(random.uniform(0, 0.5))
        name, data = journal(runs=max(1, self.load.size * self.load.rounds // 1900), lines=8)
        for offset, part in pieces(data, self.load.size):
            body = gzipped(part) if self.load.gzip else part
            while (status := await self._tried(name, offset, body)) in (0, 429, 503):  # noqa: ASYNC110
                await asyncio.sleep(random.uniform(0.5, 3.0))
            assert status == 200, status
            self.events += events_in(part)
        if self._ends is not None:
            self._ends[1].close()

    async def _tried(self, name: str, offset: int, body: bytes) -> int:
        began = time.perf_counter()
        try:
            if self._ends is None:
                self._ends = await asyncio.open_connection(self.host, self.port)
            status = await asyncio.wait_for(self._post(*self._ends, name, offset, body), PATIENCE)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self._ends, status = None, 0
        self.statuses[status] += 1
        self.waits.append(time.perf_counter() - began)
        return status

    async def _post(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, offset: int, body: bytes
    ) -> int:
        encoding = "Content-Encoding: gzip\r\n" if self.load.gzip else ""
        head = (
            f"POST /v1/journals/{name}?offset={offset} HTTP/1.1\r\nHost: localhost\r\n{encoding}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode("ascii") + body)
        await writer.drain()
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await reader.readexactly(int(answer.partition("content-length:")[2].split()[0]))
        return int(answer.split()[1])


def bare(path: str) -> Any:
    """The append of somebody without a collector: rows of one table, a synced transaction for each batch."""
    db = sqlite3.connect(path, isolation_level=None, timeout=60)
    db.execute("PRAGMA synchronous=FULL")

    def append(name: str, offset: int, data: bytes) -> None:
        rows = []
        for line in data.splitlines(keepends=True):
            rows.append((name, offset, line.decode("ascii")))
            offset += len(line)
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO lines VALUES (?,?,?)", rows)
        db.execute("COMMIT")

    return append


def main() -> None:
    """A writer: `WHERE SHARE BATCH`, to a collector's URL or a bare database. Says when it is ready, begins when its
    input ends."""
    url, share, batch = sys.argv[1:4]
    tapes = [
        (name, data.encode("ascii")) for name, data in json.loads(Path(share).read_text(encoding="ascii"))
    ]
    append = HttpBackend(url, home="/nowhere").append if "://" in url else bare(url)
    print("ready", flush=True)
    sys.stdin.read()
    for name, data in tapes:
        for offset, part in pieces(data, int(batch)):
            append(name, offset, part)


if __name__ == "__main__":
    main()
