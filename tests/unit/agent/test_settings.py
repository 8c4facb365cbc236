"""holter.yaml: what it takes, what it refuses, in one line that says where and what to type next."""

from __future__ import annotations

import json
import os
import pathlib
import re

import pytest

from holter.agent.settings import TEMPLATE, Settings, expand, job_view, load, refresh_cache
from holter.backends.errors import SettingsError

EXAMPLE = """
project: billing
backend: sqlite:///holter.db
limits: {database: 3, gpu: {slots: 1, scope: shared, lease: 30s}}
checks:
  nightly-etl: {schedule: "0 2 * * *", timezone: Europe/Berlin, grace: 15m, max_duration: 2h, min_duration: 5s, fresh_within: 26h}
channels:
  ops: slack://tokenA/tokenB/tokenC
  hook: {webhook: "https://example.org/hook", secret: "${HOOK_SECRET}"}
  pager: {command: "/usr/local/bin/page-me"}
alerts:
  - {on: [failed, crashed, timed_out, late, missed, overdue, unresponsive, stalled, lost], jobs: ["nightly-*"], to: [ops], after: 1, remind: 4h, recovered: true, fallback: pager}
retention: {days: 90, keep_failures: 365d, logs_days: 30}
redact: ["*_token"]
watchdog: {ping: "https://example.org/ping/abc", interval: 1s}
"""


@pytest.fixture
def home(tmp_path: pathlib.Path) -> str:
    return str(tmp_path)


def given(home: str, text: str) -> Settings:
    pathlib.Path(home, "holter.yaml").write_text(text, encoding="utf-8")
    return load(home, {})


def test_without_a_file_everything_has_a_default(home: str) -> None:
    settings = load(home, {})
    assert (settings.project, settings.backend, settings.heartbeat) == ("default", "sqlite:///holter.db", 5.0)
    assert settings.config is None
    assert settings.home == home


def test_the_documented_example_is_read_with_durations_in_seconds(home: str) -> None:
    settings = given(home, EXAMPLE)
    check, rule, gpu = settings.checks["nightly-etl"], settings.alerts[0], settings.limits["gpu"]
    assert (check.grace, check.max_duration, check.fresh_within) == (900, 7200, 93600)
    assert (settings.limits["database"].slots, gpu.scope, gpu.lease) == (3, "shared", 30)
    assert (rule.jobs, rule.to, rule.remind, rule.fallback) == (("nightly-*",), ("ops",), 14400, "pager")
    assert {name: channel.kind for name, channel in settings.channels.items()} == {
        "ops": "apprise",
        "hook": "webhook",
        "pager": "command",
    }
    assert settings.retention.keep_failures == 365 * 86400
    assert settings.watchdog.interval == 1.0


