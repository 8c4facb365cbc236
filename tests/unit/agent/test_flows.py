"""`@flow` and `@task`: the function behaves as before, whatever shape it has, and what happened is recorded."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import copy_context
from typing import Any

import pytest

from holter import current_run, flow, tags, task


class Thing:
    """Something whose identity can be seen again."""


# --- a call is still the call --------------------------------------------------------------------------------


def test_a_call_returns_the_very_object_that_the_function_returned(made: Any) -> None:
    thing = Thing()
    assert flow(lambda: thing)() is thing
    assert made.run.state == "COMPLETED"


def test_a_call_raises_the_very_exception_with_the_users_own_traceback(made: Any) -> None:
    error = ValueError("no such file")

    @flow
    def load() -> None:
        raise error

    with pytest.raises(ValueError) as caught:
        load()
    assert caught.value is error
    assert caught.traceback[-1].name == "load"
    assert error.__cause__ is None and error.__context__ is None
    run = made.run
    assert (run.state, run.reason) == ("FAILED", "ValueError: no such file")
    assert run.error["type"] == "ValueError"
    assert "holter" not in run.error["traceback"]


def test_a_decorated_function_keeps_its_name_docstring_and_signature_and_shows_the_function() -> None:
    def count(path: str, *, deep: bool = False) -> int:
        """Count what is there."""
        return 0

    step = task(count)
    assert (step.__name__, step.__doc__, step.fn) == ("count", "Count what is there.", count)
    import inspect

    assert inspect.signature(step) == inspect.signature(count)


def test_an_exception_that_cannot_say_what_it_is_reaches_the_caller_all_the_same(made: Any) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    @flow
    def fail() -> None:
        raise Mute

    with pytest.raises(Mute):
        fail()
    assert made.run.state == "FAILED"


def test_the_endings_of_huge_failures_in_any_script_are_recorded(made: Any) -> None:
    @flow
    def fail() -> None:
        raise ValueError("\N{COLLISION SYMBOL}" * 50_000)

    with pytest.raises(ValueError):
        fail()
    assert made.run.state == "FAILED"
    assert made.run.error["type"] == "ValueError"


def test_any_number_of_tags_is_no_reason_to_lose_a_run(made: Any) -> None:
    flow(tags=[f"tag-{number}-{'x' * 200}" for number in range(500)])(lambda: None)()
    assert made.run.state == "COMPLETED"


# --- shapes --------------------------------------------------------------------------------------------------


class Loader:
    factor = 2

    @task
    def method(self, number: int, label: str = "a") -> int:
        return number * self.factor

    @task
    @classmethod
    def outside(cls, number: int) -> int:
        return number * cls.factor

    @classmethod
    @task
    def inside(cls, number: int) -> int:
        return number * cls.factor

    @task
    @staticmethod
    def static(number: int) -> int:
        return number * 2

    def __call__(self, number: int) -> int:
        return number * self.factor

    def plain(self, number: int) -> int:
        return number * self.factor


def double(number: int, factor: int = 2) -> int:
    return number * factor


def power(base: int, exponent: int) -> int:
    return int(base**exponent)


@pytest.mark.parametrize(
    ("call", "result", "name", "parameters"),
    [
        (lambda: task(double)(4), 8, "double", {"number": 4, "factor": 2}),
        (lambda: task(double)(number=4), 8, "double", {"number": 4, "factor": 2}),
        (lambda: Loader().method(4), 8, "method", {"number": 4, "label": "a"}),
        (lambda: Loader.outside(4), 8, "outside", {"number": 4}),
        (lambda: Loader.inside(4), 8, "inside", {"number": 4}),
        (lambda: Loader().inside(4), 8, "inside", {"number": 4}),
        (lambda: Loader.static(4), 8, "static", {"number": 4}),
        (lambda: Loader().static(4), 8, "static", {"number": 4}),
        (lambda: task(Loader().plain)(4), 8, "plain", {"number": 4}),
        (lambda: task(Loader())(4), 8, "Loader", {"number": 4}),
        (lambda: task(functools.partial(double, factor=3))(4), 12, "double", {"number": 4, "factor": 3}),
        (lambda: task(functools.partial(power, 3))(2), 9, "power", {"base": 3, "exponent": 2}),
        (lambda: task(len)([1, 2]), 2, "len", {"args": [[1, 2]]}),
    ],
    ids=[
        "function",
        "keyword",
        "method",
        "task over classmethod",
        "classmethod over task",
        "classmethod on an instance",
        "staticmethod",
        "staticmethod on an instance",
        "bound method",
        "callable object",
        "partial with a keyword",
        "partial with a position",
        "built-in",
    ],
)
def test_every_shape_of_callable_keeps_its_result_and_shows_its_parameters(
    made: Any, call: Any, result: Any, name: str, parameters: dict[str, Any]
) -> None:
    assert call() == result
    run = made.run
    assert (run.state, run.name, run.parameters) == ("COMPLETED", name, parameters)


def test_parameters_show_defaults_keyword_only_ones_and_the_rest(made: Any) -> None:
    @flow
    def report(day: str, region: str = "eu", *more: int, deep: bool = True, **extra: Any) -> None: ...

    report("monday", "us", 1, 2, mode="fast")
    assert made.run.parameters == {
        "day": "monday",
        "region": "us",
        "more": [1, 2],
        "deep": True,
        "mode": "fast",
    }


def test_a_wrong_call_fails_as_it_does_without_us(made: Any) -> None:
    @flow
    def one(a: int) -> None: ...

    with pytest.raises(TypeError, match=r"one\(\) takes 1 positional argument but 2 were given"):
        one(1, 2)  # type: ignore[call-arg]
    assert made.run.state == "FAILED"


def test_a_generator_is_one_run_from_its_first_step_to_its_end(made: Any) -> None:
    @flow
    def numbers(n: int) -> Iterator[int]:
        received = 0
        for i in range(n):
            received += (yield i) or 0
        return received

    steps = numbers(3)
    assert made.runs == []
    assert [next(steps), steps.send(10), steps.send(20)] == [0, 1, 2]
    assert made.run.state == "RUNNING"
    with pytest.raises(StopIteration) as stop:
        steps.send(30)
    assert stop.value.value == 60
    assert (made.run.state, made.run.result) == ("COMPLETED", 60)


def test_between_its_steps_a_generator_is_not_the_current_run(made: Any) -> None:
    @task
    def inner() -> None: ...

    @flow
    def steps() -> Iterator[str]:
        inner()
        run = current_run()
        assert run is not None
        yield run.name

    for name in steps():
        assert name == "steps"
        assert current_run() is None
    assert made.named("inner").parent_id == made.named("steps").id


def test_what_is_thrown_into_a_generator_arrives_there_and_closing_it_cancels_the_run(
    made: Any, record: Any
) -> None:
    @flow
    def careful() -> Iterator[str]:
        try:
            yield "waiting"
        except KeyError as error:
            yield f"caught {error}"

    steps = careful()
    next(steps)
    assert steps.throw(KeyError("k")) == "caught 'k'"  # type: ignore[attr-defined]
    steps.close()  # type: ignore[attr-defined]
    assert (made.run.state, made.run.reason) == ("CANCELLED", "closed by its consumer")

    later = record()
    for _ in careful():
        break
    gc.collect()
    assert later.run.state == "CANCELLED"


def test_a_generator_that_raises_is_failed_and_raises(made: Any) -> None:
    @flow
    def bad() -> Iterator[int]:
        yield 1
        raise LookupError("two")

    with pytest.raises(LookupError, match="two"):
        list(bad())
    assert made.run.state == "FAILED"


def test_a_coroutine_function_is_recorded_when_it_is_awaited(made: Any) -> None:
    @flow
    async def work(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    assert asyncio.run(work(1)) == 2
    assert (made.run.state, made.run.result, made.run.parameters) == ("COMPLETED", 2, {"n": 1})


def test_tasks_that_are_gathered_belong_to_their_flow_and_each_to_its_own_parent(made: Any) -> None:
    @task
    async def leaf(n: int) -> int:
        await asyncio.sleep(0.001 * (5 - n))
        return n

    @task
    async def branch(n: int) -> int:
        await asyncio.sleep(0)
        return sum(await asyncio.gather(leaf(n), leaf(n + 1)))

    @flow
    async def tree() -> int:
        return sum(await asyncio.gather(*(branch(n) for n in range(4))))

    assert asyncio.run(tree()) == 16
    runs = {run.id: run for run in made.runs}
    kinds = {name: [run for run in runs.values() if run.name == name] for name in ("tree", "branch", "leaf")}
    assert [len(found) for found in kinds.values()] == [1, 4, 8]
    assert {run.state for run in runs.values()} == {"COMPLETED"}
    assert {runs[run.parent_id].name for run in kinds["leaf"]} == {"branch"}
    for branch_run in kinds["branch"]:
        mine = [run.parameters["n"] for run in kinds["leaf"] if run.parent_id == branch_run.id]
        assert sorted(mine) == [branch_run.parameters["n"], branch_run.parameters["n"] + 1]


def test_a_cancelled_coroutine_is_cancelled_and_its_flow_ends_as_it_ends(made: Any) -> None:
    @task
    async def slow() -> None:
        await asyncio.sleep(60)

    @flow
    async def impatient() -> str:
        job = asyncio.ensure_future(slow())
        await asyncio.sleep(0.01)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        return "done"

    assert asyncio.run(impatient()) == "done"
    assert made.states == {"impatient": "COMPLETED", "slow": "CANCELLED"}


def test_an_async_generator_is_one_run(made: Any, record: Any) -> None:
    @flow
    async def ticks(n: int) -> AsyncIterator[int]:
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def read(stop: int) -> list[int]:
        found = []
        async for tick in ticks(3):
            found.append(tick)
            assert current_run() is None
            if tick == stop:
                break
        return found

    assert asyncio.run(read(99)) == [0, 1, 2]
    assert made.run.state == "COMPLETED"
    later = record()
    assert asyncio.run(read(1)) == [0, 1]
    assert later.run.state == "CANCELLED"


def test_a_coroutine_that_is_closed_in_another_context_raises_nothing_of_ours(made: Any) -> None:
    @flow
    async def waiting() -> None:
        await asyncio.Future(loop=loop)

    loop = asyncio.new_event_loop()
    work = waiting()
    copy_context().run(work.send, None)
    work.close()
    loop.close()
    assert made.run.state == "CANCELLED"


# --- nesting -------------------------------------------------------------------------------------------------


def test_subflows_and_tasks_are_linked_to_who_called_them_and_to_one_root(made: Any) -> None:
    @task
    def leaf() -> None: ...

    @flow
    def sub() -> None:
        leaf()

    @flow
    def top() -> None:
        sub()
        leaf()

    top()
    top_run, sub_run, inner, outer = made.runs
    assert (top_run.parent_id, sub_run.parent_id) == (None, top_run.id)
    assert (inner.parent_id, outer.parent_id) == (sub_run.id, top_run.id)
    assert {run.root_id for run in made.runs} == {top_run.id}


def test_a_task_in_a_bare_thread_belongs_to_the_only_open_flow_and_to_none_if_there_are_two(
    made: Any, record: Any
) -> None:
    @task
    def leaf() -> None: ...

    def in_thread(function: Any) -> None:
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()

    @flow
    def single() -> None:
        in_thread(leaf)

    single()
    assert made.named("leaf").parent_id == made.named("single").id

    later = record()

    @flow
    def second() -> None:
        in_thread(leaf)

    @flow
    def first() -> None:
        in_thread(second)  # a flow in a bare thread is a root of its own

    first()
    assert later.named("second").parent_id is None
    assert later.named("leaf").parent_id is None


def test_many_threads_never_share_an_id_and_lose_nothing(made: Any) -> None:
    @task
    def step(n: int) -> int:
        return n

    @flow
    def crowd() -> None:
        def work(k: int) -> None:
            for n in range(200):
                step(n + 1000 * k)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    crowd()
    steps = [run for run in made.runs if run.name == "step"]
    assert len({run.id for run in steps}) == 1600
    assert {run.parameters["n"] for run in steps} == {n + 1000 * k for n in range(200) for k in range(8)}
    assert {run.state for run in steps} == {"COMPLETED"}
    assert {run.parent_id for run in steps} == {made.named("crowd").id}


# --- names, tags, hooks, options -----------------------------------------------------------------------------


def test_runs_are_named_by_their_parameters_or_by_a_function_and_never_by_a_secret(made: Any) -> None:
    @flow(flow_run_name="{day}-{region}-{token}")
    def load(day: str, token: str, region: str = "eu") -> None: ...

    @task(task_run_name=lambda: "by hand")
    def step() -> None: ...

    load("monday", "hunter2hunter2")
    step()
    assert made.named("load").run_name == "monday-eu-***"
    assert made.named("step").run_name == "by hand"


def test_a_name_that_cannot_be_made_changes_nothing(made: Any) -> None:
    @flow(flow_run_name="{missing}")
    def load() -> int:
        return 1

    assert load() == 1
    assert (made.run.state, made.run.run_name) == ("COMPLETED", None)


def test_tags_that_are_no_texts_are_recorded_as_such(made: Any) -> None:
    with tags(2026, "eu"):
        task(tags=[7, "etl"])(lambda: None)()
    assert made.run.tags == ("2026", "eu", "7", "etl")


def test_tags_of_the_context_and_of_the_decorator_add_up_and_end_with_their_block(made: Any) -> None:
    @task(tags=["io"])
    def step() -> None: ...

    @flow(tags={"nightly"})
    def load() -> None:
        with tags("eu", "nightly"), tags("slow"):
            step()

    load()
    assert set(made.named("load").tags) == {"nightly"}
    assert set(made.named("step").tags) == {"io", "eu", "nightly", "slow"}
    flow(name="after")(lambda: None)()
    assert made.named("after").tags == ()


def test_hooks_are_called_with_the_run_and_an_error_in_one_changes_nothing(
    made: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[tuple[str, str]] = []

    def hear(word: str) -> Any:
        return lambda run: heard.append((word, run.state))

    def broken(run: Any) -> None:
        raise RuntimeError("hook")

    hooks: Any = {
        f"on_{word}": [broken, hear(word)] for word in ("running", "completion", "failure", "cancellation")
    }

    @flow(**hooks)
    def good() -> int:
        return 1

    @flow(**hooks)
    def bad() -> None:
        raise ValueError("x")

    @flow(**hooks)
    def stopped() -> None:
        raise KeyboardInterrupt

    assert good() == 1
    with pytest.raises(ValueError):
        bad()
    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert heard == [
        ("running", "RUNNING"),
        ("completion", "COMPLETED"),
        ("running", "RUNNING"),
        ("failure", "FAILED"),
        ("running", "RUNNING"),
        ("cancellation", "CANCELLED"),
    ]
    said = capsys.readouterr().err
    assert said in ("", "holter: hook: RuntimeError: hook; the job goes on\n")  # once for a process


def test_with_options_gives_the_same_function_with_some_options_changed(made: Any) -> None:
    @task(name="first", tags=["a"])
    def step(n: int) -> int:
        return n

    again = step.with_options(name="second")
    assert (step(1), again(2)) == (1, 2)
    assert (made.named("first").tags, made.named("second").tags) == (("a",), ("a",))
    assert again.fn is step.fn


async def later(error: BaseException) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"retrys": 1}, TypeError, "did you mean retries"),
        ({"task_run_name": "x"}, TypeError, "flow.. has no option 'task_run_name'"),
        ({"retries": -1}, ValueError, "not negative"),
        ({"retries": 1.5}, TypeError, "whole number"),
        ({"timeout_seconds": 0}, ValueError, "positive number"),
        ({"on_busy": "explode"}, ValueError, "on_busy"),
        ({"schedule": "now and then"}, ValueError, "no schedule"),
        ({"max_duration": "soon"}, ValueError, "no duration"),
        ({"on_failure": ["x"]}, TypeError, "hook"),
        ({"on_failure": print}, TypeError, "on_failure is a list of functions"),
        ({"tags": "nightly"}, TypeError, "tags is a list of texts"),
        ({"retries": 1, "retry_condition_fn": OSError("x")}, TypeError, "retry_condition_fn is a plain"),
        ({"retries": 1, "retry_condition_fn": later}, TypeError, "retry_condition_fn is a plain"),
        ({"retries": 1, "retry_delay_seconds": "10"}, TypeError, "retry_delay_seconds is a number"),
        ({"timeout_seconds": float("inf")}, ValueError, "None: no limit"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_written(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        flow(**options)


def test_retries_of_a_generator_are_refused() -> None:
    def steps() -> Iterator[int]:
        yield 1

    with pytest.raises(ValueError, match="generator"):
        flow(retries=1)(steps)


def test_a_decorator_on_no_function_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(TypeError, match="options are keywords"):
        flow("nightly")  # type: ignore[call-overload]


# --- submit and map ------------------------------------------------------------------------------------------


def test_submitted_calls_run_beside_each_other_inside_the_flow_and_take_futures_as_arguments(
    made: Any,
) -> None:
    meet = threading.Barrier(2, timeout=10)

    @task
    def one() -> int:
        meet.wait()
        return 1

    @task
    def add(a: int, b: int) -> int:
        return a + b

    @task
    async def later(n: int) -> int:
        await asyncio.sleep(0)
        return n * 10

    @flow
    def main() -> int:
        a, b = one.submit(), one.submit()
        total = add.submit(a, b=b)  # type: ignore[arg-type]
        return int(later.submit(total).result())  # type: ignore[arg-type]

    assert main() == 20
    top = made.named("main")
    assert {run.parent_id for run in made.runs if run is not top and run.id != top.id} == {top.id}


def test_map_calls_once_for_each_row_with_the_same_constants(made: Any) -> None:
    @task
    def scale(n: int, factor: int) -> int:
        return n * factor

    @flow
    def main() -> list[int]:
        return [future.result() for future in scale.map([1, 2, 3], factor=10)]

    assert main() == [10, 20, 30]
    assert sorted(run.parameters["n"] for run in made.runs if run.name == "scale") == [1, 2, 3]
    with pytest.raises(ValueError):
        scale.map([1, 2], [3])


def test_the_exception_of_a_submitted_call_is_the_users_own(made: Any) -> None:
    error = ValueError("x")

    @task
    def bad() -> None:
        raise error

    assert bad.submit().exception() is error


def test_submitted_calls_that_submit_and_wait_do_not_starve_each_other(made: Any) -> None:
    @task
    def total(depth: int) -> int:
        if depth == 0:
            return 1
        return sum(future.result(timeout=20) for future in [total.submit(depth - 1), total.submit(depth - 1)])

    assert total.submit(5).result(timeout=30) == 32


def test_methods_are_submitted_through_their_class(made: Any) -> None:
    assert Loader.method.submit(Loader(), 4).result(timeout=10) == 8
