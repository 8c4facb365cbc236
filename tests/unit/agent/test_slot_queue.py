"""How slots are waited for, step by step: asked by hand, with a clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from holter.agent.slot_files import FREE, HELD, UNUSABLE, folder_of, slot_path, tickets, waiters
from holter.agent.slots import (
    DRAFT_AGE,
    QUICKEST,
    SETTLE,
    SLOWEST,
    TRIES,
    TURN,
    Slots,
    choose,
    holders,
    next_look,
)
from holter.backends.clock import Clock
from holter.backends.errors import SlotReentry, SlotTimeout, StorageError

NOW = 1_800_000_000.0


class HandSet(Clock):
    """A clock that moves only by hand; who reads the wall may trip over something first."""

    def __init__(self) -> None:
        self.now = self.date = NOW
        self.reads: Callable[[], object] = lambda: None

    def wall(self) -> float:
        self.reads()
        return self.date

    def tick(self) -> None:
        """Tickets of one moment have no order."""
        self.date += 1.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandSet:
    return HandSet()


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path / "home")


@pytest.fixture
def slots(home: str, clock: HandSet) -> Callable[..., Slots]:
    """Slots of the limit `database`."""
    return lambda *numbers, **options: Slots(home, "database", *numbers, clock=clock, **options)


def queue_of(home: str) -> Path:
    return Path(folder_of(home, "database"), "queue")


def take(slots: Slots) -> Slots:
    """Take slots that are free."""
    assert list(slots.collect()) == []
    return slots


def elsewhere(work: Callable[[], Any]) -> Any:
    """In a thread of its own, which holds no slots yet."""
    answer: list[Any] = []

    def run() -> None:
        try:
            answer.append(work())
        except BaseException as error:
            answer.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return answer[0]


def lined_up(slots: Slots) -> tuple[Generator[float], float]:
    """One that waits, and the seconds until it wants to look again."""
    waiting = slots.collect()
    return waiting, next(waiting)


# --- when to look again ---


@pytest.mark.parametrize(
    ("ahead", "waited", "timeout", "patience", "pause"),
    [
        (0, 0.0, None, 0.0, QUICKEST),
        (1, 0.0, None, 0.0, 2 * QUICKEST),
        (3, 0.0, None, 0.0, 4 * QUICKEST),
        (0, 1.0, None, 0.0, 0.02),
        (1, 1.0, None, 0.0, 0.04),
        (0, 100.0, None, 0.0, SLOWEST),
        (50, 0.0, None, 0.0, SLOWEST),
        (0, 1.0, 5.0, 0.0, 0.02),
        (0, 1.0, 1.015, 0.0, 0.015),
        (0, 1.0, 1.0, 0.0, None),
        (0, 0.0, 0.0, 0.5, QUICKEST),
        (0, 0.5, 0.0, 0.5, None),
    ],
)
def test_who_waited_longer_or_stands_further_behind_looks_less_often(
    ahead: int, waited: float, timeout: float | None, patience: float, pause: float | None
) -> None:
    found = next_look(ahead, waited, timeout, patience)
    assert found == (None if pause is None else pytest.approx(pause))


@pytest.mark.parametrize(
    ("states", "slots", "occupy", "chosen"),
    [
        ({}, 3, 2, [0, 1]),
        ({}, 2, 3, []),
        ({0: HELD, 1: FREE}, 3, 2, [1, 2]),
        ({0: HELD, 1: FREE}, 3, 3, []),
        ({0: UNUSABLE}, 2, 1, [1]),
        ({5: HELD}, 2, 1, [0]),
        ({5: HELD}, 2, 2, []),
        ({5: FREE}, 2, 2, [0, 1]),
    ],
)
def test_the_first_free_ones_are_chosen_all_or_none(
    states: dict[int, str], slots: int, occupy: int, chosen: list[int]
) -> None:
    assert choose(states, slots, occupy) == chosen


@pytest.mark.parametrize("occupy", [0, 4])
def test_who_wants_none_or_more_than_there_are_is_told_so(slots: Callable[..., Slots], occupy: int) -> None:
    with pytest.raises(ValueError) as told:
        slots(3, occupy)
    assert str(told.value) == f"occupy={occupy} is not between 1 and the 3 slots of limit 'database'"
    assert slots(3, 3).occupy == 3


# --- waiting ---


def test_who_finds_them_free_has_them_at_once(home: str, slots: Callable[..., Slots]) -> None:
    mine = slots(3, 2, run_id="0abc", run_name="nightly")
    assert (mine.numbers, mine.waited) == ((), 0.0)
    take(mine)
    assert (mine.numbers, mine.waited) == ((0, 1), 0.0)
    assert [
        (each.number, each.since, each.occupy, each.run_id, each.run_name)
        for each in holders(home, "database")
    ] == [(number, NOW, 2, "0abc", "nightly") for number in (0, 1)]
    assert list(queue_of(home).iterdir()) == []
    assert mine.release() is True
    assert not any(each.held for each in holders(home, "database"))


def test_of_those_in_the_queue_each_knows_how_many_are_before_it(
    home: str, slots: Callable[..., Slots], clock: HandSet
) -> None:
    clock.reads, held = clock.tick, take(slots())

    def queue_up() -> list[float]:
        waiting = [lined_up(slots()) for _ in range(3)]
        pauses = [pause for _, pause in waiting]
        waiting.pop(1)[0].close()
        pauses += [next(one) for one, _ in waiting]
        for one, _ in waiting:
            one.close()
        return pauses

    assert elsewhere(queue_up) == pytest.approx([QUICKEST * n for n in (1, 2, 3, 1, 2)])
    assert list(queue_of(home).iterdir()) == []
    held.release()


def test_the_dead_in_the_queue_are_nobody_before_us_and_go(
    home: str, slots: Callable[..., Slots], clock: HandSet
) -> None:
    held = take(slots())
    for number in (1, 2):
        (queue_of(home) / f"{number:020d}-deadbeef").write_text("")
    waiting, pause = elsewhere(lambda: lined_up(slots()))
    assert pause == QUICKEST
    assert len(tickets(folder_of(home, "database"))) == 1
    (queue_of(home) / f"{1:020d}-deadbeef").write_text("")
    clock.tick()
    behind, pause = elsewhere(lambda: lined_up(slots()))
    assert pause == 2 * QUICKEST  # one is before it
    behind.close()
    waiting.close()
    held.release()


def test_the_place_in_the_queue_is_by_when_it_was_made(
    home: str, slots: Callable[..., Slots], clock: HandSet
) -> None:
    held = take(slots())
    waiting, _ = elsewhere(lambda: lined_up(slots(run_name="mine")))
    (name,) = tickets(folder_of(home, "database"))
    assert name.startswith(f"{int(NOW * 1e9):020d}-")
    assert [(each.run_name, each.since) for each in waiters(home, "database")] == [("mine", NOW)]
    waiting.close()
    held.release()


def test_who_waits_knows_for_how_long_it_did(home: str, slots: Callable[..., Slots], clock: HandSet) -> None:
    held, mine = take(slots()), slots()
    waiting, _ = elsewhere(lambda: lined_up(mine))
    clock.now += 2.0
    assert next(waiting) == pytest.approx(0.04)
    assert mine.waited == 2.0
    held.release()
    clock.now += 1.0
    assert list(waiting) == []
    assert (mine.waited, mine.numbers) == (3.0, (0,))
    mine.release()


@pytest.mark.parametrize("timeout", [0.0, 5.0])
def test_who_gives_no_time_waits_for_those_who_are_just_passing(
    home: str, slots: Callable[..., Slots], clock: HandSet, timeout: float
) -> None:
    held = take(slots())
    waiting, _ = elsewhere(lambda: lined_up(slots(timeout=timeout)))
    clock.now += max(timeout, SETTLE) - 0.001
    assert next(waiting) == pytest.approx(0.001, abs=1e-6)
    clock.now += 0.002
    with pytest.raises(SlotTimeout) as late:
        next(waiting)
    passed = max(timeout, SETTLE) + 0.001
    said = (
        f"no slot of limit 'database' became free within {passed:.2f} s (`holter slots` shows who holds them)"
    )
    assert str(late.value) == said
    held.release()


def test_who_gives_no_time_waits_longer_for_those_before_it(
    home: str, slots: Callable[..., Slots], clock: HandSet
) -> None:
    clock.reads, held = clock.tick, take(slots(2))
    first, _ = elsewhere(lambda: lined_up(slots(2, 2)))
    mine, _ = elsewhere(lambda: lined_up(slots(2, timeout=0.0)))
    clock.now += TURN - 0.001
    assert next(mine) == pytest.approx(0.001, abs=1e-6)
    clock.now += 0.002
    with pytest.raises(SlotTimeout):
        next(mine)
    first.close()
    held.release()


def test_who_wants_more_is_told_how_many_were_not_free(
    home: str, slots: Callable[..., Slots], clock: HandSet
) -> None:
    held = take(slots(3, 2))
    waiting, _ = elsewhere(lambda: lined_up(slots(3, 2, timeout=0.0)))
    clock.now += 1.0
    with pytest.raises(SlotTimeout, match=r"no 2 slots of limit 'database' became free within 1\.00 s"):
        next(waiting)
    held.release()


def test_one_that_is_taken_in_the_instant_after_it_was_seen_free_is_not_had_and_nor_are_the_others(
    home: str, slots: Callable[..., Slots], clock: HandSet
) -> None:
    second = Path(slot_path(folder_of(home, "database"), 1))
    with ExitStack() as rival:

        def snatch() -> None:  # the clock is read for what is written, just before the lock is taken
            if second.exists():
                fcntl.flock(rival.enter_context(open(second)), fcntl.LOCK_EX)
                clock.reads = lambda: None

        clock.reads, mine = snatch, slots(2, 2)
        waiting, pause = lined_up(mine)
        assert (pause, mine.numbers) == (QUICKEST, ())
        assert [each.held for each in holders(home, "database")] == [False, True]
        clock.now += SETTLE + 0.1
        assert next(waiting) > 0
    assert list(waiting) == []
    assert mine.numbers == (0, 1)
    mine.release()


# --- tickets ---


def test_a_limit_that_is_tidied_away_while_we_line_up_is_made_again(
    home: str, slots: Callable[..., Slots], clock: HandSet
) -> None:
    # Before the first ticket is written, and before the second gets its name.
    away = iter([True, False, True])

    def tidied() -> None:
        if next(away, False):
            shutil.rmtree(folder_of(home, "database"))

    clock.reads = tidied
    take(slots()).release()
    assert next(away, None) is None


def test_but_not_for_ever(home: str, slots: Callable[..., Slots], clock: HandSet) -> None:
    rounds: list[int] = []

    def away() -> None:
        rounds.append(1)
        shutil.rmtree(folder_of(home, "database"), ignore_errors=True)

    clock.reads = away
    with pytest.raises(
        StorageError, match=r"limit 'database' cannot use .*: No such file or directory \(HOLTER_HOME"
    ):
        take(slots())
    assert len(rounds) == TRIES


def test_drafts_are_swept_when_nobody_can_be_making_them_any_more(
    home: str, slots: Callable[..., Slots], clock: HandSet
) -> None:
    take(slots()).release()
    ages = {".older": DRAFT_AGE + 1, ".just": DRAFT_AGE, ".held": DRAFT_AGE + 1}
    for name, age in ages.items():
        (queue_of(home) / name).write_text("")
        os.utime(queue_of(home) / name, (NOW - age, NOW - age))
    with open(queue_of(home) / ".held") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        take(slots()).release()
    assert sorted(path.name for path in queue_of(home).iterdir()) == [".held", ".just"]


# --- who may not wait ---


def test_who_holds_slots_of_a_limit_is_told_so_instead_of_waiting_for_itself(
    home: str, slots: Callable[..., Slots]
) -> None:
    mine = take(slots(2))
    hint = " (leave the outer concurrency() first, or ask for all with one occupy=)"
    with pytest.raises(SlotReentry) as told:
        take(slots(2))
    assert str(told.value) == f"this thread already holds slots of limit 'database'{hint}"
    mine.release()
    named = take(slots(2, run_id="0abc", run_name="nightly"))
    with pytest.raises(SlotReentry) as told:
        take(slots(2))
    assert str(told.value) == f"run 'nightly' (0abc) already holds slots of limit 'database'{hint}"
    assert list(queue_of(home).iterdir()) == []
    named.release()
    take(slots(2)).release()


def test_all_that_a_thread_holds_is_remembered_whatever_it_gives_back_in_between(
    home: str, clock: HandSet
) -> None:
    held = [take(Slots(home, limit, clock=clock)) for limit in ("a", "b", "c")]
    held.pop(0).release()
    held.append(take(Slots(home, "d", clock=clock)))
    for limit in "bcd":
        with pytest.raises(SlotReentry):
            take(Slots(home, limit, 2, clock=clock))
    held.append(take(Slots(home, "a", clock=clock)))
    for each in held:
        each.release()


def test_tasks_of_one_loop_may_hold_each_their_own_and_none_beside_what_was_taken_around_the_loop(
    home: str, slots: Callable[..., Slots]
) -> None:
    async def taken() -> None:
        take(slots(2)).release()

    async def beside() -> None:
        mine = take(slots(2))
        await asyncio.create_task(taken())
        mine.release()

    asyncio.run(beside())
    outer = take(slots(2))
    with pytest.raises(SlotReentry):
        asyncio.run(taken())
    outer.release()


# --- giving back ---


def test_what_was_never_taken_or_given_back_before_cannot_be_given_back(
    home: str, slots: Callable[..., Slots]
) -> None:
    mine = slots()
    said = "the slots of limit 'database' are not held: released twice?"
    with pytest.raises(RuntimeError) as told:
        mine.release()
    assert str(told.value) == said
    take(mine).release()
    with pytest.raises(RuntimeError, match="released twice"):
        mine.release()


def test_who_stops_wanting_them_gives_them_back(home: str, slots: Callable[..., Slots]) -> None:
    mine = take(slots())
    mine.abandon()
    assert not any(each.held for each in holders(home, "database"))
    take(slots()).release()  # and is not said to hold them
    mine.abandon()


def test_a_forked_child_leaves_its_parents_slots_alone(home: str) -> None:
    script = f"""
