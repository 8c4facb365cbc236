"""`holter checks` and the keywords that declare expectations: what is taken, what is refused, what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from holter.agent.settings import load
from holter.agent.spec import Spec
from holter.agent.terminal.checks import checks
from holter.backends.errors import ScheduleError, SettingsError


@pytest.fixture
def holter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HOLTER_HOME", str(tmp_path))

    def call(*words: str) -> Result:
        return CliRunner().invoke(checks, [*words])

    return call


def listed(holter: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(holter("ls", "--json").stdout)
    return found


def test_a_check_is_added_named_again_and_removed_without_a_file(holter: Any) -> None:
    assert holter("add", "etl", "--schedule", "0 2 * * *", "--grace", "15m").exit_code == 0
    assert holter("add", "etl", "--finish-by", "06:00", "--max-runs-per", "3 per 1h").exit_code == 0
    (row,) = listed(holter)
    assert row["check"] == {
        "schedule": "0 2 * * *",
        "grace": 900.0,
        "finish_by": "06:00",
        "max_runs_per": "3 per 1h",
    }
    assert (row["job"], row["sources"], row["paused"]) == ("etl", ["checks"], False)
    assert holter("rm", "etl").exit_code == 0
    assert listed(holter) == []


def test_a_pause_ends_by_itself_or_by_resume(holter: Any) -> None:
    holter("add", "etl", "--schedule", "@daily")
    assert "until 20" in holter("pause", "etl", "--for", "2h").output
    (row,) = listed(holter)
    assert row["paused"]
    assert row["paused_until"]
    assert holter("resume", "etl").output == "etl is expected again.\n"
    assert not listed(holter)[0]["paused"]
    assert "holter checks resume" in holter("pause", "etl").output
    assert listed(holter)[0]["paused_until"] is None


@pytest.mark.parametrize(
    "words",
    [
        ("--schedule", "61 * * * *"),
        ("--timezone", "Europe/Berlim"),
        ("--finish-by", "26:00"),
        ("--max-runs-per", "3/h"),
        (),
    ],
)
def test_what_cannot_be_judged_is_refused_and_nothing_is_written(holter: Any, words: tuple[str, ...]) -> None:
    done = holter("add", "etl", *words)
    assert done.exit_code != 0
    assert isinstance(done.exception, ScheduleError | SystemExit)
    assert listed(holter) == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('finish_by: "25:00"', "is no deadline"),
        ("max_runs_per: often", "is no rate"),
        ("max_times_median: 0.5", "more than 1"),
        ("median_of: 1", "from 3 to 1000"),
    ],
)
def test_settings_refuse_an_expectation_that_cannot_be_judged(
    tmp_path: Path, setting: str, said: str
) -> None:
    (tmp_path / "holter.yaml").write_text(f"checks: {{etl: {{{setting}}}}}\n")
    with pytest.raises(SettingsError, match=said) as caught:
        load(str(tmp_path), environ={})
    assert caught.value.path == f"checks.etl.{setting.partition(':')[0]}"


@pytest.mark.parametrize(
    "option",
    [
        {"finish_by": "25:00"},
        {"max_runs_per": "3 per"},
        {"max_runs_per": "0 per 1h"},
        {"max_times_median": 1},
        {"max_times_median": True},
        {"fresh_within": "soon"},
        {"min_duration": -1},
    ],
)
def test_a_decorator_refuses_an_expectation_that_cannot_be_judged(option: Any) -> None:
    with pytest.raises(ValueError, match=r"is no |is a number above 1"):
        Spec("flow", lambda: None, option)


def test_a_decorator_writes_what_it_expects_into_each_run() -> None:
    spec = Spec(
        "flow",
        lambda: None,
        {"finish_by": "3h", "max_runs_per": "3 per 1h", "max_times_median": 2.5, "fresh_within": "1h"},
    )
    assert (
        '"check":{"finish_by":"3h","max_runs_per":"3 per 1h","max_times_median":2.5,"fresh_within":3600'
        in spec.head
    )
