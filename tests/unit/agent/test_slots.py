from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.slot_files import (
    FREE,
    HELD,
    RECORD_LIMIT,
    UNUSABLE,
    file_name,
    folder_of,
    slot_path,
    tickets,
)
from holter.agent.slot_tidy import tidy_limits
from holter.agent.slots import SLOWEST, Slots, choose, holders, limits, next_look, waiters
from holter.backends.clock import SYSTEM
from holter.backends.errors import HolterError, SettingsError, SlotReentry, SlotTimeout, StorageError

STATES = st.dictionaries(st.integers(0, 9), st.sampled_from([FREE, HELD, UNUSABLE]))


def take(slots: Slots) -> Slots:
    with closing(slots.collect()) as pauses:
        for pause in pauses:
            time.sleep(pause)
    return slots


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.002)


def attempt(home: str, slots: int = 1, occupy: int = 1) -> str:
    """What somebody else hears who does not want to wait: nothing, or an error."""
    answers: list[str] = []

    def ask() -> None:
        try:
            take(Slots(home, "database", slots, occupy, timeout=0)).release()
            answers.append("")
        except HolterError as error:
            answers.append(f"{type(error).__name__}: {error}")

    in_thread(ask).join(10)
    return answers[0]


def refused(home: str, slots: int = 1, occupy: int = 1) -> bool:
    """Whether somebody else hears that nothing is free."""
    answer = attempt(home, slots, occupy)
    assert answer.startswith("SlotTimeout") or not answer
    return bool(answer)


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path / "home")


# --- decisions -----------------------------------------------------------------------------------------------


@given(STATES, st.integers(1, 8), st.integers(1, 8))
def test_what_is_chosen_is_free_and_never_makes_more_than_there_are_slots(
    states: dict[int, str], slots: int, occupy: int
) -> None:
    chosen = choose(states, slots, occupy)
    taken = sum(state != FREE for state in states.values())
    assert all(states.get(number, FREE) == FREE and number < slots for number in chosen)
    assert len(chosen) == len(set(chosen))
    if chosen:
        assert len(chosen) == occupy and taken + occupy <= slots
    else:
        assert taken + occupy > slots


@given(st.integers(0, 100), st.floats(0, 1e6), st.none() | st.floats(0, 1e6), st.floats(0, 1))
def test_a_waiter_looks_again_soon_and_not_after_its_time(
    ahead: int, waited: float, timeout: float | None, patience: float
) -> None:
    pause = next_look(ahead, waited, timeout, patience)
    if pause is None:
        assert timeout is not None
        assert waited >= timeout
    else:
        assert 0 < pause <= SLOWEST
        assert timeout is None or waited + pause <= max(timeout, patience) * (1 + 1e-9)


@given(st.text(max_size=60))
def test_every_name_of_a_limit_is_one_plain_folder_name(name: str) -> None:
    try:
        escaped = file_name(name)
    except SettingsError:
        assert not name or len(name) > 20
    else:
        assert escaped.isascii()
        assert not escaped.startswith(".")
        assert "/" not in escaped and "\0" not in escaped


# --- holding -------------------------------------------------------------------------------------------------


def test_a_limit_of_two_lets_two_in_and_refuses_the_third(home: str) -> None:
    first, second = take(Slots(home, "database", 2)), Slots(home, "database", 2)
    in_thread(lambda: take(second)).join(10)
    assert {*first.numbers, *second.numbers} == {0, 1}
    assert refused(home, slots=2)
    first.release()
    assert not refused(home, slots=2)
    second.release()


def test_more_slots_than_the_limit_has_is_a_value_error(home: str) -> None:
    with pytest.raises(ValueError, match="occupy=4 is not between 1 and the 3 slots of limit 'database'"):
        Slots(home, "database", 3, occupy=4)
    with pytest.raises(ValueError, match="occupy=0"):
        Slots(home, "database", 3, occupy=0)


