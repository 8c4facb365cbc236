"""Rules: which transitions call for which alerts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.settings import Rule
from holter.agent.watchdog.rules import (
    TROUBLE,
    depth,
    due,
    event_of,
    good_news,
    resolves,
    rules_of,
    supersedes,
)
from holter.backends.records import Run, Transition
from holter.backends.states import CONDITIONS, ENDINGS, OPEN

ALL = (*TROUBLE, "cancelled", "skipped", "completed")


def run(state: str = "FAILED", **fields: Any) -> Run:
    said = {"id": "r1", "kind": "flow", "name": "etl", "root_id": "r1", "state": state, **fields}
    return Run(**said)


def turned(to: str, condition: str | None = None, seq: int = 7, run_id: str = "r1") -> Transition:
    return Transition(seq, run_id, 100.0, "RUNNING", to, condition)


def rule(*on: str, **fields: Any) -> Rule:
    return Rule(on=on or ALL, to=("ops",), **fields)


def events(transition: Transition, of: Run, *rules: Rule, history: tuple[Run, ...] = ()) -> list[str]:
    return [each.event for each in due(transition, of, history or (of,), rules)]


@pytest.mark.parametrize("state", ENDINGS)
def test_an_ending_is_the_event_of_its_name(state: str) -> None:
    assert events(turned(state), run(state), rule()) == [state.lower()]
    assert events(turned(state), run(state), rule("nothing")) == []


@pytest.mark.parametrize("state", OPEN)
def test_a_run_that_goes_on_is_no_event_and_neither_is_a_retry(state: str) -> None:
    assert event_of(turned(state)) is None
    assert events(turned(state), run(state), rule()) == []


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_speaks_when_it_sets_in_and_not_when_it_clears(name: str) -> None:
    live = run("RUNNING", conditions=(name,))
    assert events(turned("RUNNING", f"+{name}"), live, rule()) == [name]
    assert events(turned("RUNNING", f"-{name}"), run("RUNNING"), rule()) == []


def test_stale_in_a_rule_stands_for_its_three_conditions() -> None:
    for name in CONDITIONS:
        said = events(turned("RUNNING", f"+{name}"), run("RUNNING", conditions=(name,)), rule("stale"))
        assert said == ([] if name == "overdue" else [name])


def test_a_transition_that_the_run_left_behind_says_nothing() -> None:
    assert events(turned("CRASHED"), run("COMPLETED"), rule()) == []
    assert events(turned("RUNNING", "+stalled"), run("RUNNING"), rule()) == []
    assert events(turned("RUNNING", "+stalled"), run("COMPLETED"), rule()) == []


def test_without_jobs_a_rule_is_about_root_runs_only() -> None:
    child = run(id="r1.2", parent_id="r1")
    assert events(turned("FAILED"), child, rule()) == []
    assert events(turned("FAILED"), run(kind="task"), rule()) == ["failed"]


def test_a_rule_with_jobs_is_about_flows_and_commands_of_that_name_wherever_they_run() -> None:
    wanted = rule(jobs=("et*", "other"))
    child = {"id": "r1.2", "parent_id": "r1"}
    assert events(turned("FAILED"), run(**child), wanted) == ["failed"]
    assert events(turned("FAILED"), run(kind="command", **child), wanted) == ["failed"]
    assert events(turned("FAILED"), run(kind="task", **child), wanted) == []
    assert events(turned("FAILED"), run(kind="task"), wanted) == []
    assert events(turned("FAILED"), run(name="ET"), wanted) == []


def test_after_counts_consecutive_failures_up_to_this_run() -> None:
    bad, good = run("FAILED"), run("COMPLETED")
    third = rule("failed", after=3)
    assert events(turned("FAILED"), bad, third, history=(bad, run("CRASHED"), run("TIMED_OUT"))) == ["failed"]
    assert events(turned("FAILED"), bad, third, history=(bad, bad, bad, good)) == ["failed"]
    assert events(turned("FAILED"), bad, third, history=(bad, good, bad, bad)) == []
    assert events(turned("FAILED"), bad, third, history=(bad, bad)) == []
    assert depth([third, rule()]) == 3


def test_after_holds_back_failures_only() -> None:
    patient = rule(after=5)
    assert events(turned("CANCELLED"), run("CANCELLED"), patient) == ["cancelled"]
    assert events(turned("RUNNING", "+lost"), run("RUNNING", conditions=("lost",)), patient) == ["lost"]


def test_channels_without_rules_hear_of_all_trouble_of_root_runs() -> None:
    (default,) = rules_of((), ("ops", "pager"))
    assert set(default.on) == set(TROUBLE)
    assert default.to == ("ops", "pager")
    assert events(turned("CRASHED"), run("CRASHED"), default) == ["crashed"]
    assert events(turned("COMPLETED"), run("COMPLETED"), default) == []
    assert rules_of((), ()) == ()
    assert rules_of((rule(),), ("ops", "pager")) == (rule(),)
    assert rules_of((rule(),), ()) == ()
    assert rules_of((Rule(on=("failed",)),), ("ops", "pager"))[0].to == ("ops", "pager")


def test_each_time_a_condition_sets_in_is_an_alert_of_its_own_and_an_ending_is_one_for_ever() -> None:
    live = run("RUNNING", conditions=("stalled",))
    (first,) = due(turned("RUNNING", "+stalled", seq=3), live, (), [rule()])
    (again,) = due(turned("RUNNING", "+stalled", seq=9), live, (), [rule()])
    (ending,) = due(turned("FAILED", seq=12), run(), (), [rule()])
    assert (first.dedupe_key, again.dedupe_key) == ("r1:stalled:3", "r1:stalled:9")
    assert ending.dedupe_key == "r1:failed"


def doc(event: str, of: Run, seq: int = 5, channel: str = "ops") -> dict[str, Any]:
    alert = {"event": event, "run_id": of.id, "job": of.name, "project": of.project}
    return {"alert": alert, "kind": of.kind, "seq": seq, "channel": channel}


def test_a_completed_run_resolves_the_failures_of_its_job_and_nobody_elses() -> None:
    done = run("COMPLETED", id="r2")
    end = turned("COMPLETED", run_id="r2")
    assert resolves(end, done, doc("failed", run()))
    assert resolves(end, done, doc("crashed", run()))
    for other in (run(name="other"), run(project="billing"), run(kind="command")):
        assert not resolves(end, done, doc("failed", other))


def test_a_run_that_hangs_is_not_excused_by_the_next_one_that_completes() -> None:
    assert not resolves(turned("COMPLETED", run_id="r2"), run("COMPLETED", id="r2"), doc("overdue", run()))


@pytest.mark.parametrize("state", ENDINGS)
def test_any_ending_resolves_the_conditions_of_its_run_but_only_completion_is_good_news(state: str) -> None:
    assert resolves(turned(state), run(state), doc("stalled", run()))
    assert good_news(turned(state), run(state)) == (state == "COMPLETED")


def test_a_condition_that_clears_resolves_its_own_alert() -> None:
    clear = turned("RUNNING", "-stalled")
    assert resolves(clear, run("RUNNING"), doc("stalled", run()))
    assert not resolves(clear, run("RUNNING"), doc("overdue", run()))
    assert not resolves(clear, run("RUNNING"), doc("stalled", run(id="r2")))
    assert good_news(clear, run("RUNNING"))
    assert not good_news(clear, run("RUNNING", conditions=("stalled",)))


def test_an_old_transition_undoes_nothing_newer() -> None:
    assert not resolves(turned("COMPLETED", seq=4), run("COMPLETED"), doc("failed", run(), seq=5))
    assert not supersedes(doc("failed", run(), seq=4), doc("failed", run(), seq=5))


def test_of_a_jobs_failures_on_a_channel_only_the_last_stays_open() -> None:
    new = doc("crashed", run(id="r2"), seq=9)
    assert supersedes(new, doc("failed", run()))
    assert not supersedes(new, doc("failed", run(), channel="pager"))
    assert not supersedes(new, doc("stalled", run()))
    assert not supersedes(doc("stalled", run(), seq=9), doc("failed", run()))


@given(
    st.sampled_from(ENDINGS + OPEN),
    st.sets(st.sampled_from(CONDITIONS)),
    st.sampled_from([None, *(sign + name for sign in "+-" for name in CONDITIONS)]),
    st.lists(st.sets(st.sampled_from([*ALL, "stale"])), max_size=3),
)
def test_every_alert_names_what_its_rule_asked_for_and_one_transition_has_one_key(
    state: str, conditions: set[str], condition: str | None, wanted: list[set[str]]
) -> None:
    live = run(state, conditions=tuple(conditions) if state in OPEN else ())
    said = due(turned(state, condition), live, (live,), [rule(*on) for on in wanted if on])
    assert len({each.dedupe_key for each in said}) <= 1
    for each in said:
        assert each.event in each.rule.on or "stale" in each.rule.on
        assert each.event in (*live.conditions, live.state.lower())
