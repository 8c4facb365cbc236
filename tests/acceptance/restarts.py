"""A PostgreSQL that is restarted while scripts write into it, and what must be true of it afterwards."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holter.backends.queries import LogQuery, RunQuery
from holter.testing.database import Server
from holter.testing.tapes import outbox

WRITER = """
    import json, os, sys, time
    from holter import flow, current_run, get_run_logger
    number, stop, told = sys.argv[1], sys.argv[2], open(sys.argv[3], "a")

    def note(state):
        told.write(json.dumps([current_run().id, state]) + "\\n")
        told.flush()

    @flow(name=f"good-{number}")
    def good(n):
        get_run_logger().info("line %s", n)
        note("COMPLETED")
        return n

    @flow(name="bad")
    def bad(n):
        note("FAILED")
        raise ValueError(n)

    print("ready", flush=True)
    n = 0
    while not os.path.exists(stop):
        good(n)
        if n % 40 == 5:
            try: bad.with_options(name=f"bad-{number}-{n}")(n)
            except ValueError: pass
        n += 1
        time.sleep(0.01)
"""
# As a collector does: one batch after the other, so that every restart finds some in the middle of their transaction.
PUSHER = """
    import json, os, sys, time
    from holter.backends.clock import new_id
    from holter.backends.errors import OffsetMismatch, StorageError
    from holter.backends.lines import encode
    from holter.backends.urls import open_backend
    number, stop, told = sys.argv[1], sys.argv[2], open(sys.argv[3], "a")
    journal, offset, n, store = new_id(), 0, 0, open_backend(os.environ["HOLTER_BACKEND"], "")
    data = encode({"event": "process", "at": time.time(), "journal": journal, "host": "push", "pid": 1})
    print("ready", flush=True)
    while not os.path.exists(stop):
        run = {"run": new_id(), "at": time.time()}
        data += encode({"event": "start", "kind": "flow", "name": f"good-push-{number}", **run})
        data += encode({"event": "log", "text": f"line {n}", **run})
        data += encode({"event": "end", "state": "COMPLETED", "result": n, **run})
        n, end = n + 1, offset + len(data)
        while offset < end:
            try:
                offset = store.append(journal, offset, data)
            except OffsetMismatch as other:
                assert other.expected == end, (other, offset, end)
                offset = end
            except StorageError:
                time.sleep(0.02)
        told.write(json.dumps([run["run"], "COMPLETED"]) + "\\n")
        told.flush()
        data = b""
        time.sleep(0.002)
"""
VICTIM = """
    import sys, time
    from holter import flow, current_run
    @flow(name=f"victim-{sys.argv[1]}")
    def victim():
        print(current_run().id, flush=True)
        time.sleep(600)
    victim()
"""
SETTINGS = """
    channels: {{hook: {{webhook: "{url}"}}}}
    alerts: [{{on: [failed, crashed], to: [hook]}}]
    watchdog: {{digest: 0}}
"""


@contextmanager
def server() -> Iterator[Server]:
    """One of our own, to be restarted at will."""
    made = Server()
    try:
        yield made
    finally:
        made.stop()


class Load:
    """Writers on each of the hosts, that go on until `stop`, and pushers, who write into the store of the hosts
    themselves; and runs that are killed meanwhile, on the `watched` hosts."""

    def __init__(
        self, folder: Path, hosts: list[Any], writers: int, pushers: int = 0, watched: list[Any] | None = None
    ) -> None:
        self._stop, self._folder = folder / "stop", folder
        self._hosts = watched or hosts
        self.victims: dict[str, str] = {}
        self.processes: list[subprocess.Popen[str]] = []
        for number in range(writers + pushers):
            host = hosts[number % len(hosts)]
            script = (
                host.script(WRITER, "writer.py") if number < writers else host.script(PUSHER, "pusher.py")
            )
            told = str(folder / f"told-{number}")
            self.processes.append(host.start(script, str(number), str(self._stop), told))
        for process in self.processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"

    def kill_one(self) -> None:
        """A run whose process is killed; nobody but a watchdog can tell how it ended."""
        number = len(self.victims)
        host = self._hosts[number % len(self._hosts)]
        victim = host.start(host.script(VICTIM, "victim.py"), str(number))
        self.victims[victim.stdout.readline().strip()] = "CRASHED"
        victim.kill()
        victim.wait(20)

    def stop(self) -> dict[str, str]:
        """End the writers; what was run, by id, and how it ended."""
        self._stop.touch()
        for process in self.processes:
            _, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
        lines = [line for path in self._folder.glob("told-*") for line in path.read_text().splitlines()]
        return {**dict(json.loads(line) for line in lines), **self.victims}


def disturb(load: Load, restart: Callable[[], None], times: int, seed: int = 1) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        time.sleep(chance.uniform(0.2, 0.8))  # so long there is load between two restarts
        load.kill_one()
        restart()


def stands_as(store: Any, ran: dict[str, str]) -> bool:
    """Whether the store says of every run how it ended."""
    return {run.id: run.state for run in store.runs(RunQuery(limit=None))} == ran


def assert_nothing_is_lost_or_doubled(store: Any, ran: dict[str, str]) -> None:
    runs = store.runs(RunQuery(limit=None))
    assert Counter(run.id for run in runs) == Counter(list(ran))
    assert stands_as(store, ran)
    for run in runs:
        if run.name.startswith("good"):
            assert [line.text for line in store.logs(LogQuery(run.id))] == [f"line {run.result}"]
        kinds = Counter(event["event"] for event in store.events(run.id))
        assert max(kinds.values()) == 1, (run, kinds)
    told = Counter((each.run_id, each.to_state, each.condition) for each in outbox(store))
    assert max(told.values()) == 1
    endings = {run: to for run, to, condition in told if to in ("COMPLETED", "FAILED", "CRASHED")}
    assert endings == ran


def assert_one_alert_for_each(hook: Any, ran: dict[str, str]) -> int:
    """Every failure and crash has one alert. One that was sent when the database went, so that this could not be
    recorded, is sent again with the same key: how many such there were."""
    keys: dict[str, set[str]] = {}
    for taken in list(hook.taken):
        keys.setdefault(taken["alert"]["run_id"], set()).add(taken["alert"]["dedupe_key"])
    assert set(keys) == {run for run, state in ran.items() if state in ("FAILED", "CRASHED")}
    assert {len(each) for each in keys.values()} == {1}
    return len(hook.taken) - len(keys)
