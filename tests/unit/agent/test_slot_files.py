"""A limit's folder, file by file: names, what the kernel says of each, and what its holder wrote, as far as it goes."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent import identity
from holter.agent.slot_files import (
    FREE,
    HELD,
    RECORD_LIMIT,
    UNUSABLE,
    Place,
    drafts,
    file_name,
    folder_of,
    holders,
    limits,
    look,
    make_folder,
    record,
    slot_numbers,
    slot_path,
    tickets,
    waiters,
)
from holter.backends.errors import SettingsError, StorageError


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path / "home")


@contextmanager
def locked(path: str | Path, text: bytes = b"", how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """The file is held, as by another process: a lock belongs to who opened the file."""
    Path(path).write_bytes(text)
    with open(path) as file:
        fcntl.flock(file, how)
        yield


# --- names ---


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        ("database", "database"),
        ("data base/1", "data%20base%2F1"),
        ("..", "%2E."),
        (".x", "%2Ex"),
        ("x.y", "x.y"),
        ("\udc80", "%ED%B2%80"),  # a byte of a command line that is no UTF-8
    ],
)
def test_a_limit_has_a_plain_folder(limit: str, name: str) -> None:
    assert file_name(limit) == name
    assert folder_of("/home", limit) == f"/home/slots/{name}"


@given(st.text(min_size=1, max_size=16))
def test_limits_of_different_names_have_different_folders_that_tell_the_name(name: str) -> None:
    from urllib.parse import unquote

    escaped = file_name(name)
    assert unquote(escaped, errors="surrogatepass") == name
    assert not escaped.startswith(".")


def test_a_name_has_1_to_200_plain_characters() -> None:
    assert file_name("x" * 200) == "x" * 200
    for wrong, shown in (("", "''"), ("x" * 201, repr("x" * 40))):
        with pytest.raises(SettingsError) as refused:
            file_name(wrong)
        assert str(refused.value) == f"{shown} cannot name a limit (use 1 to 200 plain characters)"


def test_slots_are_numbered_files_of_which_there_may_be_any() -> None:
    assert slot_path("/folder", 7) == "/folder/slot-007"
    assert slot_path("/folder", 1234) == "/folder/slot-1234"


def test_only_what_is_named_like_a_slot_or_a_ticket_is_one(home: str) -> None:
    folder = Path(make_folder(home, "database"))
    for name in ("slot-010", "slot-002", "slot-1000", "slot-1", "slot-00x", "xslot-003", "slot-0001x"):
        (folder / name).write_text("")
    early, late = f"{5:020d}-abcdefgh", f"{6:020d}-00000000"
    for name in (late, early, ".draft", "rubbish", f"{5:020d}-ABCDEFGH", f"{5:019d}-abcdefgh", f"{early}x"):
        (folder / "queue" / name).write_text("")
    assert slot_numbers(str(folder)) == [2, 10, 1000]
    assert tickets(str(folder)) == [early, late]
    assert drafts(str(folder)) == [".draft"]


# --- folders ---


def test_folders_are_made_private_once(home: str) -> None:
    folder = make_folder(home, "data/base")
    assert folder == f"{home}/slots/data%2Fbase"
    for path in (home, f"{home}/slots", folder, f"{folder}/queue"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    assert make_folder(home, "data/base") == folder


@pytest.mark.parametrize("place", ["slots", "slots/database", "slots/database/queue"])
def test_whatever_stands_where_a_folder_should_is_refused_by_its_path(home: str, place: str) -> None:
    Path(home, place).parent.mkdir(parents=True)
    Path(home, place).write_text("")
    with pytest.raises(NotADirectoryError) as refused:
        make_folder(home, "database")
    assert (refused.value.errno, refused.value.strerror) == (20, "not a folder of this user")
    assert refused.value.filename == f"{home}/{place}"


def test_limits_are_the_folders_that_were_made_for_one_in_order(home: str) -> None:
    assert limits(home) == []
    for limit in ("gpu", "data base", ".x"):
        make_folder(home, limit)
    Path(home, "slots", "file").write_text("")
    Path(home, "slots", "not escaped").mkdir()
    assert limits(home) == [".x", "data base", "gpu"]


def test_a_folder_that_cannot_be_looked_into_is_named_with_its_trouble(home: str) -> None:
    for question, path in ((limits, "slots"), (lambda home: holders(home, "database"), "slots/database")):
        looping = Path(home, path)
        looping.parent.mkdir(parents=True, exist_ok=True)
        looping.symlink_to(looping)
        said = (
            f"cannot look at {looping}: Too many levels of symbolic links (check HOLTER_HOME and its owner)"
        )
        with pytest.raises(StorageError) as refused:
            question(home)
        assert str(refused.value) == said
        looping.unlink()
    Path(home, "slots/database").mkdir(parents=True)
    Path(home, "slots/database/queue").symlink_to("queue")
    with pytest.raises(StorageError, match=r"cannot look at .*/queue: Too many levels"):
        waiters(home, "database")


# --- what the kernel says ---


def test_a_file_is_free_until_it_is_locked_and_afterwards(tmp_path: Path) -> None:
    path = str(tmp_path / "slot-000")
    assert look(path) == (FREE, b"")
    with locked(path, b"who"):
        assert look(path) == (HELD, b"who")
        assert look(path) == (HELD, b"who")
    assert look(path) == (FREE, b"")


def test_to_look_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "slot-000"
    path.write_text("")
    for _ in range(3):
        look(str(path))
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with locked(path):
        free = next_descriptor()
        look(str(path))
        assert next_descriptor() == free


def next_descriptor() -> int:
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number


def test_of_what_a_holder_wrote_a_page_is_read(tmp_path: Path) -> None:
    path = tmp_path / "slot-000"
    with locked(path, b"x" * (RECORD_LIMIT + 1)):
        assert look(str(path)) == (HELD, b"x" * RECORD_LIMIT)


def test_what_no_holder_can_have_made_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "dangling")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe"):
        assert look(str(tmp_path / name)) == (UNUSABLE, b"")
    assert not (tmp_path / "dangling").exists()


def test_trouble_that_says_nothing_about_the_file_is_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        look(str(tmp_path / "file" / "slot-000"))


# --- what is written ---


def test_a_holder_writes_one_line_of_json_about_itself() -> None:
    text = record(2, 5.5, "0abc", "é" * 300)
    me = identity.me()
    assert text.endswith(b"}\n")
    assert json.loads(text) == {
        **{key: me[key] for key in ("host", "boot", "namespace", "pid", "start_ticks")},
        "run_id": "0abc",
        "run_name": "é" * 200,
        "since": 5.5,
        "occupy": 2,
    }
    nobody = json.loads(record(1, 5.5, None, None))
    assert (nobody["run_id"], nobody["run_name"]) == (None, None)
    assert len(record(10**9, 1e10, "x" * 80, "\U0001f4be" * 200)) < RECORD_LIMIT


def place_of(home: str, text: bytes) -> Place:
    folder = make_folder(home, "database")
    with locked(slot_path(folder, 3), text):
        (place,) = holders(home, "database")
    return place


def test_a_held_slot_tells_all_that_its_holder_wrote(home: str) -> None:
    place = place_of(home, record(2, 5.5, "0abc", "nightly"))
    host = os.uname().nodename
    assert place == Place("database", 3, True, host, os.getpid(), "0abc", "nightly", 5.5, 2, True)
    assert holders(home, "database") == [
        Place("database", 3, False)
    ]  # what is written says nothing of a free one


def test_only_the_first_line_counts(home: str) -> None:
    assert place_of(home, record(1, 5.5, None, "first") + b'{"run_name": "second"}\n').run_name == "first"


def test_a_writer_that_is_gone_is_known_to_be_and_one_of_another_boot_is_not(home: str) -> None:
    told = json.loads(record(1, 5.5, None, None))
    assert place_of(home, json.dumps({**told, "start_ticks": 1}).encode()).alive is False
    assert place_of(home, json.dumps({**told, "boot": "another"}).encode()).alive is None
    assert place_of(home, json.dumps({**told, "namespace": 1}).encode()).alive is None
    assert place_of(home, json.dumps({**told, "pid": None}).encode()).alive is None


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("pid", value) for value in (0, -1, 2**63, "1", 1.0, None)),
        *(("occupy", value) for value in (0, -1, 2**63, "1", 1.0)),
        *(("since", value) for value in (5, "5", None, float("inf"), float("nan"))),
        *((name, 5) for name in ("host", "run_id", "run_name")),
    ],
)
def test_a_field_that_is_no_such_thing_is_none_and_the_others_are_told(
    home: str, name: str, wrong: Any
) -> None:
    told = {**json.loads(record(1, 5.5, "0abc", "nightly")), name: wrong}
    place = place_of(home, json.dumps(told).encode())
    assert getattr(place, name) is None
    fields = {"host": os.uname().nodename, "pid": os.getpid(), "run_id": "0abc", "run_name": "nightly"}
    for other, value in {**fields, "since": 5.5, "occupy": 1}.items():
        assert other == name or getattr(place, other) == value


def test_the_largest_number_and_the_smallest_are_told(home: str) -> None:
    told = json.loads(record(1, 5.5, None, None))
    assert place_of(home, json.dumps({**told, "occupy": 2**63 - 1}).encode()).occupy == 2**63 - 1
    assert place_of(home, json.dumps({**told, "occupy": 1}).encode()).occupy == 1


def test_a_text_is_cut_and_has_only_what_can_be_printed(home: str) -> None:
    text = json.dumps({"run_name": "\x1b[31m" + "n" * 300, "host": "a\nb"}).encode()
    place = place_of(home, text)
    assert (place.run_name, place.host) == ("[31m" + "n" * 195, "ab")


@pytest.mark.parametrize("text", [b"", b"no json", b"[1]", b"5", b"[" * RECORD_LIMIT, b"\xff"])
def test_what_is_no_object_tells_nothing_and_the_slot_is_held_all_the_same(home: str, text: bytes) -> None:
    assert place_of(home, text) == Place("database", 3, True)


def test_waiters_are_those_who_live_the_next_one_first(home: str) -> None:
    queue = f"{make_folder(home, 'database')}/queue"
    names = [f"{number:020d}-abcdefgh" for number in range(4)]
    Path(queue, names[1]).write_bytes(record(1, 5.5, None, "dead"))
    with locked(f"{queue}/{names[2]}", record(2, 5.5, None, "second")):  # noqa: SIM117 - one after the other
        with locked(f"{queue}/{names[0]}", record(1, 5.5, None, "first")):
            found = [
                (each.number, each.run_name, each.limit, each.occupy) for each in waiters(home, "database")
            ]
    assert found == [(0, "first", "database", 1), (1, "second", "database", 2)]
    assert waiters(home, "database") == []
