from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from holter import configure
from holter.agent import knobs
from holter.agent.concurrency import concurrency
from holter.agent.slots import holders, limits, waiters
from holter.backends.base import Backend
from holter.backends.errors import SettingsError, SlotReentry, SlotTimeout, StorageError, UnknownLimit
from holter.backends.queries import RunQuery
from holter.backends.records import Run
from holter.backends.urls import open_backend


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(knobs, "_configured", {})
    monkeypatch.setattr(knobs, "_resolved", None)
    place = str(tmp_path / "home")
    configure(home=place, limits={"database": 3, "gpu": {"slots": 2}, "far": {"slots": 2, "scope": "shared"}})
    yield place
    for name in limits(place):  # nothing leaks out of a test
        assert held(place, name) == 0
        assert waiters(place, name) == []


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.002)


def held(home: str, limit: str) -> int:
    return sum(place.held for place in holders(home, limit))


# --- what it holds -------------------------------------------------------------------------------------------


def test_slots_are_held_in_the_block_and_free_after_it(home: str) -> None:
    with concurrency("database", occupy=2) as mine:
        assert held(home, "database") == 2
        assert [(slots.limit, slots.numbers, slots.occupy) for slots in mine.held] == [
            ("database", (0, 1), 2)
        ]
        assert mine.scope == "host"
    assert held(home, "database") == 0


def test_an_error_in_the_block_comes_out_and_frees_the_slots(home: str) -> None:
    with pytest.raises(KeyError, match="mine"), concurrency("database"):
        raise KeyError("mine")
    assert held(home, "database") == 0


def test_several_limits_are_taken_together_and_each_once(home: str) -> None:
    with concurrency(["gpu", "database", "gpu"], occupy=2) as mine:
        assert [slots.limit for slots in mine.held] == ["database", "gpu"]
        assert (held(home, "database"), held(home, "gpu")) == (2, 2)
    assert (held(home, "database"), held(home, "gpu")) == (0, 0)


def test_if_one_limit_cannot_be_had_the_others_are_given_back(home: str) -> None:
    gate = concurrency("gpu", occupy=2)
    in_thread(gate.__enter__).join(10)
    with (
        pytest.raises(SlotTimeout, match="limit 'gpu'"),
        concurrency(["database", "gpu"], timeout_seconds=0.05),
    ):
        pytest.fail("was let in")
    assert held(home, "database") == 0
    gate.__exit__(None, None, None)


def test_two_threads_that_name_the_same_limits_in_another_order_do_not_deadlock(home: str) -> None:
    def work(names: list[str]) -> None:
        for _ in range(20):
            with concurrency(names, occupy=2):
                pass

    for thread in [in_thread(partial(work, names)) for names in (["gpu", "database"], ["database", "gpu"])]:
        thread.join(20)
        assert not thread.is_alive()


def test_a_limit_that_no_setting_names_is_a_mutex(home: str) -> None:
    with concurrency("anything"):
        in_thread(lambda: refused("anything")).join(10)
    with pytest.raises(ValueError, match="occupy=2 is not between 1 and the 1 slots of limit 'anything'"):
        concurrency("anything", occupy=2).__enter__()


def refused(name: str) -> None:
    with pytest.raises(SlotTimeout), concurrency(name, timeout_seconds=0):
        pytest.fail("was let in")


def test_one_object_serves_one_block_after_the_other(home: str) -> None:
    mine = concurrency("database")
    for _ in range(2):
        with mine:
            with pytest.raises(RuntimeError, match="entered already"):
                mine.__enter__()
            assert held(home, "database") == 1


def test_leaving_twice_raises(home: str) -> None:
    mine = concurrency("database")
    mine.__enter__()
    in_thread(lambda: mine.__exit__(None, None, None)).join(10)  # entered here, left there
    assert held(home, "database") == 0
    with pytest.raises(RuntimeError, match="left twice"):
        mine.__exit__(None, None, None)


# --- what it refuses -----------------------------------------------------------------------------------------


def test_strict_names_the_nearest_limit_and_what_to_write(home: str) -> None:
    with pytest.raises(UnknownLimit) as caught:
        concurrency("databse", strict=True).__enter__()
    assert caught.value.message == "no limit is named 'databse'"
    assert (
        caught.value.hint
        == f"did you mean 'database'? Or write `limits: {{databse: 1}}` into {home}/holter.yaml"
    )
    with concurrency("database", strict=True):
        pass


