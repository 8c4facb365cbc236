"""When to try again: the policy answers, and runs do as it says."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter import flow, task
from holter.agent.retries import RetryPolicy


@pytest.mark.parametrize(
    ("delays", "waits"),
    [
        (None, [0, 0, 0, 0, None]),
        (2, [2, 2, 2, 2, None]),
        ([1, 10], [1, 10, 10, 10, None]),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, None]),
        ([], [0, 0, 0, 0, None]),
        (lambda retries: [retries * n for n in (1, 2)], [4, 8, 8, 8, None]),
        (lambda retries: 7, [7, 7, 7, 7, None]),
    ],
    ids=[
        "none",
        "a number",
        "a list whose last item repeats",
        "a longer list",
        "an empty list",
        "a function",
        "one number",
    ],
)
def test_the_delays_are_those_that_were_asked_for(delays: Any, waits: list[float | None]) -> None:
    policy = RetryPolicy(4, delays)
    assert [policy.delay_after(attempt, ValueError()) for attempt in range(1, 6)] == waits


@given(st.floats(0, 100), st.floats(0, 5), st.integers(1, 5))
def test_jitter_makes_a_delay_longer_by_at_most_its_factor(delay: float, jitter: float, attempt: int) -> None:
    waited = RetryPolicy(5, delay, jitter).delay_after(attempt, ValueError())
    assert waited is not None
    assert delay <= waited <= delay * (1 + jitter) * (1 + 1e-9)


def test_jitter_is_random_and_uses_its_whole_range() -> None:
    policy = RetryPolicy(1, 10.0, 0.5)
    waits = [policy.delay_after(1, None) or 0.0 for _ in range(500)]
    assert min(waits) < 10.3 and max(waits) > 14.7


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
def test_exits_and_interrupts_are_never_tried_again(error: BaseException) -> None:
    assert RetryPolicy(5).delay_after(1, error) is None


def test_the_condition_decides() -> None:
    policy = RetryPolicy(5, condition=lambda error: isinstance(error, OSError))
    assert policy.delay_after(1, OSError()) == 0.0
    assert policy.delay_after(1, ValueError()) is None


@pytest.mark.parametrize("arguments", [(-1,), (1, -1), (1, [1, -1]), (1, 1, -0.5)])
def test_negative_numbers_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="not negative"):
        RetryPolicy(*arguments)


@pytest.mark.parametrize("delay", [float("nan"), float("inf"), 1e12, [1, float("inf")]])
def test_a_delay_that_no_clock_can_wait_for_is_refused(delay: Any) -> None:
    """Else the wait itself would fail, in the place of what the user's function raised."""
    with pytest.raises(ValueError, match="endless"):
        RetryPolicy(1, delay)
    with pytest.raises(ValueError, match="endless"):
        RetryPolicy(1, lambda retries: delay)


@pytest.mark.parametrize("jitter", [float("nan"), float("inf")])
def test_a_jitter_that_is_no_number_is_refused(jitter: float) -> None:
    with pytest.raises(ValueError, match="not negative"):
        RetryPolicy(1, 1, jitter)


def test_a_delay_that_is_a_text_is_not_taken_for_a_list_of_its_digits() -> None:
    with pytest.raises(TypeError, match="a number, a list or a function, not '10'"):
        RetryPolicy(2, "10")


@pytest.mark.parametrize("retries", [True, 1.0, "1", None])
def test_retries_are_a_whole_number(retries: Any) -> None:
    with pytest.raises(TypeError, match="whole number"):
        RetryPolicy(retries)


# --- in a run ------------------------------------------------------------------------------------------------


def failing(times: int) -> Any:
    calls: list[float] = []

    def work() -> int:
        calls.append(time.monotonic())
        if len(calls) <= times:
            raise ConnectionError(f"try {len(calls)}")
        return len(calls)

    work.calls = calls  # type: ignore[attr-defined]
    return work


def test_a_run_is_tried_again_after_its_delays_and_keeps_its_attempts(made: Any) -> None:
    work = failing(2)
    assert task(retries=3, retry_delay_seconds=[0.02, 0.05])(work)() == 3
    gaps = [later - earlier for earlier, later in zip(work.calls, work.calls[1:], strict=False)]
    assert gaps[0] >= 0.02 and gaps[1] >= 0.05
    run = made.run
    assert (run.state, run.attempt, run.error) == ("COMPLETED", 3, None)
    assert [attempt["attempt"] for attempt in run.attempts] == [1, 2, 3]
    assert [attempt["delay_seconds"] for attempt in run.attempts] == [0.02, 0.05, None]
    assert [attempt["reason"] for attempt in run.attempts[:2]] == [
        "ConnectionError: try 1",
        "ConnectionError: try 2",
    ]
    assert [attempt["error"]["message"] for attempt in run.attempts[:2]] == ["try 1", "try 2"]
    moves = [row.to_state for row in made._store.transitions(0, 10**6) if row.run_id == run.id]
    assert moves[-1] == "COMPLETED"
    assert made._store.events(run.id)[-1]["event"] == "end"


def test_the_last_failure_is_the_one_that_is_raised_and_recorded(made: Any) -> None:
    with pytest.raises(ConnectionError, match="try 3"):
        flow(name="f", retries=2)(failing(9))()
    run = made.run
    assert (run.state, run.reason, run.attempt) == ("FAILED", "ConnectionError: try 3", 3)
    assert run.error["message"] == "try 3"


def test_a_condition_that_says_no_ends_it_and_one_that_fails_ends_it_too(made: Any, record: Any) -> None:
    work = failing(9)
    with pytest.raises(ConnectionError, match="try 1"):
        task(retries=5, retry_condition_fn=lambda error: "2" in str(error))(work)()
    assert made.run.attempt == 1
    later = record()

    def broken(error: BaseException) -> bool:
        raise RuntimeError("condition")

    with pytest.raises(ConnectionError, match="try 1"):
        task(retries=5, retry_condition_fn=broken)(failing(9))()
    assert later.run.state == "FAILED"


def test_coroutines_are_tried_again_without_blocking_the_loop(made: Any) -> None:
    work, ticks = failing(2), []

    @task(retries=2, retry_delay_seconds=0.05)
    async def step() -> int:
        return int(work())

    async def tick() -> None:
        while True:
            ticks.append(1)
            await asyncio.sleep(0.005)

    async def both() -> int:
        ticking = asyncio.ensure_future(tick())
        result = await step()
        ticking.cancel()
        return result

    assert asyncio.run(both()) == 3
    assert len(ticks) > 5
    assert made.run.attempt == 3


def test_an_interrupt_between_two_attempts_cancels_the_run(python: Any, left: Any) -> None:
    done = python("""
        import os, signal, threading
        from holter import flow
        @flow(retries=1, retry_delay_seconds=20)
        def main():
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            raise ValueError("x")
        main()
    """)
    assert done.returncode == -2
    assert (left().run.state, left().run.signal) == ("CANCELLED", "SIGINT")
