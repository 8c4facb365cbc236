"""Hooks, retries, names, tags, runtime and loggers of the mapping."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from holter.agent.prefect import flow, get_run_logger, runtime, tags, task
from holter.agent.prefect.context import FlowRunContext, TaskRunContext, get_run_context
from holter.agent.prefect.exceptions import MissingContextError
from holter.agent.prefect.loggers import disable_run_logger, flow_run_logger


def test_hooks_are_told_the_object_the_run_and_the_state() -> None:
    seen: list[tuple[str, ...]] = []

    def hook(what: Any, run: Any, state: Any, word: str = "") -> None:
        seen.append((what.name, type(run).__name__, state.name, word))

    @flow(on_running=[hook], on_completion=[partial(hook, word="done")])
    def fine() -> None:
        broken(return_state=True)

    @task(on_running=[hook])
    def broken() -> None:
        raise ValueError

    broken.on_failure(hook)
    fine()
    assert seen == [
        ("fine", "FlowRun", "Running", ""),
        ("broken", "TaskRun", "Running", ""),
        ("broken", "TaskRun", "Failed", ""),
        ("fine", "FlowRun", "Completed", "done"),
    ]


def test_a_hook_that_fails_changes_nothing() -> None:
    @flow(on_completion=[lambda *_: 1 / 0])
    def fine() -> int:
        return 1

    assert fine() == 1


def test_retries_ask_the_condition_and_run_the_hook_each_time(made: Any) -> None:
    seen: list[str] = []

    def again(what: Any, run: Any, state: Any) -> bool:
        seen.append(f"asked {run.run_count}")
        return isinstance(state.result(raise_on_failure=False), KeyError)

    @task(retries=5, retry_condition_fn=again, on_running=[lambda t, r, s: seen.append(s.name)])
    def flaky(tried: list[int]) -> None:
        tried.append(1)
        raise KeyError if len(tried) < 3 else ValueError

    assert flaky([], return_state=True).is_failed()
    assert seen == ["Running", "asked 1", "Retrying", "asked 2", "Retrying", "asked 3"]
    assert (made.run.state, len(made.run.attempts)) == ("FAILED", 3)


def test_runs_are_named_by_text_or_function_and_runtime_knows_them(made: Any) -> None:
    def name() -> str:
        return f"{runtime.flow_run.flow_name}-{runtime.task_run.task_name}-{runtime.task_run.parameters['limit']}"

    @task(task_run_name=name)
    def step(limit: int = 3) -> str:
        return str(runtime.task_run.name)

    @flow(flow_run_name="on-{day}")
    def my_flow(day: str) -> Any:
        return runtime.flow_run.name, runtime.flow_run.parameters, runtime.deployment.name, step()

    assert my_flow("monday") == ("on-monday", {"day": "monday"}, None, "my-flow-step-3")
    assert made.named("my-flow").run_name == "on-monday"
    assert made.named("step").run_name == "my-flow-step-3"


def test_runtime_outside_of_a_run_is_empty_and_can_be_mocked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (runtime.flow_run.name, runtime.flow_run.tags, runtime.task_run.id) == (None, [], None)
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__NAME", "mocked")
    monkeypatch.setenv("PREFECT__RUNTIME__TASK_RUN__FAKE_KEY", "foo")
    assert (runtime.flow_run.name, runtime.task_run.fake_key) == ("mocked", "foo")
    with pytest.raises(AttributeError):
        _ = runtime.flow_run.nothing


def test_tags_of_the_context_and_of_the_task_are_together(made: Any) -> None:
    @task(tags=["slow"])
    def step() -> Any:
        return runtime.task_run.tags

    with tags("nightly") as now:
        assert now == {"nightly"}
        assert step() == ["nightly", "slow"]
    assert sorted(made.run.tags) == ["nightly", "slow"]


def test_contexts_say_where_one_is() -> None:
    @task
    def step(x: int) -> Any:
        inner, outer = TaskRunContext.get(), FlowRunContext.get()
        assert inner is not None and outer is not None and isinstance(get_run_context(), TaskRunContext)
        return inner.task.name, inner.parameters, outer.flow.name

    @flow
    def around() -> Any:
        return step(2)

    assert around() == ("step", {"x": 2}, "around")
    assert FlowRunContext.get() is None
    with pytest.raises(MissingContextError):
        get_run_context()


def test_the_run_logger_speaks_on_stderr_and_into_the_record(
    made: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    @flow(log_prints=True, flow_run_name="tuesday")
    def talk() -> None:
        get_run_logger().warning("careful %s", "now")
        get_run_logger().debug("kept, not shown")
        print("printed", 1, sep="-")
        quiet()

    @task(log_prints=False)
    def quiet() -> None:
        print("plain")

    talk()
    said = capsys.readouterr()
    assert said.out == "plain\n"
    first, second = said.err.splitlines()
    assert first.endswith(" | WARNING | Flow run 'tuesday' - careful now")
    assert second.endswith(" | INFO    | Flow run 'tuesday' - printed-1")
    assert made.lines(made.named("talk")) == ["careful now", "kept, not shown", "printed-1"]
    assert "careful now" in caplog.messages


def test_outside_of_a_run_the_run_logger_is_an_error_unless_it_is_disabled() -> None:
    with pytest.raises(MissingContextError):
        get_run_logger()
    with disable_run_logger():
        get_run_logger().info("not heard")


def test_a_hook_can_log_for_its_run_and_prints_as_its_run_does(capsys: pytest.CaptureFixture[str]) -> None:
    def after(what: Any, run: Any, state: Any) -> None:
        flow_run_logger(run, what).info("after")
        get_run_logger().info("too")
        print("printed")

    @flow(on_completion=[after], on_running=[lambda *_: print("begins")], flow_run_name="x", log_prints=True)
    def fine() -> None: ...

    fine()
    said = capsys.readouterr()
    assert said.out == "begins\n"
    assert [line.rpartition(" | ")[2] for line in said.err.splitlines()] == [
        f"Flow run 'x' - {word}" for word in ("after", "too", "printed")
    ]
