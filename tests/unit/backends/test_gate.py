"""The gate: one holder at a time among all processes, freed by death, not inherited."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from holter.backends.errors import StorageError
from holter.backends.gate import Gate


def child(work: Callable[[], object]) -> int:
    with warnings.catch_warnings():  # other tests may have left threads, which a child does not use
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def reap(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "gate")


def hold_for_ever(path: str, sign: Path) -> None:
    with Gate(path, None).held():
        sign.touch()
        time.sleep(60)


def test_a_second_holder_waits_for_the_first_or_is_told_in_time(path: str) -> None:
    first, second = Gate(path, 0.05), Gate(path, 0.05)
    with first.held():
        began = time.monotonic()
        with pytest.raises(StorageError, match="another writer holds"), second.held():
            pass
        assert 0.04 < time.monotonic() - began < 5
    with second.held():
        pass
    first.close()
    second.close()


def test_counting_behind_the_gate_loses_nothing(path: str, tmp_path: Path) -> None:
    counter = tmp_path / "n"
    counter.write_text("0")

    def count() -> None:
        gate = Gate(path, None)
        for _ in range(200):
            with gate.held():
                counter.write_text(str(int(counter.read_text()) + 1))

    pids = [child(count) for _ in range(4)]
    for pid in pids:
        os.waitpid(pid, 0)
    assert counter.read_text() == "800"


def test_the_death_of_its_holder_opens_the_gate(path: str, tmp_path: Path) -> None:
    sign = tmp_path / "held"
    pid = child(lambda: hold_for_ever(path, sign))
    wait_until(sign.exists)
    gate = Gate(path, 0.0)
    assert not gate.take(0.0)
    reap(pid)
    assert gate.take(1.0)
    gate.close()


def test_a_forked_child_holds_nothing_and_can_take_nothing(path: str) -> None:
    gate = Gate(path, 5.0)
    ready, done = os.pipe(), os.pipe()

    def live() -> None:
        try:
            gate.take(0.0)
        except StorageError:
            os.write(ready[1], b"refused")
        os.read(done[0], 1)

    with gate.held():
        pid = child(live)
        assert os.read(ready[0], 100) == b"refused"
    other = os.open(path, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if the child holds a copy
    reap(pid)
    for fd in (other, *ready, *done):
        os.close(fd)
    gate.close()


def test_a_gate_whose_file_was_deleted_excludes_those_who_came_later(path: str) -> None:
    old = Gate(path, 0.05)
    os.unlink(path)
    new = Gate(path, 0.05)
    with old.held(), pytest.raises(StorageError), new.held():
        pass
    with new.held(), pytest.raises(StorageError), old.held():
        pass
    old.close()
    new.close()


def test_whoever_waits_without_a_bound_gets_in_when_the_holder_leaves(path: str) -> None:
    first, second = Gate(path, None), Gate(path, None)
    inside = threading.Event()

    def enter() -> None:
        with second.held():
            inside.set()

    waiter = threading.Thread(target=enter)
    with first.held():
        waiter.start()
        assert not inside.wait(0.05)
    assert inside.wait(10)
    waiter.join()
    first.close()
    second.close()


def test_a_closed_gate_says_so(path: str) -> None:
    gate = Gate(path, 1.0)
    gate.close()
    gate.close()
    with pytest.raises(StorageError, match="open the store again"), gate.held():
        pass


def test_a_link_is_not_followed(path: str, tmp_path: Path) -> None:
    (tmp_path / "gate").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Gate(path, 1.0)
    assert not (tmp_path / "elsewhere").exists()