def test_slots_can_be_released_in_another_thread(home: str) -> None:
    mine = take(Slots(home, "database"))
    in_thread(mine.release).join(10)
    assert not refused(home)


def test_releasing_twice_raises_and_takes_nothing_from_the_next_holder(home: str) -> None:
    mine = take(Slots(home, "database"))
    mine.release()
    other = take(Slots(home, "database"))
    with pytest.raises(RuntimeError, match="released twice"):
        mine.release()
    assert refused(home)
    other.release()


def test_of_two_threads_that_release_at_once_one_succeeds(home: str) -> None:
    for _ in range(50):
        mine, start = take(Slots(home, "database")), threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(partial(release_at, mine), [start, start]))
        assert sorted(answers) == ["released", "released twice"]


def release_at(mine: Slots, start: threading.Barrier) -> str:
    start.wait()
    try:
        mine.release()
    except RuntimeError:
        return "released twice"
    return "released"


def test_the_same_thread_that_asks_again_is_told_at_once_which_run_it_is(home: str) -> None:
    mine = take(Slots(home, "database", 3, run_id="0abc", run_name="nightly"))
    with pytest.raises(SlotReentry, match=r"run 'nightly' \(0abc\) already holds slots of limit 'database'"):
        take(Slots(home, "database", 3))
    take(Slots(home, "gpu")).release()
    mine.release()
    take(Slots(home, "database", 3)).release()


def test_a_worker_thread_that_took_slots_for_another_may_take_more(home: str) -> None:
    async def main(pool: ThreadPoolExecutor) -> None:
        asyncio.get_running_loop().set_default_executor(pool)
        both = [await asyncio.to_thread(take, Slots(home, "database", 2)) for _ in range(2)]
        for slots in both:
            slots.release()

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(main(pool))


def test_slots_of_an_object_that_was_never_taken_cannot_be_released(home: str) -> None:
    with pytest.raises(RuntimeError):
        Slots(home, "database").release()


# --- the queue -----------------------------------------------------------------------------------------------


def test_waiters_come_in_in_the_order_in_which_they_came(home: str) -> None:
    order: list[int] = []

    def work(number: int) -> None:
        mine = take(Slots(home, "database"))
        order.append(number)
        mine.release()

    gate = take(Slots(home, "database"))
    threads = []
    for number in range(5):
        threads.append(in_thread(partial(work, number)))
        until(lambda: len(waiters(home, "database")) == len(threads))
    gate.release()
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3, 4]


def test_who_wants_many_is_not_passed_by_who_wants_one(home: str) -> None:
    order: list[str] = []
    gate = take(Slots(home, "database", 2))

    def work(name: str, occupy: int) -> None:
        mine = take(Slots(home, "database", 2, occupy))
        order.append(name)
        mine.release()

    many = in_thread(lambda: work("many", 2))
    until(lambda: len(waiters(home, "database")) == 1)
    one = in_thread(lambda: work("one", 1))  # though a slot is free for it
    until(lambda: len(waiters(home, "database")) == 2)
    assert refused(home, slots=2)
    assert order == []
    gate.release()
    many.join(10)
    one.join(10)
    assert order == ["many", "one"]


def test_who_waits_in_vain_is_told_so_in_time_and_leaves_no_ticket(home: str) -> None:
    gate = take(Slots(home, "database"))
    mine = Slots(home, "database", timeout=0.3)
    began = time.monotonic()
    found: list[str] = []

    def work() -> None:
        try:
            take(mine)
        except SlotTimeout as error:
            found.append(str(error))

    in_thread(work).join(10)
    assert 0.3 <= time.monotonic() - began < 5
    (message,) = found
    assert message.startswith("no slot of limit 'database' became free within 0.3")
    assert message.endswith(" s (`holter slots` shows who holds them)")
    assert os.listdir(f"{folder_of(home, 'database')}/queue") == []
    gate.release()


