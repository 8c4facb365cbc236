"""Who a process is: no other process, of this or any other time, is ever taken for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from holter.agent import identity

GONE = 2**22 + 1  # no pid is ever this large


def test_i_am_alive() -> None:
    me = identity.me()
    assert identity.alive(me) is True
    assert not identity.foreign(me)
    assert not identity.rebooted(me)
    assert (me["pid"], me["host"]) == (os.getpid(), os.uname().nodename)
    assert me["start_ticks"] > 0 and me["boot"] and me["namespace"]


@pytest.mark.parametrize(
    ("changed", "alive"),
    [
        ({"pid": GONE}, False),
        ({"start_ticks": 1}, False),
        ({"pid": 1}, False),
        ({"boot": "another"}, None),
        ({"boot": ""}, None),
        ({"namespace": 1}, None),
        ({"pid": None}, None),
        ({"pid": "many"}, None),
    ],
    ids=str,
)
def test_pids_count_only_with_their_start_in_the_same_boot_and_namespace(
    changed: Any, alive: bool | None
) -> None:
    assert identity.alive({**identity.me(), **changed}) is alive


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    header = {**identity.me(), "pid": process.pid, "start_ticks": identity.start_ticks(process.pid)}
    assert identity.alive(header) is True
    process.kill()
    deadline = time.monotonic() + 10
    while identity.alive(header) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert Path(f"/proc/{process.pid}").exists()  # nobody has waited for it yet
    assert identity.alive(header) is False
    process.communicate()
    assert identity.alive(header) is False


def test_a_process_whose_first_thread_has_ended_lives_on_in_the_others() -> None:
    code = """
import ctypes, os, threading, time
def work():
    print(os.getpid(), flush=True)
    time.sleep(30)
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("this Python does not survive pthread_exit of its first thread")
        deadline = time.monotonic() + 5
        while "\nState:\tZ" not in Path(f"/proc/{process.pid}/status").read_text():
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        assert identity.start_ticks(process.pid) > 0
        process.kill()


def test_a_command_with_spaces_and_parentheses_is_read_right(tmp_path: Path) -> None:
    odd = tmp_path / "a) R (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([str(odd), "30"]) as process:
        assert identity.start_ticks(process.pid) >= identity.start_ticks(os.getpid())
        process.kill()


def test_another_machine_and_another_boot_are_told_apart() -> None:
    me = identity.me()
    assert identity.foreign({**me, "host": "elsewhere"})
    assert not identity.rebooted({**me, "host": "elsewhere", "boot": "another"})
    assert identity.rebooted({**me, "boot": "another"})
    assert not identity.rebooted({**me, "boot": ""})


@pytest.mark.parametrize("packed", [False, True])
def test_the_commit_of_a_checkout_is_found_without_git(tmp_path: Path, packed: bool) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    git = tmp_path / "repo" / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    if packed:
        (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{commit} refs/heads/main\n")
    else:
        (git / "refs/heads/main").write_text(f"{commit}\n")
    script = tmp_path / "repo" / "jobs" / "x.py"
    script.parent.mkdir()
    script.write_text("print(1)\n")
    crc = f"{crc32(script.read_bytes()):08x}"
    assert identity.code_of(str(script)) == {"file": str(script), "git_commit": commit, "crc": crc}
    (git / "HEAD").write_text(f"{commit[::-1]}\n")
    assert identity.code_of(str(script)) == {"file": str(script), "git_commit": commit[::-1], "crc": crc}
    missing = {"file": str(tmp_path / "x.py"), "git_commit": None, "crc": None}
    assert identity.code_of(str(tmp_path / "x.py")) == missing
    assert identity.code_of(None) is None
