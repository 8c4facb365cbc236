"""Journals of the dead: shipped, judged on proof, removed, by whoever is first. Never those of the living."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holter.agent import identity
from holter.agent.tape import EXITED_LOSING, EXITED_LOSING_SUCCESS
from holter.agent.watchdog.adopt import catch_up
from holter.backends.clock import Clock
from holter.backends.lines import encode
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.urls import open_backend

URL = "sqlite:///holter.db"
GONE = 2**22 + 1  # no pid is ever this large


class FixedClock(Clock):
    def wall(self) -> float:
        return 2_000_000_000.0


class Home:
    """A home with journals made by hand, and the store that they are for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / "journals"
        self.folder.mkdir(parents=True)
        self.store = open_backend(URL, str(path))

    def journal(self, *events: dict[str, Any], name: str = "j1", **header: Any) -> Path:
        """A journal whose process is gone, unless the header says otherwise."""
        me = {**identity.me(), "pid": GONE, "store": URL, "heartbeat": 5.0, "project": "p", **header}
        lines = [encode({"event": "process", "journal": name, **me})]
        lines += [encode({"at": 1000.0, **event}) for event in events]
        path = self.folder / f"{name}.jsonl"
        path.write_bytes(b"".join(lines))
        return path

    def sweep(self, **options: Any) -> Any:
        return catch_up(str(self.path), self.store, FixedClock(), **options)

    def states(self) -> dict[str, str]:
        return {run.id: run.state for run in self.store.runs(RunQuery(limit=None))}

    def run(self, run_id: str) -> Any:
        return self.store.run(run_id)


def start(run: str, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    linked = {"parent": parent} if parent else {}
    return {
        "event": "start",
        "run": run,
        "kind": "task" if parent else "flow",
        "name": run,
        **linked,
        **fields,
    }


def end(run: str, state: str = "COMPLETED") -> dict[str, Any]:
    return {"event": "end", "run": run, "state": state}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    made.store.close()


def test_runs_that_a_dead_process_left_open_are_crashed_and_the_others_are_what_they_were(home: Home) -> None:
    path = home.journal(
        start("r1"), start("r1.1", "r1"), end("r1.1"), start("r1.2", "r1"), start("r2"), end("r2", "FAILED")
    )
    out = home.sweep()
    assert home.states() == {"r1": "CRASHED", "r1.1": "COMPLETED", "r1.2": "CRASHED", "r2": "FAILED"}
    assert (out.crashed, out.removed) == (2, 1)
    assert str(GONE) in home.run("r1").reason
    assert not path.exists()


def test_the_store_knows_of_an_adopted_journal_that_nobody_writes_it_any_more(home: Home) -> None:
    home.journal(start("r1"))
    home.sweep()
    assert home.store.processes() == []
    assert [each.closed_at for each in home.store.processes(open_only=False)] == [2_000_000_000.0]


def test_a_run_that_was_found_dead_at_once_ended_now_and_one_found_late_when_it_fell_silent(
    home: Home,
) -> None:
    home.journal(start("r1", at=1_999_999_995.0), name="j1")
    home.journal(start("r2", at=1_000.0), {"event": "beat", "at": 1_500.0, "seq": 1}, name="j2")
    home.sweep()
    assert home.run("r1").ended_at == 2_000_000_000.0
    assert home.run("r2").ended_at == 1_500.0


def test_sweeping_again_changes_nothing(home: Home) -> None:
    home.journal(start("r1"))
    home.sweep()
    before = home.store.transitions(0)
    assert home.sweep() == type(home.sweep())()
    assert home.store.transitions(0) == before


def test_a_journal_that_the_store_has_in_part_is_sent_from_there(home: Home) -> None:
    path = home.journal(
        start("r1"), {"event": "log", "run": "r1", "text": "a"}, {"event": "log", "run": "r1", "text": "b"}
    )
    data = path.read_bytes()
    whole_lines = data[: data.index(b"\n", data.index(b'"text":"a"')) + 1]
    home.store.append("j1", 0, whole_lines)
    home.sweep()
    assert [log.text for log in home.store.logs(LogQuery("r1"))] == ["a", "b"]


def test_a_process_that_holds_its_lock_lives(home: Home) -> None:
    path = home.journal(start("r1"), pid=os.getpid())
    with path.open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        out = home.sweep()
    assert home.states() == {"r1": "RUNNING"}
    assert [live.journal for live in out.live] == ["j1"]
    assert out.crashed == 0


def test_a_process_that_lives_without_its_lock_has_replaced_its_program_and_is_left_alone(home: Home) -> None:
    home.journal(start("r1"), pid=os.getpid())
    assert home.sweep().crashed == 0
    assert home.states() == {"r1": "RUNNING"}


def test_a_pid_that_was_given_to_somebody_else_proves_nothing(home: Home) -> None:
    home.journal(start("r1"), pid=os.getpid(), start_ticks=1)
    assert home.sweep().crashed == 1


def test_a_lock_that_a_stranger_holds_for_a_dead_process_does_not_keep_it_alive(home: Home) -> None:
    """A child that C code forked inherits the lock of its parent."""
    path = home.journal(start("r1"))
    with path.open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert home.sweep().crashed == 1


def test_a_restart_of_the_host_ends_what_ran(home: Home) -> None:
    home.journal(start("r1"), boot="0000-another-boot", pid=os.getpid())
    home.sweep()
    assert (home.run("r1").state, home.run("r1").reason) == ("CRASHED", "host restarted")
    assert home.run("r1").ended_at == 1000.0


def test_a_journal_of_another_machine_is_never_touched(home: Home) -> None:
    path = home.journal(start("r1"), host="elsewhere", boot="0000-another-boot")
    out = home.sweep()
    assert (out.waiting, out.crashed, home.states()) == (1, 0, {})
    assert path.exists()


def test_a_journal_for_another_store_waits_for_it(home: Home) -> None:
    path = home.journal(start("r1"), store="sqlite:///other.db")
    assert home.sweep().waiting == 1
    assert path.exists() and home.states() == {}
    other = open_backend("sqlite:///other.db", str(home.path))
    assert catch_up(str(home.path), other).crashed == 1
    other.close()


@pytest.mark.parametrize(
    ("mode", "state"), [(EXITED_LOSING_SUCCESS, "COMPLETED"), (EXITED_LOSING, "FAILED"), (0o600, "CRASHED")]
)
def test_a_process_that_ended_in_order_on_a_full_disk_is_not_crashed(
    home: Home, mode: int, state: str
) -> None:
    home.journal(start("r1")).chmod(mode)
    home.sweep()
    assert home.run("r1").state == state


def test_what_a_replaced_journal_carried_over_is_judged_by_the_newer_one_only(home: Home) -> None:
    home.journal(start("r1"), start("r2"), {"event": "moved", "to": "j2"}, name="j1")
    home.journal({"event": "carry", "runs": ["r1", "r2"], "after": "j1"}, end("r1"), name="j2")
    home.sweep()
    assert home.states() == {"r1": "COMPLETED", "r2": "CRASHED"}
    assert [row.to_state for row in home.store.transitions(0) if row.run_id == "r1"] == [
        "RUNNING",
        "COMPLETED",
    ]


def test_a_torn_tail_costs_no_verdict(home: Home) -> None:
    path = home.journal(start("r1"))
    with path.open("ab") as file:
        file.write(b'{"event":"start","run":"r9"')
    home.sweep()
    assert home.states() == {"r1": "CRASHED"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"no json\n",
        encode({"event": "start", "run": "r1"}),
        encode({"event": "process"}),
        b"\xff" * 9,
    ],
    ids=["empty", "zeros", "words", "no header", "an empty header", "bytes"],
)
def test_a_journal_that_cannot_be_read_is_counted_and_keeps_nobody_waiting(home: Home, data: bytes) -> None:
    (home.folder / "a.jsonl").write_bytes(data)
    home.journal(start("r1"), name="b")
    out = home.sweep()
    assert home.states() == {"r1": "CRASHED"}
    assert out.damaged + out.waiting == 1