def test_who_stops_waiting_leaves_no_ticket(home: str) -> None:
    gate = take(Slots(home, "database"))

    def work() -> None:
        pauses = Slots(home, "database").collect()
        next(pauses)
        assert len(waiters(home, "database")) == 1
        pauses.close()

    in_thread(work).join(10)
    assert os.listdir(f"{folder_of(home, 'database')}/queue") == []
    gate.release()


def test_eight_who_do_not_want_to_wait_all_find_their_slot_free(home: str) -> None:
    start = threading.Barrier(8)
    outcomes: list[str] = []

    def work() -> None:
        for _ in range(10):
            start.wait()
            try:
                mine = take(Slots(home, "database", 8, timeout=0))
                outcomes.append("in")
                start.wait()
                mine.release()
            except SlotTimeout:
                outcomes.append("refused")
                start.wait()

    for thread in [in_thread(work) for _ in range(8)]:
        thread.join(60)
    assert outcomes == ["in"] * 80


def test_tickets_and_drafts_of_the_dead_are_swept(home: str) -> None:
    take(Slots(home, "database")).release()
    queue = Path(folder_of(home, "database"), "queue")
    (queue / f"{1:020d}-deadbeef").write_text("{}")
    (queue / ".olddraft").write_text("")
    (queue / ".newdraft").write_text("")
    os.utime(queue / ".olddraft", (0, 0))
    assert waiters(home, "database") == []
    take(Slots(home, "database")).release()
    assert [path.name for path in queue.iterdir()] == [".newdraft"]  # whose maker may be about to lock it


def test_a_waiter_whose_ticket_somebody_removed_lines_up_again(home: str) -> None:
    gate = take(Slots(home, "database"))
    mine = Slots(home, "database")
    thread = in_thread(lambda: take(mine))
    until(lambda: waiters(home, "database"))
    for name in tickets(folder_of(home, "database")):
        os.unlink(f"{folder_of(home, 'database')}/queue/{name}")
    until(lambda: waiters(home, "database"))
    gate.release()
    thread.join(10)
    assert mine.numbers == (0,)
    mine.release()


# --- another number of slots ---------------------------------------------------------------------------------


def test_more_slots_count_from_the_next_comer_on(home: str) -> None:
    first = take(Slots(home, "database", 1))
    assert refused(home, slots=1)
    assert not refused(home, slots=2)
    first.release()


def test_with_fewer_slots_all_that_are_held_count_until_they_are_free(home: str) -> None:
    held = take(Slots(home, "database", 3, occupy=3))
    files = sorted(os.listdir(folder_of(home, "database")))
    assert refused(home, slots=1)
    held.release()
    assert not refused(home, slots=1)
    assert sorted(os.listdir(folder_of(home, "database"))) == files  # none was removed


def test_a_slot_above_a_smaller_number_keeps_others_out_while_it_is_held(home: str) -> None:
    low, high = take(Slots(home, "database", 2)), Slots(home, "database", 2)
    in_thread(lambda: take(high)).join(10)
    low.release()
    assert high.numbers == (1,)
    assert refused(home, slots=1)
    high.release()
    assert not refused(home, slots=1)


# --- what people see -----------------------------------------------------------------------------------------


def test_holders_and_waiters_tell_who_since_when_and_how_many(home: str) -> None:
    before = SYSTEM.wall()
    mine = take(Slots(home, "data base/1", 3, 2, run_id="0abc.1", run_name="nightly é"))
    other = Slots(home, "data base/1", 3, 2, run_id="0def", run_name="hourly")
    thread = in_thread(lambda: take(other))
    until(lambda: waiters(home, "data base/1"))
    first, second = holders(home, "data base/1")
    assert (first.number, second.number) == (0, 1)
    for place in (first, second):
        assert (place.limit, place.held, place.host) == ("data base/1", True, os.uname().nodename)
        assert (place.pid, place.run_id, place.run_name) == (os.getpid(), "0abc.1", "nightly é")
        assert place.occupy == 2
        assert place.alive is True
        assert place.since is not None and before <= place.since <= SYSTEM.wall()
    (waiter,) = waiters(home, "data base/1")
    assert (waiter.number, waiter.run_id, waiter.run_name, waiter.occupy) == (0, "0def", "hourly", 2)
    assert limits(home) == ["data base/1"]
    mine.release()
    thread.join(10)
    other.release()
    assert [(place.held, place.pid) for place in holders(home, "data base/1")] == [(False, None)] * 2