import os
from holter.agent.slots import Slots, holders
mine = Slots({home!r}, "database")
assert list(mine.collect()) == []
child = os.fork()
if child == 0:
    os._exit(0 if mine.release() is False else 1)
assert os.waitpid(child, 0)[1] == 0
assert holders({home!r}, "database")[0].held
assert mine.release() is True
"""
    subprocess.run([sys.executable, "-c", script], check=True)


# --- trouble ---


def test_slots_that_cannot_be_used_are_as_good_as_taken(home: str, slots: Callable[..., Slots]) -> None:
    take(slots(3, 3)).release()
    path = slot_path(folder_of(home, "database"), 1)
    os.unlink(path)
    os.mkdir(path)
    mine = take(slots(3, 2))
    assert mine.numbers == (0, 2)
    mine.release()
    with pytest.raises(StorageError) as told:
        take(slots(3, 3))
    hint = "(remove it while nobody holds slots of this limit)"
    assert str(told.value) == f"limit 'database' cannot use {path}: not a plain file of this user {hint}"
    assert list(queue_of(home).iterdir()) == []


def test_a_folder_that_cannot_be_used_is_named_with_its_trouble(
    home: str, slots: Callable[..., Slots]
) -> None:
    Path(home).write_text("")
    with pytest.raises(StorageError) as told:
        take(slots())
    hint = "(HOLTER_HOME must be a writable folder on a local disk)"
    assert str(told.value) == f"limit 'database' cannot use {home}: File exists {hint}"


def test_an_error_without_a_file_names_the_folder(
    home: str, slots: Callable[..., Slots], clock: HandSet
) -> None:
    def full() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    clock.reads = full
    with pytest.raises(StorageError, match=f"cannot use {folder_of(home, 'database')}: Too many open files"):
        take(slots())

    def silent() -> None:
        raise OSError("no number")

    clock.reads = silent
    with pytest.raises(StorageError, match=r"cannot use .*: no number"):
        take(slots())


def test_who_is_interrupted_while_it_waits_leaves_nothing_behind(
    home: str, slots: Callable[..., Slots], clock: HandSet
) -> None:
    held, mine = take(slots()), slots()
    waiting, _ = elsewhere(lambda: lined_up(mine))
    with pytest.raises(KeyboardInterrupt):
        waiting.throw(KeyboardInterrupt)
    assert list(queue_of(home).iterdir()) == []
    held.release()
    take(slots()).release()