def test_drafts_of_journals_are_swept_when_their_maker_must_be_gone(home: Home) -> None:
    young, old = home.folder / ".young", home.folder / ".old"
    young.touch()
    old.touch()
    os.utime(old, (1, 1))
    home.sweep()
    assert young.exists() and not old.exists()


def test_a_store_that_refuses_keeps_the_journal(home: Home) -> None:
    path = home.journal(start("r1"))
    home.store.close()
    with pytest.raises(OSError):
        home.sweep()
    assert path.exists()
    home.store = open_backend(URL, str(home.path))
    assert home.sweep().crashed == 1


def test_any_number_of_adopters_at_once_give_one_verdict_each(home: Home) -> None:
    for number in range(40):
        home.journal(start(f"r{number}"), start(f"r{number}.1", f"r{number}"), name=f"j{number:02}")
    code = """
import os, sys, time
from holter.agent.watchdog.adopt import catch_up
from holter.backends.urls import open_backend
store = open_backend("sqlite:///holter.db", sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
total = 0
deadline = time.monotonic() + 20
while any(name.endswith(".jsonl") for name in os.listdir(sys.argv[1] + "/journals")) and time.monotonic() < deadline:
    total += catch_up(sys.argv[1], store).crashed
print(total)
"""
    crew = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for each in crew:
        assert each.stdout is not None and each.stdin is not None
        assert each.stdout.readline() == "ready\n"
    for each in crew:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    totals = [int(each.communicate(timeout=60)[0]) for each in crew]
    assert sum(totals) == 80
    assert set(home.states().values()) == {"CRASHED"}
    moves = [(row.run_id, row.to_state) for row in home.store.transitions(0)]
    assert len(moves) == len(set(moves))
    judged = [event for run in home.states() for event in home.store.events(run) if event["event"] == "judge"]
    assert len(judged) == 80


