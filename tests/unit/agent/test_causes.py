"""What is named as the cause, from records alone."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.causes import Case, digest
from holter.agent.changes import Side
from holter.agent.masks import mask, unseen
from holter.backends.records import Run

ERROR = {"type": "ValueError", "message": "bad row", "traceback": "", "fingerprint": "f"}


def run(name: str = "r2", state: str = "FAILED", **more: Any) -> Run:
    made = Run(
        id=name, kind="flow", name="etl", state=state, root_id=name, created_at=100.0, duration_seconds=10.0
    )
    return evolve(made, **{"error": ERROR if state == "FAILED" else None, **more})


def causes(now: Side, then: Side | None = None, **more: Any) -> tuple[str, ...]:
    return digest(Case(now, then, **more)).causes


def step(name: str, seconds: float, state: str = "COMPLETED", at: float = 0.0) -> Run:
    made = Run(id=f"r.{name}", kind="task", name=name, state=state, root_id="r", created_at=at)
    return evolve(made, duration_seconds=seconds, ended_at=at + seconds)


OLD = Side(run("r1", "COMPLETED"), {"host": "a", "python": "3.11.4", "utc_offset": 0, "zone": "UTC"})


def test_a_run_like_the_last_success_has_no_difference() -> None:
    told = digest(Case(Side(run("r2", "COMPLETED"), OLD.header), OLD, usual=10.0))
    assert (told.causes, told.changes, told.diverged) == ((), (), None)


def test_what_the_error_names_comes_before_what_it_does_not() -> None:
    now = Side(
        run(parameters={"region": "xx", "day": 2}, error={**ERROR, "message": "unknown region"}),
        {**OLD.header, "host": "b"},
    )
    then = Side(run("r1", "COMPLETED", parameters={"region": "eu", "day": 1}), OLD.header)
    found = causes(now, then)
    assert found[0] == "Parameter region is xx, and was eu in the last success"
    assert {each.split()[1] for each in found[1:]} == {"day", "host"}


def test_what_differs_from_run_to_run_anyway_is_named_only_where_there_is_nothing_else() -> None:
    now, then = Side(run(parameters={"day": 2})), Side(run("r1", "COMPLETED", parameters={"day": 1}))
    assert causes(now, then, varies=frozenset({"day"})) == (
        "Parameter day is 2, and was 1 in the last success",
    )
    changed = evolve(now, run=evolve(now.run, code={"file": "x.py", "git_commit": "b" * 40}))
    before = evolve(then, run=evolve(then.run, code={"file": "x.py", "git_commit": "a" * 40}))
    assert [each[:8] for each in causes(changed, before, varies=frozenset({"day"}))] == ["The code"]


def test_the_word_of_the_kernel_and_of_the_disk_comes_first() -> None:
    full = {"type": "OSError", "message": "[Errno 28] No space left on device", "fingerprint": "x"}
    assert causes(Side(run(error=full)))[0].startswith("The disk is full")
    killed = run(state="CRASHED", reason="killed by the kernel: out of memory")
    assert causes(Side(killed))[0].startswith("The memory ran out")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("its process (pid 7) is gone without a word: killed, out of memory, or os._exit", None),
        ("killed by SIGKILL (out of memory, or somebody's kill -9)", None),
        (None, "Zoom API said 401"),
        ("exit code 3: cleaning room 5", None),
    ],
)
def test_that_the_memory_ran_out_is_not_guessed(reason: str | None, message: str | None) -> None:
    error = {**ERROR, "message": message} if message else None
    found = causes(Side(run(state="CRASHED" if reason else "FAILED", reason=reason, error=error)))
    assert not any("memory" in each for each in found)


@pytest.mark.parametrize(
    "said", ["MemoryError", "java.lang.OutOfMemoryError", "OOM killed", "std::bad_alloc"]
)
def test_that_the_memory_ran_out_is_seen_where_it_is_said(said: str) -> None:
    assert causes(Side(run(error={**ERROR, "message": said})))[0].startswith("The memory ran out")


def test_a_step_that_was_slower_is_the_cause_where_time_ran_out_only() -> None:
    then = evolve(OLD, steps=(step("fetch", 1.0), step("load", 5.0)))
    slow = (step("fetch", 30.0), step("load", 6.0))
    now = Side(run(state="TIMED_OUT", reason="ran longer than 30 s"), OLD.header, steps=slow)
    assert causes(now, then)[0] == "Step fetch took 30.0 s, and 1.0 s in the last success"
    well = Side(run("r3", "COMPLETED"), OLD.header, steps=slow)
    assert causes(well, then, usual=10.0) == ()
    assert causes(evolve(well, run=evolve(well.run, duration_seconds=36.0)), then, usual=10.0)[0].startswith(
        "Step fetch"
    )


def test_where_it_diverged_is_the_first_step_that_failed() -> None:
    steps = (step("a", 1.0), step("b", 1.0, "FAILED", 5.0), step("c", 1.0, "FAILED", 9.0))
    assert digest(Case(Side(run(), steps=steps))).diverged == "step b (r.b) failed after 1 that completed"


def test_the_same_failure_before_is_counted() -> None:
    before = tuple(run(f"r{number}") for number in range(3))
    assert "3 times before" in (digest(Case(Side(run()), before=before)).before or "")


def test_lines_are_of_one_template_whatever_their_numbers_times_ids_and_paths() -> None:
    assert mask("2026-11-23T10:00:01Z read 17 rows of /srv/a.csv in 0.3 s") == mask(
        "2026-11-24T11:12:13Z read 9 rows of /srv/b/c.csv in 12.75 s"
    )
    assert mask("job 3f2504e0-4f89-11d3-9a0c-0305e82c3301 took 0x1f") == mask(
        "job 6ba7b810-9dad-11d1-80b4-00c04fd430c8 took 0xff"
    )
    assert mask("rows: 1, 2, 3") == mask("rows: 4, 5")
    assert mask("connected") != mask("refused")


def test_new_lines_are_told_once_for_each_template_and_counted() -> None:
    found = unseen(["retry 1", "retry 2", "read 5 rows"], ["read 1 rows"])
    assert found == [("retry 1", 2)]


@given(st.lists(st.text(max_size=200), max_size=20), st.lists(st.text(max_size=200), max_size=20))
def test_nothing_is_new_that_was_there(lines: list[str], more: list[str]) -> None:
    assert unseen(lines, [*lines, *more]) == []


@given(st.text(max_size=2000))
def test_a_template_is_its_own(line: str) -> None:
    assert len(mask(line)) <= 4000
    assert mask(line) == mask(line + " ")
