"""Cached results, transactions, limits, variables and artifacts of the mapping."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holter
from holter.agent.prefect import flow, task
from holter.agent.prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from holter.agent.prefect.cache_policies import DEFAULT, INPUTS, NO_CACHE, RUN_ID, TASK_SOURCE, hash_of
from holter.agent.prefect.limits import (
    AcquireConcurrencySlotTimeoutError,
    ConcurrencySlotAcquisitionError,
    concurrency,
    rate_limit,
)
from holter.agent.prefect.locking import FileSystemLockManager, MemoryLockManager
from holter.agent.prefect.results import ResultStore, _decoded, _encoded
from holter.agent.prefect.testing import prefect_test_harness
from holter.agent.prefect.transactions import CommitMode, IsolationLevel, TransactionState, transaction
from holter.agent.prefect.variables import Variable


@pytest.fixture(autouse=True)
def harness(made: Any) -> Iterator[None]:
    with prefect_test_harness():
        yield


def test_a_task_with_a_policy_runs_once_for_the_same_inputs(made: Any) -> None:
    ran: list[int] = []

    @task(cache_policy=INPUTS - "debug")
    def work(x: Any, debug: bool = False) -> Any:
        ran.append(x)
        return (x, {"at": date(2026, 1, 1)})

    assert work(1) == work(1, debug=True) == (1, {"at": date(2026, 1, 1)})
    assert str(work(1, return_state=True)) == "Cached(type=COMPLETED)"
    work(2)
    assert ran == [1, 2]
    assert len(made.runs) == 4


def test_the_default_policy_caches_within_one_run_of_a_flow_and_only_if_results_persist() -> None:
    ran: list[int] = []

    @task
    def work(x: int) -> int:
        ran.append(x)
        return x

    @flow
    def forgets() -> None:
        work(1)
        work(1)

    @flow(persist_result=True)
    def keeps() -> None:
        work(1)
        work(1)

    forgets()
    assert ran == [1, 1]
    keeps()
    keeps()
    assert ran == [1, 1, 1, 1]


def test_a_result_expires_and_can_be_refreshed() -> None:
    ran: list[int] = []

    @task(cache_policy=TASK_SOURCE, cache_expiration=timedelta(seconds=0.2))
    def work() -> None:
        ran.append(1)

    work()
    work()
    assert len(ran) == 1
    work.with_options(refresh_cache=True)()
    assert len(ran) == 2
    end = time.monotonic() + 0.25
    while time.monotonic() < end:
        time.sleep(0.02)
    work()
    assert len(ran) == 3


def test_a_key_function_that_fails_costs_the_cache_and_not_the_task() -> None:
    @task(cache_key_fn=lambda context, parameters: 1 / 0)
    def work() -> int:
        return 1

    assert work() == 1


def test_what_json_cannot_hold_is_cached_in_this_process_and_nothing_is_pickled(tmp_path: Path) -> None:
    store = ResultStore(result_storage=tmp_path)
    thing = object()
    store.write("k", thing)
    assert store.read("k") is thing
    assert list(tmp_path.iterdir()) == []
    store.write("k", [1])
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert ResultStore(result_storage=tmp_path).read("k") == [1]


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    store = ResultStore(result_storage=tmp_path)
    store.write("k", 1)
    (file,) = tmp_path.iterdir()
    file.write_text('{"value": ')
    assert not store.exists("k")


atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    atoms | st.dates() | st.datetimes(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner) | st.frozensets(atoms)
    ),
    max_leaves=10,
)


@given(values)
def test_what_is_kept_comes_back_as_it_was(value: Any) -> None:
    import json

    try:
        text = json.dumps(_encoded(value))
    except TypeError:  # refused: kept in the process
        return
    back = _decoded(json.loads(text))
    assert back == value and type(back) is type(value)


def test_equal_inputs_have_one_hash_whatever_their_order() -> None:
    assert hash_of({"a": {8, 0}, "b": datetime(2026, 1, 1, tzinfo=UTC)}) == hash_of(
        {"b": datetime(2026, 1, 1, tzinfo=UTC), "a": {0, 8}}
    )
    assert hash_of(1) != hash_of("1") and hash_of([1]) != hash_of([[1]])


def test_policies_add_up_and_no_cache_adds_nothing() -> None:
    assert DEFAULT + NO_CACHE is DEFAULT
    assert NO_CACHE + INPUTS is INPUTS
    ran: list[int] = []

    @task(cache_policy=INPUTS + RUN_ID)
    def work(x: int) -> None:
        ran.append(x)

    @flow
    def twice() -> None:
        work(1)
        work(1)

    twice()
    twice()
    assert ran == [1, 1]


# --- transactions --------------------------------------------------------------------------------------------


def undoing(said: list[str]) -> Any:
    @task
    def step(name: str) -> str:
        said.append(name)
        return name

    @step.on_rollback
    def undo(txn: Any) -> None:
        said.append(f"undo {txn.get('what', '?')}")

    @step.on_commit
    def keep(txn: Any) -> None:
        said.append("kept")

    return step


def test_a_failure_undoes_what_was_done_before_it_and_success_commits_at_the_end() -> None:
    said: list[str] = []
    step = undoing(said)

    @flow
    def pipeline(fail: bool) -> None:
        with transaction() as txn:
            txn.set("what", "it")
            step("a")
            said.append("between")
            if fail:
                raise ValueError

    with pytest.raises(ValueError):
        pipeline(True)
    assert said == ["a", "between", "undo it"]
    said.clear()
    pipeline(False)
    assert said == ["a", "between", "kept"]


def test_a_failed_task_rolls_back_even_where_its_failure_is_caught() -> None:
    said: list[str] = []
    step = undoing(said)

    @task
    def bad() -> None:
        raise ValueError

    with transaction() as txn:
        step("a")
        bad(return_state=True)
        assert txn.is_rolled_back()
    assert said == ["a", "undo ?"]
    assert txn.state is TransactionState.ROLLED_BACK


def test_an_inner_transaction_waits_for_the_outer_one() -> None:
    said: list[str] = []
    step = undoing(said)
    with transaction() as outer:
        with transaction() as inner:
            step("a")
        assert said == ["a"]
        with transaction(commit_mode=CommitMode.EAGER):
            step("b")
        assert said == ["a", "b", "kept"]
    assert said == ["a", "b", "kept", "kept"]
    assert inner.is_committed() and outer.is_committed()


def test_a_key_makes_it_happen_once() -> None:
    for committed in (False, True):
        with transaction(key="once") as txn:
            assert txn.is_committed() is committed


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_serializable_transactions_with_one_key_take_turns(kind: str, tmp_path: Path) -> None:
    def store() -> ResultStore:
        manager = memory if kind == "memory" else FileSystemLockManager(tmp_path)
        return ResultStore(lock_manager=manager)

    memory, did, together = MemoryLockManager(), [], threading.Barrier(5)

    def work() -> None:
        together.wait(20)
        with transaction("k", store=store(), isolation_level=IsolationLevel.SERIALIZABLE) as txn:
            if not txn.is_committed():
                did.append(1)
                time.sleep(0.05)  # without the lock all of them would be here by now

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert did == [1]


def test_serializable_coroutines_with_one_key_do_not_stop_the_loop() -> None:
    policy = INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=MemoryLockManager())
    did: list[int] = []

    @task(cache_policy=policy)
    async def work(x: int) -> None:
        did.append(x)
        await asyncio.sleep(0.05)

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(*(work(1) for _ in range(3))), 20)

    asyncio.run(main())
    assert did == [1]


# --- limits, variables, artifacts ----------------------------------------------------------------------------


@pytest.fixture
def limits() -> Iterator[None]:
    holter.configure(limits={"db": 2, "api": {"slots": 1, "per_second": 20}})
    yield
    holter.configure(limits={})


def test_a_limit_that_is_set_holds_and_one_that_is_not_limits_nothing(limits: None) -> None:
    with concurrency("nobody", occupy=5), concurrency(["db"], occupy=2):
        caught: list[BaseException] = []

        def second() -> None:
            try:
                with concurrency("db", timeout_seconds=0):
                    pass
            except BaseException as error:
                caught.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        thread.join(20)
    assert isinstance(caught[0], AcquireConcurrencySlotTimeoutError)
    with pytest.raises(ConcurrencySlotAcquisitionError, match="nobody"), concurrency("nobody", strict=True):
        pass


def test_rate_limited_calls_come_one_after_the_other(limits: None) -> None:
    began = time.monotonic()
    for _ in range(5):
        rate_limit("api")
    assert time.monotonic() - began >= 4 / 20 * 0.9
    rate_limit("nobody")
    with pytest.raises(AcquireConcurrencySlotTimeoutError):
        rate_limit("api", occupy=100, timeout_seconds=0.1)
    with pytest.raises(ConcurrencySlotAcquisitionError, match="per_second"):
        rate_limit("db")


def test_variables_are_kept_in_the_store() -> None:
    assert Variable.set("answer", 42) == Variable(name="answer", value=42, tags=[])
    assert Variable.get("answer") == 42
    with pytest.raises(ValueError, match="overwrite"):
        Variable.set("answer", 43)
    Variable.set("answer", {"a": [1]}, overwrite=True)
    assert asyncio.run(_awaited()) == {"a": [1]}
    assert Variable.unset("answer") is True
    assert Variable.unset("answer") is False
    assert Variable.get("answer", "fallback") == "fallback"


async def _awaited() -> Any:
    return await Variable.get("answer")


def test_artifacts_belong_to_the_run(made: Any) -> None:
    @flow
    def report() -> None:
        create_markdown_artifact("# Done", key="summary", description="d")
        create_table_artifact({"a": [1, 2], "b": [3, 4]}, key="numbers")
        create_link_artifact("https://example.org", link_text="there")
        bar = create_progress_artifact(0.0, description="rows")
        update_progress_artifact(bar, progress=100)

    report()
    kinds = {one["key"]: (one["type"], one["data"]) for one in made.run.artifacts}
    assert kinds["summary"] == ("markdown", "# Done")
    assert kinds["numbers"] == ("table", [{"a": 1, "b": 3}, {"a": 2, "b": 4}])
    assert len(kinds) == 3
    assert made.run.progress["done"] == 100
    create_markdown_artifact("outside of a run nothing happens")