def test_a_shared_limit_is_refused_where_nothing_is_shared(home: str) -> None:
    configure(backend="off:")
    try:
        with pytest.raises(SettingsError, match="shares nothing") as caught:
            concurrency(["database", "far"]).__enter__()
    finally:
        configure(backend="sqlite:///holter.db")
    assert caught.value.path == "limits.far.scope"
    assert held(home, "database") == 0


@pytest.mark.parametrize("wrong", [-1, float("nan")])
def test_a_time_that_is_no_time_is_a_value_error(wrong: float) -> None:
    with pytest.raises(ValueError, match="timeout_seconds="):
        concurrency("database", timeout_seconds=wrong)


@pytest.mark.parametrize("occupy", [0, -1, 4])
def test_more_or_fewer_slots_than_can_be_are_a_value_error(occupy: int, home: str) -> None:
    with pytest.raises(ValueError, match=f"occupy={occupy} "):
        concurrency("database", occupy=occupy).__enter__()


@pytest.mark.parametrize("names", ["", [], "x" * 300])
def test_what_cannot_name_a_limit_is_a_value_error(names: str | list[str], home: str) -> None:
    with pytest.raises(ValueError, match="limit"):
        concurrency(names).__enter__()


def test_where_the_home_cannot_be_used_the_job_is_told_and_not_let_in(home: str) -> None:
    Path(home).write_text("a file")
    with pytest.raises(StorageError, match=r"HOLTER_HOME must be a writable folder"):
        concurrency("database").__enter__()
    Path(home).unlink()


def test_asking_again_inside_the_block_raises_at_once_instead_of_hanging(home: str) -> None:
    with concurrency("database"), pytest.raises(SlotReentry, match="this thread already holds slots"):
        concurrency("database", timeout_seconds=10).__enter__()


# --- asyncio -------------------------------------------------------------------------------------------------


def test_tasks_of_one_loop_share_a_limit_and_wait_for_each_other(home: str) -> None:
    inside: list[int] = []

    async def work() -> None:
        async with concurrency("gpu"):
            inside.append(held(home, "gpu"))
            await asyncio.sleep(0.01)

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(8)))

    asyncio.run(main())
    assert len(inside) == 8
    assert max(inside) == 2


def test_a_loop_goes_on_while_one_of_its_tasks_waits(home: str) -> None:
    async def main() -> int:
        waiter = asyncio.create_task(enter())
        ticks = 0
        while not waiters(home, "lock"):
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0.005)
            ticks += 1
        assert not waiter.done()
        gate.__exit__(None, None, None)
        await asyncio.wait_for(waiter, 5)
        return ticks

    async def enter() -> None:
        async with concurrency("lock"):
            pass

    gate = concurrency("lock")
    in_thread(gate.__enter__).join(10)
    assert asyncio.run(main()) == 20


def test_a_task_that_is_cancelled_while_it_waits_leaves_no_ticket(home: str) -> None:
    async def main() -> None:
        async with concurrency("lock"):
            waiter = asyncio.create_task(enter())
            while not waiters(home, "lock"):
                await asyncio.sleep(0.001)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            assert waiters(home, "lock") == []
            assert os.listdir(f"{home}/slots/lock/queue") == []

    async def enter() -> None:
        async with concurrency(["database", "lock"]):
            pytest.fail("was let in")

    asyncio.run(main())
    assert held(home, "database") == 0


def test_a_time_out_ends_the_wait_of_a_task(home: str) -> None:
    async def main() -> None:
        async with concurrency("lock"):
            await asyncio.create_task(enter())

    async def enter() -> None:
        with pytest.raises(SlotTimeout):
            await concurrency("lock", timeout_seconds=0.05).__aenter__()

    asyncio.run(main())


def test_a_task_that_asks_again_inside_its_own_block_is_told(home: str) -> None:
    async def main() -> None:
        async with concurrency("lock"):
            with pytest.raises(SlotReentry):
                await concurrency("lock").__aenter__()

    asyncio.run(main())
    with concurrency("lock"), pytest.raises(SlotReentry):  # held around the whole loop
        asyncio.run(main())


def test_a_block_entered_in_a_worker_thread_is_left_in_the_loop(home: str) -> None:
    async def main() -> None:
        mine = concurrency("lock")
        await asyncio.to_thread(mine.__enter__)
        assert held(home, "lock") == 1
        mine.__exit__(None, None, None)

    asyncio.run(main())
    assert held(home, "lock") == 0


# --- in runs -------------------------------------------------------------------------------------------------


def run_script(home: str, text: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HOLTER_HOME": home}
    command = [sys.executable, "-c", "import holter\nfrom holter import concurrency, flow, task\n" + text]
    return subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=30)