def test_a_home_without_slots_has_no_limits_holders_or_waiters(home: str) -> None:
    assert limits(home) == []
    assert holders(home, "database") == []
    assert waiters(home, "database") == []
    assert not os.path.exists(home)


def test_looking_without_a_break_takes_no_slot_from_anybody(home: str) -> None:
    stop = threading.Event()

    def look_all_the_time() -> None:
        while not stop.is_set():
            holders(home, "database")
            waiters(home, "database")

    lookers = [in_thread(look_all_the_time) for _ in range(2)]
    try:
        assert not any(refused(home, slots=3, occupy=3) for _ in range(40))
    finally:
        stop.set()
        for looker in lookers:
            looker.join(10)


def test_who_fails_at_the_last_of_its_slots_gives_the_others_back(home: str) -> None:
    take(Slots(home, "database", 3, 3)).release()
    last = os.open(slot_path(folder_of(home, "database"), 2), os.O_RDONLY)
    stop = threading.Event()

    def come_and_go() -> None:
        # So that it is often free when it is looked at, and not when it is to be locked.
        while not stop.is_set():
            for how in (fcntl.LOCK_SH, fcntl.LOCK_UN):
                fcntl.flock(last, how)
                time.sleep(0.0002)

    other = in_thread(come_and_go)
    try:
        for _ in range(20):
            take(Slots(home, "database", 3, 3, timeout=10)).release()
    finally:
        stop.set()
        other.join(10)
        os.close(last)


# --- damage --------------------------------------------------------------------------------------------------


def test_folders_are_private_and_so_are_files(home: str) -> None:
    gate = take(Slots(home, "database"))
    until(lambda: holders(home, "database")[0].pid)
    for path in Path(home).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(os.stat(home).st_mode) == 0o700
    gate.release()


@pytest.mark.parametrize(
    "damage", ["empty", "random", "deep", "list", "types", "surrogate", "long", "future"]
)
def test_whatever_is_written_into_its_file_a_held_slot_stays_held(damage: str, home: str) -> None:
    chance = random.Random(damage)
    wrong = {"pid": "1", "start_ticks": None, "since": float("nan"), "occupy": -1, "run_id": 7, "host": ["x"]}
    texts = {
        "empty": b"",
        "random": chance.randbytes(5000),
        "deep": b"[" * RECORD_LIMIT,
        "list": b"[1]",
        "types": json.dumps(wrong).encode(),
        "surrogate": b'{"run_name": "\\ud800\\u001b[31m", "pid": 99999999999999999999}',
        "long": json.dumps({"run_name": "n" * 10_000}).encode(),
        "future": b'{"pid": 1, "since": 99999999999.0}',
    }
    gate = take(Slots(home, "database"))
    waiter = Slots(home, "database")
    thread = in_thread(lambda: take(waiter))
    until(lambda: waiters(home, "database"))
    folder = folder_of(home, "database")
    for path in (slot_path(folder, 0), f"{folder}/queue/{tickets(folder)[0]}"):
        Path(path).write_bytes(texts[damage])
        os.utime(path, (2e10, 2e10))
    assert [place.held for place in holders(home, "database")] == [True]
    assert len(waiters(home, "database")) == 1
    for place in holders(home, "database") + waiters(home, "database"):
        assert place.run_name is None or place.run_name.isprintable()
    assert refused(home)
    gate.release()
    thread.join(10)
    waiter.release()
    assert not refused(home)


