"""What a flow or task of the mapping answers: values, states, exceptions; checked against the real Prefect by hand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holter.agent.prefect import allow_failure, flow, task
from holter.agent.prefect.exceptions import FailedRun, ParameterBindError, ParameterTypeError, UnfinishedRun
from holter.agent.prefect.states import Cancelled, Completed, Failed, State, StateType


@task
def give(x: Any = 1) -> Any:
    return x


@task
def fail() -> None:
    raise ValueError("bad")


def test_a_call_gives_the_value_and_with_return_state_the_state(made: Any) -> None:
    assert give(3) == 3
    state = give(3, return_state=True)
    assert (state.type, state.name, state.result()) == (StateType.COMPLETED, "Completed", 3)
    assert [run.state for run in made.runs] == ["COMPLETED", "COMPLETED"]


def test_a_failed_state_holds_the_exception_and_prints_as_prefects(made: Any) -> None:
    state = fail(return_state=True)
    assert str(state) == "Failed('Task run encountered an exception ValueError: bad')"
    assert isinstance(state.result(raise_on_failure=False), ValueError)
    with pytest.raises(ValueError, match="bad"):
        state.result()
    assert made.run.state == "FAILED" and made.run.error["message"] == "bad"


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (Completed(), "Completed()"),
        (Completed(name="Skipped", message="no work"), "Skipped('no work', type=COMPLETED)"),
        (Failed(message="m", data=4), "Failed('m')"),
        (Cancelled(), "Cancelled()"),
    ],
)
def test_states_print_as_prefects_do(state: State, shown: str) -> None:
    assert str(state) == shown


def test_a_returned_state_is_the_state_of_the_run(made: Any) -> None:
    @flow
    def refuses() -> State:
        return Failed(message="told so")

    @flow
    def accepts() -> State:
        return Completed(message="m", data=5)

    assert accepts() == 5
    assert str(refuses(return_state=True)) == "Failed('told so')"
    with pytest.raises(FailedRun, match="told so"):
        refuses()
    assert sorted(run.state for run in made.runs) == ["COMPLETED", "FAILED", "FAILED"]


def test_a_task_that_returns_a_state_gives_it_to_its_caller_and_is_recorded_by_it(made: Any) -> None:
    @task
    def told(well: bool) -> State:
        return Completed(message="yes") if well else Failed(message="no")

    assert str(told(True)) == "Completed('yes')"
    assert str(told(False)) == "Failed('no')"
    assert sorted(run.state for run in made.runs) == ["COMPLETED", "FAILED"]


def test_a_flow_that_returns_futures_or_states_ends_as_they_did() -> None:
    @flow
    def well() -> Any:
        return [give.submit(1), give.submit(2)]

    @flow
    def badly() -> Any:
        return give(return_state=True), fail(return_state=True)

    assert [state.result() for state in well()] == [1, 2]
    assert str(well(return_state=True)) == "Completed('All states completed.')"
    assert str(badly(return_state=True)) == "Failed('1/2 states failed.')"
    with pytest.raises(ValueError, match="bad"):
        badly()


def test_a_mix_of_values_and_states_is_a_value() -> None:
    @flow
    def mixed() -> Any:
        return "bar", fail(return_state=True)

    word, state = mixed()
    assert (word, state.is_failed()) == ("bar", True)


def test_what_follows_a_failed_task_does_not_start(made: Any) -> None:
    @flow
    def main() -> Any:
        future = fail.submit()
        after = give.submit(future)
        with pytest.raises(UnfinishedRun):
            after.result()
        assert after.state.name == "NotReady"
        assert give(wait_for=[future]) is None
        assert isinstance(give(allow_failure(future)), ValueError)

    main()
    assert [run.name for run in made.runs if run.name == "give"] == ["give"]


def test_coroutine_functions_answer_alike() -> None:
    @task
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    @flow
    async def main() -> Any:
        state = await double("a", return_state=True)
        return await double(2), double.submit(3).result(), double.map([1, 2]).result(), state.result()

    assert asyncio.run(main()) == (4, 6, [2, 4], "aa")


class Machine:
    """Methods of all kinds, with the decorators in both orders."""

    @flow
    def run(self, n: int) -> Any:
        return type(self).__name__, n, self.step(n), Machine.of_class(), Machine.of_nobody()

    @task
    def step(self, n: int) -> Any:
        return n + 1

    @classmethod
    @task
    def of_class(cls) -> Any:
        return cls.__name__

    @flow
    @staticmethod
    def of_nobody() -> Any:
        return "nobody"


def test_methods_are_flows_and_tasks_too(made: Any) -> None:
    assert Machine().run("3") == ("Machine", 3, 4, "Machine", "nobody")
    assert Machine().step.submit(1).result() == 2
    assert len(made.runs) == 5


def test_a_returned_generator_is_consumed_and_a_generator_function_yields(made: Any) -> None:
    @task
    def numbers() -> Any:
        return (n for n in (1, 2))

    @flow
    def steps() -> Any:
        yield 1
        yield 2

    assert numbers() == [1, 2]
    assert list(steps()) == [1, 2]
    assert made.states == {"numbers": "COMPLETED", "steps": "COMPLETED"}


def test_parameters_of_flows_are_brought_to_their_types_and_those_of_tasks_are_not(made: Any) -> None:
    @flow
    def typed(n: int, on: bool = False, name: str | None = None) -> Any:
        return n, on, name

    assert typed("5", on="yes") == (5, True, None)
    assert give.with_options(name="other")("5") == "5"
    with pytest.raises(ParameterTypeError, match=" - n: Input should be a valid integer"):
        typed("five")
    assert [run.state for run in made.runs if run.error] == ["FAILED"]
    assert typed.with_options(validate_parameters=False)("five") == ("five", False, None)


def test_models_of_pydantic_are_made_from_dicts() -> None:
    pydantic = pytest.importorskip("pydantic", reason="pip install pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        a: int

    @flow
    def take(model: Model) -> int:
        return model.a  # type: ignore[no-any-return]

    take.fn.__annotations__["model"] = Model
    assert take({"a": "3"}) == 3
    with pytest.raises(ParameterTypeError, match=r" - model\.a: Input should be a valid integer"):
        take({"a": "x"})


def test_arguments_that_do_not_fit_are_a_type_error_at_once() -> None:
    with pytest.raises(ParameterBindError, match="too many positional arguments"):
        give(1, 2, 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'retry'"):
        task(retry=3)(lambda: 1)


def test_a_time_limit_is_a_failed_state_named_timed_out(made: Any) -> None:
    @task(timeout_seconds=0.05)
    def slow() -> None:
        while True:
            pass

    state = slow(return_state=True)
    assert (state.name, state.type) == ("TimedOut", StateType.FAILED)
    with pytest.raises(TimeoutError):
        state.result()
    assert made.run.state == "TIMED_OUT"