def recorded(home: str) -> dict[str, Run]:
    backend: Backend = open_backend("sqlite:///holter.db", home)
    runs = {run.name: run for run in backend.runs(RunQuery())}
    backend.close()
    return runs


def test_a_run_records_what_it_held_how_long_it_waited_and_how_long_it_held(home: str) -> None:
    Path(home).mkdir()
    Path(home, "holter.yaml").write_text("limits: {database: 3}\n")
    gate = concurrency("database", occupy=3)
    gate.__enter__()
    script = "import time\n@flow\ndef job():\n    with concurrency('database', 2):\n        time.sleep(0.05)\njob()"

    def open_gate() -> None:
        until(lambda: waiters(home, "database"))
        gate.__exit__(None, None, None)

    opener = in_thread(open_gate)
    done = run_script(home, script)
    opener.join(10)
    assert (done.returncode, done.stderr) == (0, "")
    (slot,) = recorded(home)["job"].slots
    assert (slot["limit"], slot["occupy"]) == ("database", 2)
    assert 0 < slot["waited"] < 5
    assert 0.05 <= slot["held"] < 1


def test_the_run_that_asks_again_for_its_own_limit_fails_with_its_name(home: str) -> None:
    script = """
@task
def inner():
    with concurrency("database"):
        pass
@flow(limit="database", flow_run_name="the night of {day}")
def job(day):
    inner()
job("monday")
"""
    done = run_script(home, script)
    assert done.returncode == 1
    assert "run 'the night of monday' (" in done.stderr.splitlines()[-1]
    assert ") already holds slots of limit 'database'" in done.stderr.splitlines()[-1]
    assert recorded(home)["job"].state == "FAILED"


def test_threads_of_one_flow_wait_for_each_other(home: str) -> None:
    script = """
import time
from concurrent.futures import ThreadPoolExecutor
inside = []
def work(number):
    with concurrency("one"):
        inside.append(number)
        assert len(inside) == 1
        time.sleep(0.005)
        inside.clear()
@flow
def job():
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(12)))
job()
"""
    done = run_script(home, script)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(recorded(home)["job"].slots) == 12


def test_a_flow_that_times_out_while_it_waits_ends_in_time_and_leaves_no_ticket(home: str) -> None:
    gate = concurrency("one")
    gate.__enter__()
    script = """
@flow(timeout_seconds=0.3)
def job():
    with concurrency("one"):
        raise SystemExit("was let in")
try:
    job()
except TimeoutError as error:
    print(type(error).__name__)
"""
    done = run_script(home, script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "RunTimeout\n", "")
    assert os.listdir(f"{home}/slots/one/queue") == []
    gate.__exit__(None, None, None)
    assert recorded(home)["job"].state == "TIMED_OUT"


@pytest.mark.parametrize(("on_busy", "state", "code"), [("skip", "SKIPPED", 0), ("fail", "FAILED", 1)])
def test_a_flow_with_a_limit_says_what_it_did_when_all_slots_were_taken(
    on_busy: str, state: str, code: int, home: str
) -> None:
    gate = concurrency("one")
    gate.__enter__()
    script = f"@flow(limit='one', on_busy={on_busy!r})\ndef job():\n    print('in')\njob()"
    done = run_script(home, script)
    assert (done.returncode, done.stdout) == (code, "")
    gate.__exit__(None, None, None)
    assert recorded(home)["job"].state == state


def test_ctrl_c_while_it_waits_leaves_no_ticket(home: str) -> None:
    gate = concurrency("one")
    gate.__enter__()
    environ = {**os.environ, "HOLTER_HOME": home}
    script = "from holter import concurrency\nwith concurrency('one'):\n    print('in')"
    waiter = subprocess.Popen([sys.executable, "-c", script], env=environ, stderr=subprocess.PIPE, text=True)
    until(lambda: waiters(home, "one"))
    waiter.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in waiter.communicate(timeout=10)[1]
    assert os.listdir(f"{home}/slots/one/queue") == []
    gate.__exit__(None, None, None)


def test_nothing_of_it_is_loaded_before_the_first_use() -> None:
    script = "import sys, holter\n@holter.flow\ndef job(): pass\n"
    script += "print({'holter.backends.gate', 'holter.agent.slots'} & {*sys.modules})"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_disk_that_takes_no_more_bytes_keeps_nobody_out_and_lets_nobody_else_in(home: str) -> None:
    script = """
import resource, threading
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
answers = []
def other():
    try:
        concurrency("one", timeout_seconds=0).__enter__()
    except TimeoutError as error:
        answers.append(type(error).__name__)
with concurrency("one"):
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
print(answers)
"""
    done = run_script(home, script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['SlotTimeout']\n", "")