@pytest.mark.parametrize("kind", ["symlink", "dangling", "folder", "pipe"])
def test_a_slot_that_is_not_a_plain_file_is_never_taken_and_the_error_says_which(
    kind: str, home: str
) -> None:
    gate = take(Slots(home, "database"))
    path = Path(slot_path(folder_of(home, "database"), 0))
    path.rename(path.with_name("elsewhere"))  # swapped while it is held
    swap(path, kind)
    said = attempt(home, slots=1)
    assert said.startswith("StorageError: limit 'database' cannot use ")
    assert said.endswith("not a plain file of this user (remove it while nobody holds slots of this limit)")
    gate.release()
    assert attempt(home, slots=1) == said
    assert not refused(home, slots=3, occupy=2)  # the other slots are as good as ever
    assert "not a plain file" in attempt(home, slots=3, occupy=3)
    assert not holders(home, "database")[0].held
    assert not path.with_name("target").exists()


@pytest.mark.parametrize("kind", ["symlink", "dangling", "folder", "pipe", "file"])
def test_rubbish_in_the_queue_is_in_nobodys_way(kind: str, home: str) -> None:
    take(Slots(home, "database")).release()
    queue = Path(folder_of(home, "database"), "queue")
    for name in (f"{0:020d}-aaaaaaaa", f"{10**19}-{'z' * 8}", ".draft", "rubbish"):
        swap(queue / name, kind)
    assert waiters(home, "database") == []
    assert not refused(home)


def swap(path: Path, kind: str) -> None:
    target = path.with_name("target")
    match kind:
        case "symlink":
            path.symlink_to(path.with_name("elsewhere"))
        case "dangling":
            path.symlink_to(target)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "file":
            path.write_bytes(os.urandom(100))


@pytest.mark.parametrize("place", ["slots", "slots/database", "slots/database/queue"])
@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_a_link_or_file_in_place_of_a_folder_is_refused(
    kind: str, place: str, home: str, tmp_path: Path
) -> None:
    path = Path(home, place)
    path.parent.mkdir(parents=True)
    (tmp_path / "target").mkdir()
    if kind == "symlink":
        path.symlink_to(tmp_path / "target")
    else:
        path.write_text("")
    with pytest.raises(StorageError, match=r"limit 'database' cannot use .*\(HOLTER_HOME must be"):
        take(Slots(home, "database", timeout=0))
    assert list((tmp_path / "target").iterdir()) == []
    assert holders(home, "database") == []
    assert waiters(home, "database") == []


def test_a_home_that_is_a_file_is_a_clear_error(home: str) -> None:
    Path(home).write_text("")
    with pytest.raises(StorageError, match="HOLTER_HOME must be a writable folder"):
        take(Slots(home, "database", timeout=0))


# --- limits that no longer exist -----------------------------------------------------------------------------


def test_the_files_of_an_unused_limit_that_the_settings_do_not_name_are_taken_away(home: str) -> None:
    for limit in ("old", "named", "held"):
        taken = take(Slots(home, limit, 2, 2))
        if limit != "held":
            taken.release()
    assert tidy_limits(home, {"named": 1}, time.time() - 60) == []
    assert tidy_limits(home, {"named": 1}, time.time() + 60) == ["old"]
    assert limits(home) == ["held", "named"]


def test_whoever_takes_slots_while_their_files_are_taken_away_is_alone_all_the_same(
    home: str, tmp_path: Path
) -> None:
    """Four processes add to a number in a file, each alone with it; the files of the limit go all the time."""
    number = tmp_path / "number"
    number.write_text("0")
    script = f"""
import sys
from pathlib import Path
from holter.agent.slots import Slots
import time
number = Path({str(number)!r})
for _ in range(100):
    slots = Slots({home!r}, "churn")
    for pause in slots.collect():
        time.sleep(pause)
    number.write_text(str(int(number.read_text()) + 1))
    slots.release()
"""
    processes = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(4)]
    removed = 0
    while any(process.poll() is None for process in processes):
        removed += len(tidy_limits(home, (), float("inf")))
    assert [process.returncode for process in processes] == [0] * 4
    assert number.read_text() == "400"
    assert removed > 0