def test_an_adopter_that_is_killed_half_way_leaves_the_rest_to_the_next(home: Home) -> None:
    for number in range(30):
        home.journal(
            *[start(f"r{number}"), *({"event": "log", "run": f"r{number}", "text": "x"} for _ in range(50))],
            name=f"j{number:02}",
        )
    code = """
import sys
from holter.agent.watchdog.adopt import catch_up
from holter.backends.urls import open_backend
store = open_backend("sqlite:///holter.db", sys.argv[1])
print("go", flush=True)
catch_up(sys.argv[1], store)
"""
    for delay in (0.002, 0.005, 0.01, 0.02):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(home.path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        process.communicate()
    home.sweep()
    assert set(home.states().values()) == {"CRASHED"}
    assert len(home.states()) == 30
    for run in home.states():
        assert len(home.store.logs(LogQuery(run))) == 50
        assert sum(event["event"] == "judge" for event in home.store.events(run)) == 1


def test_what_live_processes_have_not_sent_is_sent_for_readers(home: Home) -> None:
    path = home.journal(start("r1"), pid=os.getpid())
    home.sweep()
    with path.open("ab") as file:
        file.write(encode({"at": 1001.0, "event": "log", "run": "r1", "text": "late"}))
    home.sweep()
    assert [log.text for log in home.store.logs(LogQuery("r1"))] == ["late"]


def test_json_in_a_journal_is_what_any_tool_reads(home: Home) -> None:
    for line in home.journal(start("r1")).read_text().splitlines():
        json.loads(line)


def test_a_verdict_that_the_disk_took_only_in_part_is_given_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the journal goes, and its run is never ended."""
    path = home.journal(start("r1"))
    whole = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: whole(fd, data[: len(data) // 2]))
        assert "No space left" in home.sweep().faults[0]
    assert path.exists()
    assert home.sweep().crashed == 1
    assert home.states() == {"r1": "CRASHED"}
    assert not path.exists()


@pytest.mark.parametrize(
    ("error", "named"),
    [
        *[(error, True) for error in ("EMFILE", "ENOMEM", "EIO", "EROFS", "ENOSPC", "ESTALE")],
        *[(error, False) for error in ("ENOENT", "EACCES", "EPERM", "ELOOP")],
    ],
)
def test_a_journal_that_cannot_be_opened_is_named_unless_it_is_gone_or_not_ours(
    home: Home, monkeypatch: pytest.MonkeyPatch, error: str, named: bool
) -> None:
    path = home.journal(start("r1"))
    opened, number = os.open, getattr(errno, error)

    def refuse(name: Any, *args: Any, **more: Any) -> int:
        if str(name) == str(path):
            raise OSError(number, os.strerror(number), name)
        return opened(name, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert home.sweep().faults == ([f"{path}: {os.strerror(number)}"] if named else [])
    assert home.sweep().crashed == 1


def test_a_journal_that_cannot_be_read_just_now_is_named_so_that_who_looks_can_say_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.journal(start("r1"))

    def refuse(*args: Any) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", refuse)
        swept = home.sweep()
    assert swept.faults == swept.unread == [f"{path}: Input/output error"]
    assert home.sweep().crashed == 1


LOST = [start("r1"), start("r1.1", "r1"), *({"event": "beat", "at": 1500.0 + n, "seq": n} for n in range(9))]


@pytest.mark.parametrize("kept", range(len(LOST) + 2), ids="{} lines kept".format)
def test_where_the_power_was_lost_after_the_store_had_got_more_the_verdict_comes_behind_that(
    home: Home, kept: int
) -> None:
    """Without `durability: host` the disk may have none of what was shipped from the page cache."""
    path = home.journal(*LOST, boot="an-earlier-boot")
    data = path.read_bytes()
    home.store.append("j1", 0, data)
    path.write_bytes(b"".join(data.splitlines(keepends=True)[:kept]))
    home.sweep()
    assert home.states() == {"r1": "CRASHED", "r1.1": "CRASHED"}
    assert home.run("r1").reason == "host restarted"
    assert home.run("r1").ended_at < 2000.0
    assert [each.damaged for each in home.store.processes(open_only=False)] == [0]
    assert not path.exists()


def test_what_the_store_knows_to_be_over_stays_so_where_the_power_was_lost(home: Home) -> None:
    path = home.journal(start("r1"), end("r1"), start("r2"), boot="an-earlier-boot")
    data = path.read_bytes()
    home.store.append("j1", 0, data)
    path.write_bytes(b"".join(data.splitlines(keepends=True)[:2]))
    home.sweep()
    assert home.states() == {"r1": "COMPLETED", "r2": "CRASHED"}
