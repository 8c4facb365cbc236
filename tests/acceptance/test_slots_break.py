"""`holter slots break`: with proof, or not at all."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from holter.agent import identity
from holter.agent.leases import KIND, empty
from holter.backends.lines import encode

HOLDS = """
    import os, subprocess, sys, time
    from holter import concurrency, flow
    def bequeath():  # as C code does that forks, or opens nothing anew
        for fd in map(int, os.listdir("/proc/self/fd")):
            if os.path.exists(f"/proc/self/fd/{fd}") and "/slots/database/slot-" in os.readlink(f"/proc/self/fd/{fd}"):
                os.set_inheritable(fd, True)
        return subprocess.Popen(["sleep", "600"], close_fds=False, stdout=-3, stderr=-3).pid
    @flow(name="holds")
    def main():
        with concurrency("database"):
            print(bequeath() if "bequeath" in sys.argv else 0, flush=True)
            while True: time.sleep(600)
    main()
"""


def lives(pid: int) -> bool:
    return bool(identity.start_ticks(pid))


def entry_of(host_name: str, pid: int, **fields: Any) -> dict[str, Any]:
    """A holder of a shared limit, as its process would write it."""
    lease = {"id": "e1", "beat": "b1", "occupy": 1, "lease": 600.0, "token": 7, "numbers": [0]}
    who = {**identity.me(), "host": host_name, "pid": pid, "start_ticks": identity.start_ticks(pid)}
    return {
        **{key: who[key] for key in ("host", "boot", "namespace", "pid", "start_ticks")},
        **lease,
        **fields,
    }


def kill(process: Any) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)


def test_the_slot_of_a_live_holder_is_not_broken_and_it_is_said_what_ends_it(host: Any) -> None:
    process = host.start(host.script(HOLDS))
    process.stdout.readline()
    (limit,) = host.json("slots")
    (place,) = limit["holders"]
    assert (place["pid"], place["alive"], place["run_state"]) == (process.pid, True, "RUNNING")
    done = host.holter("slots", "break", "database")
    assert done.code == 1
    assert (
        f"slot 0 of database: not freed: pid {process.pid} lives: `holter cancel {place['run_id']}`"
        in done.err
    )
    assert lives(process.pid)
    kill(process)
    assert host.holter("slots", "break", "database").out == "nobody holds database\n"


def test_what_inherited_the_lock_of_a_dead_holder_is_shown_and_ended(host: Any, until: Any) -> None:
    process = host.start(host.script(HOLDS), "bequeath")
    orphan = int(process.stdout.readline())
    kill(process)
    (limit,) = host.json("slots")
    assert limit["holders"][0]["alive"] is False
    assert limit["holders"][0]["run_state"] == "CRASHED"
    assert " gone " in host.holter("slots").out
    done = host.holter("slots", "break", "database")
    assert (done.code, done.err) == (0, "")
    assert f"freed: pid {process.pid} is gone; ended who had inherited its lock: pid {orphan}" in done.out
    until(lambda: not lives(orphan), "its end")
    assert host.json("slots")[0]["holders"] == []


SHARED = "limits: {gpu: {slots: 1, scope: shared, lease: 10m}}"


def held_from_afar(host: Any, *endings: dict[str, Any], **fields: Any) -> None:
    """A lease that a process of another host has, which has a run; `endings` are what came of that."""
    host.settings(SHARED)
    events = [
        {"event": "process", "host": "far-1", "boot": "b", "pid": 42, "start_ticks": 1, "project": "default"},
        {"event": "start", "run": "r1", "kind": "flow", "name": "train", "at": 1.0},
        *endings,
    ]
    host.store.append("j1", 0, b"".join(map(encode, events)))
    entry = {**entry_of("far-1", 1, run_id="r1", run_name="train", **fields), "pid": 42, "boot": "b"}
    host.store.put(KIND, "gpu", {**empty(), "token": 7, "slots": 1, "holders": [entry]}, 0)


def test_a_lease_is_taken_out_once_its_run_has_ended_and_its_process_has_gone(host: Any) -> None:
    closed = [{"event": "end", "run": "r1", "state": "FAILED", "at": 2.0}, {"event": "close", "at": 3.0}]
    held_from_afar(host, *closed)
    assert " gone " in host.holter("slots").out
    done = host.holter("slots", "break", "gpu")
    assert done.code == 0
    assert "slot 0 of gpu: freed: its run r1 is FAILED, and its process has gone" in done.out
    document = host.store.get(KIND, "gpu").value
    assert (document["holders"], document["token"]) == ([], 7)


@pytest.mark.parametrize(
    "endings",
    [
        (),
        ({"event": "judge", "run": "r1", "condition": "lost", "on": True, "at": 2.0},),
        ({"event": "judge", "run": "r1", "state": "FAILED", "by": "mark", "reason": "by hand", "at": 2.0},),
        ({"event": "end", "run": "r1", "state": "COMPLETED", "at": 2.0},),
        (
            {"event": "end", "run": "r1", "state": "COMPLETED", "at": 2.0},
            {"event": "moved", "to": "j2", "at": 3.0},
            {"event": "close", "at": 3.0},
        ),
    ],
    ids=[
        *("that runs", "that is lost", "that somebody marked", "whose process goes on"),
        "whose process goes on in another journal",
    ],
)
def test_the_lease_of_a_run_stays(host: Any, endings: tuple[dict[str, Any], ...]) -> None:
    held_from_afar(host, *endings)
    done = host.holter("slots", "break", "gpu")
    assert done.code == 1
    assert (
        "nothing proves that pid 42 on far-1 is gone; if it is, its lease runs out within 600 s" in done.err
    )
    assert len(host.store.get(KIND, "gpu").value["holders"]) == 1


def test_a_closed_journal_is_not_enough_while_its_run_goes_on_in_another(host: Any) -> None:
    held_from_afar(host, {"event": "close", "at": 3.0})
    assert host.holter("slots", "break", "gpu").code == 1


def test_only_the_slot_that_is_named_is_broken(host: Any) -> None:
    held_from_afar(
        host, {"event": "end", "run": "r1", "state": "FAILED", "at": 2.0}, {"event": "close", "at": 3.0}
    )
    assert host.holter("slots", "break", "gpu", "--slot", "1").out == "nobody holds slot 1 of gpu\n"
    assert len(host.store.get(KIND, "gpu").value["holders"]) == 1


def test_a_limit_that_is_not_there_is_bad_input(host: Any) -> None:
    done = host.holter("slots", "break", "nope")
    assert (done.code, "no limit 'nope'" in done.err) == (2, True)