def test_a_rule_without_jobs_is_told_from_one_that_names_all(home: str) -> None:
    settings = given(home, 'channels: {a: "json://x"}\nalerts: [{on: [failed], to: [a]}, {on: [failed], to: [a], jobs: ["*"]}]')
    assert [rule.jobs for rule in settings.alerts] == [None, ("*",)]


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ("projekt: x", "projekt", "did you mean project?"),
        ("checks: {n: {schedul: x}}", "checks.n.schedul", "did you mean schedule?"),
        ("checks: {n: {schedule: '61 * * * *'}}", "checks.n.schedule", "is no schedule"),
        ("checks: {n: {schedule: '0 2 * * *', timezone: Europe/Berln}}", "checks.n.schedule", "Europe/Berlin"),
        ("checks: {n: {grace: 15x}}", "checks.n.grace", "15m"),
        ("limits: {a: 0}", "limits.a", "at least 1"),
        ("limits: {a: {slots: 1, scope: planet}}", "limits.a.scope", "host or shared"),
        ("limits: {a: {slots: two}}", "limits.a.slots", "a whole number"),
        ("channels: {a: 5}", "channels.a", "Apprise URL"),
        ("channels: {a: {webhook: 'http://x', secrt: y}}", "channels.a", "is no channel"),
        ("alerts: [{on: [faild]}]", "alerts[0].on", "did you mean failed?"),
        ("alerts: [{on: [failed], to: [opz]}]\nchannels: {ops: 'json://x'}", "alerts[0]", "did you mean ops?"),
        ("alerts: [{to: []}]", "alerts[0]", "on is missing"),
        ("project: 5", "project", "a text"),
        ("watchdog: {interval: -1}", "watchdog.interval", "is no duration"),
        ("home: /x", "home", "HOLTER_HOME"),
        ("- just a list", "", "holds no settings"),
        ("a: [b", "", "line 1, column 6"),
        ("a: &x [1]\nb: *x", "", "aliases"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_place_and_a_hint(home: str, text: str, path: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        given(home, text)
    assert caught.value.path == path
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "holter.yaml" in str(caught.value)


def test_yes_and_on_are_texts_so_that_a_rule_may_have_the_key_on(home: str) -> None:
    assert given(home, "project: on").project == "on"


def test_the_environment_wins_over_the_file_and_arguments_over_both(home: str) -> None:
    pathlib.Path(home, "holter.yaml").write_text("project: file\nbackend: file:///a", encoding="utf-8")
    settings = load(home, {"HOLTER_PROJECT": "env", "HOLTER_HEARTBEAT": "2s"})
    assert (settings.project, settings.backend, settings.heartbeat) == ("env", "file:///a", 2.0)
    assert load(home, {"HOLTER_PROJECT": "env"}, project="mine").project == "mine"


def test_holter_config_names_another_file_and_must_exist(home: str) -> None:
    other = pathlib.Path(home, "other.yaml")
    other.write_text("project: elsewhere", encoding="utf-8")
    assert load(home, {"HOLTER_CONFIG": str(other)}).project == "elsewhere"
    with pytest.raises(SettingsError, match="there is no settings file"):
        load(home, {"HOLTER_CONFIG": f"{home}/missing.yaml"})


def test_a_variable_is_resolved_where_it_is_used_and_named_when_missing() -> None:
    assert expand("x-${A}-${B}", {"A": "1", "B": "2"}) == "x-1-2"
    with pytest.raises(SettingsError, match="HOOK_SECRET"):
        expand("${HOOK_SECRET}", {})


def test_a_file_that_needs_a_missing_variable_can_still_be_read(home: str) -> None:
    assert given(home, EXAMPLE).channels["hook"].secret == "${HOOK_SECRET}"  # noqa: S105 - it is the placeholder


def test_secrets_of_channels_do_not_show_when_settings_are_printed(home: str) -> None:
    shown = repr(given(home, EXAMPLE))
    assert "tokenA" not in shown
    assert "HOOK_SECRET" not in shown


def test_the_template_is_valid_with_every_line_taken_in(home: str) -> None:
    lines = [re.sub(r"^# ?", "", line) for line in TEMPLATE.splitlines()[1:]]
    settings = given(home, "\n".join(lines))
    assert settings.project == "billing"
    assert settings.alerts
    assert given(home, TEMPLATE).project == "default"


def test_what_a_job_needs_is_left_in_a_private_cache_with_the_files_identity(home: str) -> None:
    settings = given(home, "project: p\nlimits: {db: 2}\nredact: [x]")
    assert refresh_cache(home, None) == job_view(settings)
    cache = pathlib.Path(home, "cache", "knobs.json")
    stat = os.stat(f"{home}/holter.yaml")
    assert json.loads(cache.read_text()) == {
        "key": [f"{home}/holter.yaml", stat.st_mtime_ns, stat.st_size, stat.st_ino],
        "view": job_view(settings),
    }
    assert cache.stat().st_mode & 0o777 == 0o600
    assert cache.parent.stat().st_mode & 0o777 == 0o700
    assert job_view(settings)["limits"] == {"db": {"slots": 2, "scope": "host"}}


def test_the_cache_holds_the_file_only_and_not_what_the_environment_says(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pathlib.Path(home, "holter.yaml").write_text("project: file", encoding="utf-8")
    monkeypatch.setenv("HOLTER_PROJECT", "env")
    assert refresh_cache(home, None)["project"] == "file"
