"""An event whose call returned is in the store after adoption, once, wherever the process was killed."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import Any

import pytest

# Each process says in a side file what it has recorded, after the recording call returned. One `write` each: a line
# that is whole was said before the kill. The last may be torn, as a kill ends a write where it crosses a page.
WORKER = """
    import os, sys
    from holter import flow, task, current_run, artifact
    import holter.agent.shipper as shipper
    shipper.INTERVAL, shipper.REST = float(sys.argv[2]), 0
    if len(sys.argv) > 3: shipper.ROTATE_AT = int(sys.argv[3])

    said = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    def say(*words): os.write(said, (" ".join(map(str, words)) + "\\n").encode())

    @task
    def step(n):
        run = current_run()
        say("start", run.id)
        run.log(f"line {n}")
        say("log", run.id, n)
        if n % 10 == 0:
            artifact("a", markdown=f"# {n}")
            say("artifact", run.id, n)
        return run.id

    @flow
    def main():
        run = current_run()
        say("start", run.id)
        print("go", flush=True)
        for n in range(100_000):
            say("end", step(n))

    main()
"""


def check(host: Any, said: list[str], runs: dict[str, Any], lines: dict[str, list[str]]) -> Counter[str]:
    """Compare what was said with what is in the store."""
    count: Counter[str] = Counter()
    for word in said:
        kind, run_id, *rest = word.split()
        count[kind] += 1
        run = runs.get(run_id)
        assert run is not None, f"lost: {word}"
        if kind == "log":
            assert lines[run_id] == [f"line {rest[0]}"], (word, lines[run_id])
        elif kind == "artifact":
            assert [item["data"] for item in run.artifacts] == [f"# {rest[0]}"], word
        elif kind == "end":
            assert run.state == "COMPLETED", word
    return count


def lose_nothing(host: Any, kills: int, at_once: int, rotate_at: str = "") -> Counter[str]:
    rng = random.Random(kills)
    script = host.script(WORKER)
    for batch in range(0, kills, at_once):
        workers = []
        for number in range(batch, min(kills, batch + at_once)):
            interval = rng.choice(["0.001", "0.02", "0.5"])
            said = host.folder / f"said-{number}"
            workers.append(host.start(script, str(said), interval, *([rotate_at] if rotate_at else [])))
        for worker in workers:
            assert worker.stdout.readline() == "go\n", worker.stderr.read()
        for worker in workers:
            time.sleep(rng.uniform(0.0, 0.06))
            worker.kill()
        for worker in workers:
            worker.wait(20)
    deadline = time.monotonic() + 20  # others may be at it, too
    while host.catch_up() and host.journals() and time.monotonic() < deadline:
        time.sleep(0.01)
    runs = {run.id: run for run in host.seen()}
    assert host.journals() == []
    assert {run.state for run in runs.values()} <= {"COMPLETED", "CRASHED"}
    assert [run.state for run in runs.values() if run.name == "main"] == ["CRASHED"] * kills
    lines: dict[str, list[str]] = {}
    for root in [run for run in runs.values() if run.parent_id is None]:
        for log in host.logs(root):
            lines.setdefault(log.run_id, []).append(log.text)
    assert max(Counter(run for run, texts in lines.items() for _ in texts).values()) == 1  # none twice
    total: Counter[str] = Counter()
    for number in range(kills):
        *said, _torn = (host.folder / f"said-{number}").read_text().split("\n")
        total += check(host, said, runs, lines)
    return total


@pytest.mark.parametrize("backend", ["sqlite:///holter.db", "file:///history"])
@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.long)])
def test_after_kill_nine_every_event_whose_call_returned_is_in_the_store_once(
    new_host: Any, figures: Any, backend: str, kills: int
) -> None:
    total = lose_nothing(new_host(backend), kills, at_once=2)
    figures(kills=kills, acknowledged=sum(total.values()), lost=0, twice=0, **total)
    assert sum(total.values()) > kills


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.long)])
def test_nor_is_any_lost_where_the_journal_is_replaced_all_the_time(
    new_host: Any, figures: Any, kills: int
) -> None:
    total = lose_nothing(new_host(), kills, at_once=2, rotate_at="4000")
    figures(kills=kills, acknowledged=sum(total.values()), lost=0, twice=0)


def test_nor_while_readers_ship_beside_the_process(host: Any, figures: Any) -> None:
    """`holter runs` sends what the process has not sent yet; both may send the same bytes at the same time."""
    reader = host.script(
        """
        import os
        from holter.agent.watchdog.adopt import catch_up
        from holter.backends.urls import open_backend
        home = os.environ["HOLTER_HOME"]
        store = open_backend("sqlite:///holter.db", home)
        print("go", flush=True)
        while not os.path.exists("stop"): catch_up(home, store)
        """,
        "reader.py",
    )
    readers = [host.start(reader) for _ in range(2)]
    for process in readers:
        process.stdout.readline()
    total = lose_nothing(host, 10, at_once=2)
    (host.folder / "stop").touch()
    for process in readers:
        err = process.communicate(timeout=20)[1]
        assert (process.returncode, err) == (0, "")
    figures(kills=10, acknowledged=sum(total.values()), lost=0, twice=0)


def test_a_torn_tail_costs_no_other_line(host: Any) -> None:
    """A kill in the middle of a large write, or a full disk, leaves half a line."""
    worker = host.start(host.script(WORKER), str(host.folder / "said"), "0.5")
    worker.stdout.readline()
    worker.kill()
    worker.wait(20)
    (journal,) = host.journals()
    data = journal.read_bytes()
    journal.write_bytes(data + b'{"event":"start","run":"half')
    runs = host.runs()
    assert {run.state for run in runs} <= {"COMPLETED", "CRASHED"}
    assert len(runs) == sum(1 for line in data[: data.rfind(b"\n")].splitlines() if b'"start"' in line)
    assert host.journals() == []
    assert host.store.processes(open_only=False)[0].damaged == 1


@pytest.mark.parametrize("damage", ["flip a bit", "cut a line", "zeros", "a line twice", "foreign words"])
def test_damage_in_the_middle_costs_the_damaged_lines_only(host: Any, damage: str) -> None:
    worker = host.start(host.script(WORKER), str(host.folder / "said"), "60")
    worker.stdout.readline()
    said = host.folder / "said"
    while not said.exists() or said.read_text().count("end") < 20:
        time.sleep(0.002)
    worker.kill()
    worker.wait(20)
    (journal,) = host.journals()
    data = journal.read_bytes()
    lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if n > 10 and b'"log"' in line)
    victim = lines[at]
    lines[at : at + 1] = {
        "flip a bit": [victim.replace(b"line", b"lime")],
        "cut a line": [victim[:20] + b"\n"],
        "zeros": [b"\0" * len(victim) + b"\n"],
        "a line twice": [victim, victim],
        "foreign words": [victim, b"hello world\n", b'{"event":"end"}\n', b"\xff\xfe\n"],
    }[damage]
    journal.write_bytes(b"".join(lines))
    runs = host.runs()
    assert len(runs) == sum(b'"start"' in line for line in lines)
    assert {run.state for run in runs} <= {"COMPLETED", "CRASHED"}
    logs = [log.text for run in runs if run.parent_id is None for log in host.logs(run)]
    expected = [
        json.loads(line)["text"]
        for line in lines
        if b'"log"' in line and b"lime" not in line and b"}" in line
    ]
    assert logs == expected
