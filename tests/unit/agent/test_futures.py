"""`task.submit()` and `.map()`: what waits for what, what is called at all, and when the flow around them ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from typing import Any

import pytest

from holter import NotPicklable, RunTimeout, allow_failure, flow, task, unmapped

BOUND = 20.0  # seconds


@task
def same(value: Any = None) -> Any:
    return value


@task
def fail(text: str = "x") -> None:
    raise ValueError(text)


class Gate:
    """A task that says that it began and ends when it may."""

    def __init__(self) -> None:
        self.began, self.open = threading.Event(), threading.Event()
        self.task = task(self.__call__)

    def __call__(self) -> str:
        self.began.set()
        assert self.open.wait(BOUND)
        return "through"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


# --- futures are those of concurrent.futures ------------------------------------------------------------------


def test_wait_as_completed_and_asyncio_take_them(gate: Gate) -> None:
    first, last = same.submit(1), gate.task.submit()
    assert wait([first, last], timeout=BOUND, return_when=FIRST_COMPLETED).not_done == {last}
    assert isinstance(last, Future) and gate.began.wait(BOUND)
    assert (last.running(), last.done(), last.cancel()) == (True, False, False)
    gate.open.set()
    assert [future.result() for future in as_completed([last], timeout=BOUND)] == ["through"]
    assert (last.running(), last.done(), last.cancelled()) == (False, True, False)

    async def main() -> Any:
        return await asyncio.wrap_future(same.submit(2))

    assert asyncio.run(main()) == 2


def test_result_waits_no_longer_than_it_may(gate: Gate) -> None:
    with pytest.raises(TimeoutError):
        gate.task.submit().result(timeout=0.05)


def test_what_has_not_begun_can_be_cancelled_and_is_not_called(made: Any, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as pool:

        @flow(executor=pool)
        def main() -> None:
            blocking = gate.task.submit()
            waiting = same.submit(1)  # in the executor's queue
            depending = same.submit(waiting)  # not even there
            assert gate.began.wait(BOUND)
            assert waiting.cancel() and waiting.cancel()
            assert wait([waiting, depending], timeout=BOUND).not_done == set()
            assert waiting.cancelled() and depending.cancelled()
            with pytest.raises(CancelledError):
                depending.result()
            gate.open.set()
            assert blocking.result() == "through"

        main()
    assert made.states == {"main": "COMPLETED", "__call__": "COMPLETED"}


# --- what waits for what --------------------------------------------------------------------------------------


def test_a_call_starts_when_all_in_wait_for_has_ended(made: Any, gate: Gate) -> None:
    @flow
    def main() -> None:
        before = gate.task.submit()
        after = same.submit(1, wait_for=before)
        later = same.map([2, 3], wait_for=[before, after])
        assert gate.began.wait(BOUND) and not after.done()
        assert [run.name for run in made.runs] == ["main", "__call__"]
        gate.open.set()
        assert [after.result(), *(future.result() for future in later)] == [1, 2, 3]

    main()


def test_futures_inside_lists_and_dicts_are_replaced_by_their_results_and_the_containers_stay_the_callers(
    gate: Gate,
) -> None:
    given = {"a": [same.submit(1), gate.task.submit()], "b": (same.submit(2), {3}), "c": "text"}
    asked = same.submit(given)
    gate.open.set()
    assert asked.result(BOUND) == {"a": [1, "through"], "b": (2, {3}), "c": "text"}
    assert isinstance(given["a"][0], Future)
    plain = [1, [2]]
    assert same.submit(plain).result() is plain  # nothing to replace: the very object


def test_what_needs_a_failed_one_is_not_called_and_fails_with_the_very_exception(made: Any) -> None:
    @flow
    def main() -> None:
        failed = fail.submit()
        error = failed.exception()
        assert same.submit(failed).exception() is error
        assert same.submit([{"a": failed}]).exception() is error
        assert same.submit(1, wait_for=[failed]).exception() is error
        assert same.submit(same.submit(failed)).exception() is error
        assert same.submit(allow_failure(failed)).result() is error
        assert same.submit(allow_failure([failed, 1])).exception() is None
        assert same.submit(7, wait_for=[allow_failure(failed)]).result() == 7
        assert same.submit(allow_failure(5)).result() == 5

    main()
    assert sorted(run.name for run in made.runs) == ["fail", "main", "same", "same", "same", "same"]
    assert made.named("main").state == "COMPLETED"  # it saw every failure


def test_map_takes_futures_as_columns_and_repeats_what_is_unmapped() -> None:
    pair = task(lambda a, b, c=0: (a, b, c))
    table = [1, 2, 3]
    rows = pair.map(same.submit(["x", "y"]), unmapped(table), c=unmapped(9))
    assert [row.result() for row in rows] == [("x", table, 9), ("y", table, 9)]
    assert all(row.result()[1] is table for row in rows)
    assert pair.map([], []) == []
    for wrong in ([[1], [1, 2]], [unmapped(1), unmapped(2)], []):
        with pytest.raises(ValueError, match="columns of one length"):
            pair.map(*wrong)


# --- when the flow ends ---------------------------------------------------------------------------------------


def test_a_flow_ends_after_all_that_it_submitted(made: Any, gate: Gate) -> None:
    @flow
    def main() -> str:
        gate.task.submit()
        fail.submit()  # nobody asks
        threading.Timer(0.1, gate.open.set).start()
        return "done"

    assert main() == "done"
    runs = {run.name: run for run in made.runs}
    assert (runs["main"].state, runs["fail"].state) == ("COMPLETED", "FAILED")
    assert runs["__call__"].ended_at <= runs["main"].ended_at


def test_an_async_flow_waits_without_blocking_its_loop(made: Any, gate: Gate) -> None:
    @flow
    async def main() -> None:
        asyncio.get_running_loop().call_later(0.1, gate.open.set)  # never called, were the loop blocked
        gate.task.submit()

    asyncio.run(asyncio.wait_for(main(), BOUND))
    assert made.named("__call__").ended_at <= made.named("main").ended_at


def test_a_generator_flow_waits_at_its_end(made: Any, gate: Gate) -> None:
    @flow
    def main() -> Iterator[int]:
        gate.task.submit()
        yield 1
        threading.Timer(0.1, gate.open.set).start()

    assert list(main()) == [1]
    assert made.named("__call__").ended_at <= made.named("main").ended_at


def test_a_task_waits_for_what_it_submitted_itself(made: Any, gate: Gate) -> None:
    @task
    def outer() -> None:
        gate.task.submit()
        threading.Timer(0.1, gate.open.set).start()

    outer.submit().result(BOUND)
    assert made.named("__call__").state == "COMPLETED"
    assert made.named("__call__").parent_id == made.named("outer").id


def test_a_flow_that_fails_cancels_what_has_not_begun_says_so_at_once_and_waits_for_the_rest(
    made: Any, gate: Gate
) -> None:
    seen: list[str] = []

    def let_go(run: Any) -> None:
        seen.append(made.named("main").state)  # recorded, though a task still works
        gate.open.set()

    kept: list[Future[Any]] = []
    with ThreadPoolExecutor(1) as pool:

        @flow(executor=pool, on_failure=[let_go])
        def main() -> None:
            kept.extend([gate.task.submit(), same.submit(1), same.submit(wait_for=kept)])
            assert gate.began.wait(BOUND)
            raise KeyError("main")

        with pytest.raises(KeyError):
            main()
        assert [future.done() for future in kept] == [True] * 3
        assert [future.cancelled() for future in kept] == [False, True, True]
    assert seen == ["FAILED"]
    assert made.states == {"main": "FAILED", "__call__": "COMPLETED"}


def test_a_flow_whose_time_is_up_waits_for_nothing(made: Any, gate: Gate) -> None:
    @flow(timeout_seconds=0.3)
    def main() -> None:
        gate.task.submit()

    began = time.monotonic()
    with pytest.raises(RunTimeout):
        main()
    assert time.monotonic() - began < 5
    assert made.states == {"main": "TIMED_OUT", "__call__": "RUNNING"}


# --- executors ------------------------------------------------------------------------------------------------


class Recording(ThreadPoolExecutor):
    made: list[Recording]

    def __init__(self) -> None:
        super().__init__(1)
        self.carried = 0
        self.closed = False
        Recording.made.append(self)

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.carried += 1
        return super().submit(*args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.closed = True
        super().shutdown(wait, cancel_futures=cancel_futures)


@pytest.fixture(autouse=True)
def _made_anew(made: Any) -> None:
    Recording.made = []


def test_an_executor_stays_its_owners_and_one_that_is_made_is_closed_with_each_attempt() -> None:
    with Recording() as pool:

        @flow(executor=pool)
        def kept() -> Any:
            return same.submit(1).result()

        assert (kept(), kept(), pool.carried, pool.closed) == (1, 1, 2, False)

    tries: list[int] = []

    @flow(executor=Recording, retries=1)
    def anew() -> None:
        same.submit(1).result()
        tries.append(1)
        if len(tries) == 1:
            raise KeyError

    Recording.made.clear()
    anew()
    assert [(each.carried, each.closed) for each in Recording.made] == [(1, True), (1, True)]


def test_no_executor_is_made_where_nothing_is_submitted() -> None:
    flow(executor=Recording)(lambda: None)()
    assert Recording.made == []


def test_subflows_use_it_and_what_submitted_tasks_submit_does_not_take_places_in_it() -> None:
    @task
    def nested(depth: int) -> int:
        return 1 if depth == 0 else sum(each.result(BOUND) for each in nested.map([depth - 1] * 2))

    @flow
    def sub() -> int:
        return int(nested.submit(3).result(BOUND))

    @flow(executor=Recording)  # of one place: it would wait for itself
    async def main() -> int:
        return sub()

    assert asyncio.run(main()) == 8
    assert [(each.carried, each.closed) for each in Recording.made] == [(1, True)]
    assert same.submit(1).result() == 1 and Recording.made[0].carried == 1  # after the flow: our own threads


def test_what_the_executor_refuses_is_the_result() -> None:
    closed = ThreadPoolExecutor(1)
    closed.shutdown()

    @flow(executor=closed)
    def main() -> None:
        with pytest.raises(RuntimeError, match="after shutdown"):
            same.submit(1).result()

    main()


def test_a_function_that_makes_no_executor_fails_the_flow(made: Any) -> None:
    with pytest.raises(TypeError, match="is no Executor"):
        flow(executor=lambda: None)(lambda: same.submit(1))()  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="Executor or a function"):
        flow(executor=4)(same)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="option of flow"):
        task(executor=Recording)(same)
    with pytest.raises(ValueError, match="generator"):
        flow(executor=Recording)(lambda: (yield))


class Breaking(Executor):
    """As a pool of processes whose worker died: it fails all futures while it holds the lock that `submit` takes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self.lock:
            self.futures.append(Future())
            return self.futures[-1]

    def break_down(self) -> None:
        with self.lock:
            for future in tuple(self.futures):
                future.set_exception(OSError("broken"))


def test_a_pool_that_breaks_under_its_own_lock_does_not_hang_what_waits_for_its_futures() -> None:
    pool = Breaking()

    @flow(executor=pool)
    def main() -> None:
        first = same.submit(1)
        second = same.submit(wait_for=[allow_failure(first)])
        threading.Timer(0.05, pool.break_down).start()
        assert str(first.exception(BOUND)) == "broken"
        while len(pool.futures) < 2:
            time.sleep(0.01)
        pool.futures[1].set_result("second")
        assert second.result(BOUND) == "second"

    main()


# --- what cannot be sent --------------------------------------------------------------------------------------


def test_what_cannot_be_pickled_is_one_failed_task_with_a_hint_and_the_pool_goes_on() -> None:
    with ProcessPoolExecutor(1) as pool:

        @flow(executor=pool)
        def main() -> None:
            error = same.submit(threading.Lock()).exception(BOUND)
            assert isinstance(error, NotPicklable) and isinstance(error, TypeError)
            assert "a call of same cannot be sent to another process: cannot pickle '_thread.lock'" in str(
                error
            )
            assert "ThreadPoolExecutor" in error.hint

        main()
