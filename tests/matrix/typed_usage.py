"""Never run, only type-checked: the types of what is decorated are those of the function that was.

`assert_type` states what a checker must see. A line that ends in `# wrong` must be an error, and no other may be.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar, assert_type

from holter import concurrency, configure, current_run, flow, get_run_logger, progress, tags, task

T = TypeVar("T")

# --- functions ---------------------------------------------------------------------------------------------------


@flow
def bare(day: str, *, deep: bool = False) -> int:
    return len(day) + deep


@flow(name="etl", retries=3, retry_delay_seconds=[1, 10.5], tags=["a"], timeout_seconds=60)
def options(day: str, count: int = 1) -> list[str]:
    return [day] * count


@task
def step(*rows: int, **named: str) -> dict[str, int]:
    return dict.fromkeys(named, sum(rows))


@task(log_prints=True)
def positional(a: int, b: str, /) -> tuple[int, str]:
    return a, b


assert_type(bare("monday", deep=True), int)
assert_type(options("monday", count=2), list[str])
assert_type(step(1, 2, x="y"), dict[str, int])
assert_type(positional(1, "b"), tuple[int, str])
bare(7)  # wrong
bare("monday", True)  # wrong
bare("monday", depe=True)  # wrong
bare()  # wrong
options("monday", count="2")  # wrong
step("1")  # wrong
positional(a=1, b="b")  # wrong
bare("monday").upper()  # wrong

assert_type(bare.fn("monday"), int)
assert_type(bare.with_options(retries=2)("monday"), int)
bare.with_options(retries=2)(7)  # wrong
assert_type(bare.__name__, str)


def takes(call: Callable[[str], int]) -> None: ...


takes(bare)
takes(options)  # wrong


@flow
def generic(items: list[T]) -> T:
    return items[0]


assert_type(generic([1, 2]), int)

# --- methods -----------------------------------------------------------------------------------------------------


class Job:
    @flow
    def run(self, day: str) -> int:
        return len(day)

    @task(retries=1)
    def step(self, n: int = 0) -> str:
        return str(n)

    @classmethod
    @flow
    def of_class(cls, day: str) -> bytes:
        return day.encode()

    @staticmethod
    @task
    def of_nobody(n: int) -> float:
        return n / 2


job = Job()
assert_type(job.run("monday"), int)
assert_type(job.step(), str)
assert_type(Job.run(job, "monday"), int)
assert_type(job.of_class("monday"), bytes)
assert_type(Job.of_nobody(1), float)
job.run(7)  # wrong
job.run()  # wrong
job.step("n")  # wrong
Job.of_nobody("n")  # wrong

# --- coroutines and generators -----------------------------------------------------------------------------------


@flow
async def later(day: str) -> int:
    return len(day)


@task(retries=2)
async def step_later(n: int) -> str:
    return str(n)


@task
def numbers(n: int) -> Iterator[int]:
    yield from range(n)


@task
async def numbers_later(n: int) -> AsyncGenerator[int, None]:
    for number in range(n):
        yield number


async def main() -> None:
    assert_type(await later("monday"), int)
    assert_type(await step_later(1), str)
    pending: Coroutine[Any, Any, int] = later("monday")
    assert_type(await pending, int)
    async for number in numbers_later(3):
        assert_type(number, int)
    await later(7)  # wrong
    (await step_later(1)).nothing()  # wrong


for number in numbers(3):
    assert_type(number, int)
numbers("3")  # wrong

# --- beside the call ---------------------------------------------------------------------------------------------

assert_type(bare.submit("monday"), Future[Any])
assert_type(bare.map(["monday", "tuesday"]), list[Future[Any]])
bare.submit(7)  # wrong

for item in progress(["a", "b"]):
    assert_type(item, str)
progress(1, 2, "text")
with tags("a"), concurrency("database", occupy=2):
    get_run_logger().info("x")
run = current_run()
if run is not None:
    assert_type(run.id, str)
configure(project="billing")


@flow(retires=3)  # wrong
def misspelt() -> None: ...


@flow("name")  # wrong
def unnamed() -> None: ...


@task(on_completion=[lambda run: run.state])
def hooked() -> None: ...
