"""A job that needs another: refused, waiting or warned, and never held up by a store that does not answer."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holter import NeedsUnmet, flow, task
from holter.agent.needs import BUDGET, Needs, judge

Record = Callable[[], Any]
Python = Callable[..., Any]
names = (f"extract-{number}" for number in itertools.count())


def completed(name: str) -> Callable[[], None]:
    return flow(name=name)(lambda: None)


def test_a_flow_whose_need_never_completed_is_refused_and_skipped_with_the_reason(record: Record) -> None:
    name = next(names)

    @flow(needs=f"{name} within 2h")
    def load() -> None:
        pytest.fail("it ran")

    made = record()
    with pytest.raises(NeedsUnmet, match=rf"needs {name} within 2h, which has never completed .*holter runs"):
        load()
    assert (made.run.state, made.run.started_at) == ("SKIPPED", None)
    assert made.run.reason == f"it needs {name} within 2h, which has never completed"


def test_a_flow_waits_until_its_need_has_completed_sync_and_async(record: Record) -> None:
    for asynchronous in (False, True):
        name = next(names)

        @flow(name="plain", needs=[name], on_unmet="wait", needs_wait=20)
        def plain() -> str:
            return "ran"

        @flow(name="asynchronous", needs=[name], on_unmet="wait", needs_wait=20)
        async def later() -> str:
            return "ran"

        made = record()
        completed(name)()  # not in the store yet: the shipper has it
        assert (asyncio.run(later()) if asynchronous else plain()) == "ran"
        run = made.named("asynchronous" if asynchronous else "plain")
        assert run.state == "COMPLETED"
        if run.log_lines:  # it had to wait
            assert run.started_at is not None and run.started_at - run.created_at > 0.1
            assert any(f"for {name}" in line for line in made.lines(run))


def test_waiting_ends_and_refuses(record: Record) -> None:
    @flow(name="load", needs=next(names), on_unmet="wait", needs_wait=0.3)
    async def load() -> None:
        pytest.fail("it ran")

    began = time.monotonic()
    made = record()
    with pytest.raises(NeedsUnmet, match="after waiting 300ms"):
        asyncio.run(load())
    assert 0.3 <= time.monotonic() - began < 5
    assert made.run.state == "SKIPPED"


def test_a_warned_flow_runs_and_says_what_is_missing(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(names)

    @flow(name="load", needs=name, on_unmet="warn")
    def load() -> int:
        return 42

    made = record()
    assert load() == 42
    assert (
        f"holter: load: it needs {name}, which has never completed: it runs all the same"
        in capsys.readouterr().err
    )
    assert "has never completed" in made.lines(made.run)[0]


def test_for_the_flow_around_it_a_refusal_is_an_error_like_any_other(record: Record) -> None:
    name = next(names)
    inner = flow(name="inner", needs=name)(lambda: None)
    made = record()
    with pytest.raises(NeedsUnmet):
        flow(name="outer")(lambda: inner())()
    assert made.states == {"outer": "FAILED", "inner": "SKIPPED"}


def test_a_task_completes_nobodys_need(record: Record) -> None:
    name = next(names)
    record()
    task(name=name)(lambda: None)()
    with pytest.raises(NeedsUnmet):
        flow(needs=name, on_unmet="wait", needs_wait=0.8)(lambda: None)()


@contextmanager
def a_store_that_never_answers() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_store_that_hangs_costs_a_bounded_time_and_the_job_runs(python: Python) -> None:
    with a_store_that_never_answers() as url:
        done = python(
            """
            import time
            from holter import flow
            @flow(needs="extract within 1h")
            def load():
                print("ran after", time.monotonic() - began)
            began = time.monotonic()
            load()
            """,
            HOLTER_BACKEND=url,
        )
    assert done.stdout.startswith("ran after"), done.stderr
    assert BUDGET / 2 < float(done.stdout.split()[2]) < BUDGET + 1.5
    said = rf"{url} does not answer: no answer in time .*|the store did not answer within {BUDGET:g} s"
    assert re.search(
        rf"load: cannot tell whether extract completed, ({said}): it runs all the same", done.stderr
    )


def test_the_settings_name_the_needs_of_a_job_and_win_over_its_decorator(
    python: Python, tmp_path: Path
) -> None:
    config = tmp_path / "holter.yaml"
    config.write_text('checks: {load: {needs: ["extract within 2h"], on_unmet: refuse, needs_wait: 2s}}')
    done = python(
        """
        from holter import flow
        @flow(on_unmet="warn")
        def load(): print("ran")
        load()
        """,
        HOLTER_CONFIG=str(config),
    )
    assert done.stdout == ""
    assert "NeedsUnmet: it needs extract within 2h, which has never completed" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        {"needs": " within 2h"},
        {"needs": "a within soon"},
        {"needs": "a", "on_unmet": "hope"},
        {"needs": "a", "needs_wait": "x"},
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_decorator(options: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        flow(**options)


def test_a_generator_cannot_have_needs() -> None:
    with pytest.raises(ValueError, match="needs and executor do not work"):

        @flow(needs="a")
        def rows() -> Iterator[int]:
            yield 1


ago = st.integers(0, 5)


@given(st.fixed_dictionaries({"a": st.none() | ago, "b": ago, "c": ago}), st.none() | ago)
@example({"a": 3, "b": 3, "c": 0}, 3)
@example({"a": 4, "b": 3, "c": 0}, 3)
def test_needs_are_met_just_when_every_job_completed_lately_enough(
    done: dict[str, float | None], within: float | None
) -> None:
    now = 2e9
    needs = Needs([job if within is None else f"{job} within {within:.3f}s" for job in "ab"])
    given_at = {job: None if age is None else now - age for job, age in done.items()}
    ages = [done.get(job) for job in "ab"]
    limit = next(iter(needs.jobs.values()))
    met = all(age is not None and (limit is None or now - (now - age) <= limit) for age in ages)
    assert (judge(needs, given_at, now) is None) is met
