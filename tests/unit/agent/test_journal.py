"""The flight recorder: a locked file, whole lines, also when the disk is full and when it is replaced."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.journal import Journal, read
from holter.backends.lines import decode, encode


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here ({done.stderr.strip()}): run as root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def locked(path: str) -> bool:
    with open(path, "rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_a_journal_is_locked_private_and_has_its_header_before_it_has_its_name(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "journals"), {"host": "h", "pid": 1})
    assert stat.S_IMODE(os.stat(journal.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(journal.folder).st_mode) == 0o700
    assert locked(journal.path)
    ((_, header),) = decode(Path(journal.path).read_bytes())
    assert header is not None
    assert (header["event"], header["journal"], header["host"], header["format"]) == (
        "process",
        journal.id,
        "h",
        1,
    )
    assert os.listdir(journal.folder) == [f"{journal.id}.jsonl"]
    assert not os.get_inheritable(journal.fd)
    journal.let_go()
    assert not locked(journal.path)
    journal.let_go()


def test_where_a_journal_cannot_be_made_nothing_is_left_open_or_lying_about(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(OSError):
            Journal(str(folder), {})
    with pytest.raises(TypeError):
        Journal(str(tmp_path / "ok"), {1 + 1j: "no JSON key"})  # type: ignore[dict-item]
    assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path / "ok") == []


def test_children_that_are_started_do_not_hold_the_lock(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path), {})
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        journal.let_go()
        deadline = time.monotonic() + 5  # the kernel closes the child's copies one by one
        while locked(journal.path) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not locked(journal.path)
        child.communicate(b"\n")


def test_on_a_full_disk_half_a_line_costs_no_other(small_tmpfs: Path) -> None:
    ballast = small_tmpfs / "ballast"
    ballast.write_bytes(b"x" * 32768)
    journal = Journal(str(small_tmpfs), {})
    written = 0
    with suppress(OSError):
        while True:
            journal.write(encode({"event": "log", "n": written, "text": "x" * 700}))
            written += 1
    assert journal.torn
    ballast.unlink()
    journal.write(encode({"event": "log", "n": "last"}))
    events = [event for _, event in decode(Path(journal.path).read_bytes())]
    assert [event["n"] for event in events if event is not None and "n" in event] == [*range(written), "last"]
    assert events.count(None) <= 1
    journal.let_go()


def test_a_replaced_journal_stays_locked_until_its_last_reader_is_done(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path), {"host": "h"})
    journal.write(encode({"event": "log", "n": 1}))
    fd = journal.fd
    old_id, old_path, old_fd = journal.rotate()
    assert journal.fd == fd
    assert old_id != journal.id
    journal.write(encode({"event": "log", "n": 2}))
    assert locked(old_path) and locked(journal.path)
    assert [event["event"] for _, event in decode(Path(journal.path).read_bytes()) if event] == [
        "process",
        "log",
    ]
    assert b'"n":1' in read(old_fd, 0, 10_000)
    journal.done_with()
    assert not locked(old_path) and locked(journal.path)
    journal.let_go()


def test_who_lets_go_of_a_journal_lets_go_of_the_replaced_one_too(tmp_path: Path) -> None:
    """As a forked child does: with a lock of its own its parent would never be found dead."""
    journal = Journal(str(tmp_path), {"host": "h"})
    _, old_path, _ = journal.rotate()
    assert locked(old_path) and locked(journal.path)
    journal.let_go()
    assert not locked(old_path) and not locked(journal.path)


def test_a_journal_that_cannot_be_replaced_goes_on_and_keeps_no_descriptor(tmp_path: Path) -> None:
    """It is tried again twice a second for as long as the disk is full."""
    journal = Journal(str(tmp_path / "journals"), {"host": "h"})
    shutil.rmtree(tmp_path / "journals")
    before = os.listdir("/dev/fd")
    for _ in range(3):
        with pytest.raises(OSError):
            journal.rotate()
    assert os.listdir("/dev/fd") == before
    journal.write(encode({"event": "log", "n": 1}))
    journal.let_go()


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 60), st.integers(0, 30))
def test_reading_gives_whole_lines_whatever_the_limit(sizes: list[int], limit: int, tail: int) -> None:
    lines = [b"x" * size + b"\n" for size in sizes]
    data = b"".join(lines)
    fd = os.memfd_create("journal")
    os.write(fd, data + b"y" * tail)
    offset, found = 0, b""
    while part := read(fd, offset, limit):
        assert part.endswith(b"\n")
        found += part
        offset += len(part)
    os.close(fd)
    assert found == data
