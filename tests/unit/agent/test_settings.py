"""holter.yaml: what it takes, what it refuses, in one line that says where and what to type next."""

from __future__ import annotations

import json
import os
import pathlib
import re
import threading

import attrs
import pytest

from holter.agent import setting_types
from holter.agent.settings import TEMPLATE, Settings, expand, job_view, load, refresh_cache
from holter.backends.errors import SettingsError

EXAMPLE = """
project: billing
backend: sqlite:///holter.db
limits: {database: 3, gpu: {slots: 1, scope: shared, lease: 30s}}
checks:
  nightly-etl: {schedule: "0 2 * * *", timezone: Europe/Berlin, grace: 15m, max_duration: 2h,
                min_duration: 5s, fresh_within: 26h}
channels:
  ops: slack://tokenA/tokenB/tokenC
  hook: {webhook: "https://example.org/hook", secret: "${HOOK_SECRET}"}
  log: {log: "~/alerts.log"}
  desk: {desktop: true}
  pager: {command: "/usr/local/bin/page-me"}
alerts:
  - {on: [failed, crashed, timed_out, late, missed, overdue, unresponsive, stalled, lost],
     jobs: ["nightly-*"], to: [ops], after: 1, remind: 4h, recovered: true, fallback: pager}
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
        "log": "log",
        "desk": "desktop",
    }
    assert settings.retention.keep_failures == 365 * 86400
    assert settings.watchdog.interval == 1.0


def test_a_rule_without_jobs_is_told_from_one_that_names_all(home: str) -> None:
    settings = given(
        home,
        'channels: {a: "json://x"}\nalerts: [{on: [failed], to: [a]}, {on: [failed], to: [a], jobs: ["*"]}]',
    )
    assert [rule.jobs for rule in settings.alerts] == [None, ("*",)]


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ("projekt: x", "projekt", "did you mean project?"),
        ("checks: {n: {schedul: x}}", "checks.n.schedul", "did you mean schedule?"),
        ("checks: {n: {schedule: '61 * * * *'}}", "checks.n.schedule", "is no schedule"),
        (
            "checks: {n: {schedule: '0 2 * * *', timezone: Europe/Berln}}",
            "checks.n.timezone",
            "Europe/Berlin",
        ),
        ("checks: {n: {grace: 15x}}", "checks.n.grace", "15m"),
        ("limits: {a: 0}", "limits.a", "at least 1"),
        ("limits: {a: {slots: 1, scope: planet}}", "limits.a.scope", "host or shared"),
        ("limits: {a: {slots: two}}", "limits.a.slots", "a whole number"),
        ("channels: {a: 5}", "channels.a", "Apprise URL"),
        ("channels: {a: {webhook: 'http://x', secrt: y}}", "channels.a", "is no channel"),
        ("channels: {a: {log: 5}}", "channels.a", "{log: PATH}"),
        ("channels: {a: {desktop: false}}", "channels.a", "{desktop: true}"),
        ("alerts: [{on: [faild]}]", "alerts[0].on", "did you mean failed?"),
        (
            "alerts: [{on: [failed], to: [opz]}]\nchannels: {ops: 'json://x'}",
            "alerts[0]",
            "did you mean ops?",
        ),
        ("alerts: [{to: []}]", "alerts[0]", "on is missing"),
        ("project: 2026-02-30", "", "not YAML"),
        ("project: " + "9" * 5000, "", "not YAML"),
        ("[" * 5000, "", "nested deeper than 50 levels"),
        ("project: !!bool x", "", "not YAML"),
        ("channels: {a: {webhook: 'http://x', secret: 5}}", "channels.a", "is no channel"),
        ("checks: {n: {timezone: Europe/Berln}}", "checks.n.timezone", "did you mean Europe/Berlin?"),
        ("alerts: [{on: [FAILED]}]", "alerts[0].on", "did you mean failed?"),
        ("alerts: [{on: [xyzzy]}]", "alerts[0].on", "known: completed"),
        ("hom: /x", "hom", "known: project"),
        ("alerts: [{on: [failed], jobz: x}]", "alerts[0].jobz", "did you mean jobs?"),
        (
            "alerts: [{on: [failed], fallback: opz}]\nchannels: {ops: 'json://x'}",
            "alerts[0]",
            "did you mean ops?",
        ),
        ("alerts: [{on: [failed], after: 0}]", "alerts[0].after", "at least 1"),
        ("alerts: [{on: [failed], after: 5 of 3}]", "alerts[0].after", "3 of 5"),
        ("alerts: [{on: [failed], after_crashed: x}]", "alerts[0].after_crashed", "3 of 5"),
        ("alerts: [{on: [missed], after_missed: 0}]", "alerts[0].after_missed", "at least 1"),
        ("alerts: [{on: [failed], quiet_hours: 22-7}]", "alerts[0].quiet_hours", "with the quotes"),
        (
            'alerts: [{on: [failed], quiet_hours: "22:00-07:00 Europe/Berlim"}]',
            "alerts[0].quiet_hours",
            "Berlin",
        ),
        ('alerts: [{on: [failed], quiet_hours: {from: "22:00"}}]', "alerts[0].quiet_hours", "22:00-07:00"),
        (
            'alerts: [{on: [failed], quiet_hours: {from: "22:00", to: "07:00", days: [x]}}]',
            "alerts[0].quiet_hours",
            "mon",
        ),
        ("watchdog: {digest: -1}", "watchdog.digest", "from 0"),
        ("alerts: [{on: [failed], recovered: maybe}]", "alerts[0].recovered", "true or false"),
        ("alerts: 5", "alerts", "wrong form"),
        ("checks: {n: 5}", "checks.n", "wrong form"),
        ("checks: {n: {schedule: 5}}", "checks.n.schedule", "a text"),
        ("limits: {a: true}", "limits.a.slots", "a whole number"),
        ("redact: [1]", "redact", "a list of texts"),
        ("retention: {days: 90d}", "retention.days", "a number"),
        ("retention: {days: -3}", "retention.days", "out of range"),
        ("retention: {logs_days: .nan}", "retention.logs_days", "out of range"),
        ("heartbeat: 0", "heartbeat", "from 0.05 to 3600"),
        ("watchdog: {interval: 0}", "watchdog.interval", "out of range"),
        ("wholly: unlike", "wholly", "known: project, backend"),
        ("config: /x", "config", "HOLTER_CONFIG"),
        ("project: 5", "project", "a text"),
        ("watchdog: {interval: -1}", "watchdog.interval", "is no duration"),
        ("home: /x", "home", "HOLTER_HOME"),
        ("- just a list", "", "holds no settings"),
        ("a: [b", "", "line 1, column 6"),
        ("project: x\n  backend: y", "", "line 2, column 10"),
        ("project: !!python/name:os.system", "", "line 1, column 10"),
        ("project: a\n---\nproject: b", "", "line 2, column 1"),
        ("a: &x [1]\nb: *x", "", "aliases"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_place_and_a_hint(
    home: str, text: str, path: str, says: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        given(home, text)
    assert caught.value.path == path
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "holter.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "event", "failed crashed timed_out cancelled skipped completed late missed overdue".split()
)
def test_a_rule_may_name_every_ending_and_every_broken_expectation(home: str, event: str) -> None:
    assert given(home, f"alerts: [{{on: [{event}]}}]").alerts[0].on == (event,)


@pytest.mark.parametrize(
    "event", "unresponsive stalled lost stale slot_wait slot_hold short frequent".split()
)
def test_a_rule_may_name_every_condition(home: str, event: str) -> None:
    assert given(home, f"alerts: [{{on: {event}}}]").alerts[0].on == (event,)


def test_a_file_of_more_than_one_mebibyte_is_not_read(home: str) -> None:
    with pytest.raises(SettingsError, match="larger than 1 MiB"):
        given(home, "# " + "x" * 2**20)


@pytest.mark.parametrize("text", ["", "# nothing yet", "---", "checks:\nalerts:\nlimits:\nredact:\n"])
def test_what_is_left_empty_is_default(home: str, text: str) -> None:
    settings = given(home, text)
    assert settings == attrs.evolve(Settings(), home=home, config=f"{home}/holter.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(home: str) -> None:
    path = pathlib.Path(home, "holter.yaml")
    path.touch(mode=0)
    with pytest.raises(SettingsError, match=r"cannot read .*holter\.yaml"):
        load(home, {})


def test_a_folder_in_the_place_of_the_file_is_named(home: str) -> None:
    pathlib.Path(home, "holter.yaml").mkdir()
    with pytest.raises(SettingsError, match=r"cannot read .*holter\.yaml"):
        load(home, {})


def test_yes_and_on_are_texts_so_that_a_rule_may_have_the_key_on(home: str) -> None:
    assert given(home, "project: on").project == "on"


def test_the_environment_wins_over_the_file_and_arguments_over_both(home: str) -> None:
    pathlib.Path(home, "holter.yaml").write_text("project: file\nbackend: file:///a", encoding="utf-8")
    settings = load(home, {"HOLTER_PROJECT": "env", "HOLTER_HEARTBEAT": "2s"})
    assert (settings.project, settings.backend, settings.heartbeat) == ("env", "file:///a", 2.0)
    assert load(home, {"HOLTER_PROJECT": "env"}, project="mine").project == "mine"


@pytest.mark.parametrize(("text", "says"), [("soon", "is no duration"), ("0", "from 0.05 to 3600")])
def test_a_wrong_word_of_the_environment_is_named(home: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match="HOLTER_HEARTBEAT") as caught:
        load(home, {"HOLTER_HEARTBEAT": text})
    assert caught.value.path == "heartbeat"
    assert says in str(caught.value)


def test_home_is_the_argument_then_the_environment_then_the_users_own_and_always_absolute(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", home)
    assert load("here", {"HOLTER_HOME": "/there"}).home == f"{home}/here"
    assert load(None, {"HOLTER_HOME": "there"}).home == f"{home}/there"
    assert load(None, {"HOLTER_HOME": ""}).home == f"{home}/.holter"


def test_nothing_is_read_from_the_working_directory(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given(home, "project: nearby")
    monkeypatch.chdir(home)
    assert load(f"{home}/elsewhere", {}).project == "default"


def test_settings_cannot_be_changed(home: str) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        load(home, {}).project = "other"  # type: ignore[misc]


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


def test_quiet_hours_and_counts_have_a_short_and_a_long_form(home: str) -> None:
    short = 'after: "3 of 5", quiet_hours: "22:00-07:00 Europe/Berlin"'
    long = 'after: 3 of 5, quiet_hours: {from: "22:00", to: "07:00", timezone: Europe/Berlin}'
    rules = given(home, f"alerts: [{{on: [failed], {short}}}, {{on: [failed], {long}}}]").alerts
    assert rules[0] == rules[1]
    assert (rules[0].after.count, rules[0].after.of) == (3, 5)
    assert rules[0].quiet_hours == setting_types.QuietHours("22:00", "07:00", "Europe/Berlin")
    (rule,) = given(home, 'alerts: {on: [failed], after: 2, quiet_hours: "00:00-00:00"}').alerts
    assert (rule.after, rule.after_crashed.count) == (setting_types.After(2, 2), 1)
    assert rule.quiet_hours == setting_types.QuietHours("00:00", "00:00", "UTC")


def test_the_template_shows_every_key() -> None:
    groups = [
        *(setting_types.Settings, setting_types.Limit, setting_types.Check, setting_types.Rule),
        *(setting_types.RetentionPolicy, setting_types.WatchdogSettings),
    ]
    keys = {each.name for group in groups for each in attrs.fields(group)} - {"home", "config"}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}:", TEMPLATE)] == []


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


def test_a_home_that_the_cache_has_to_make_is_private(home: str) -> None:
    given(home, "project: p")
    assert refresh_cache(f"{home}/new", f"{home}/holter.yaml")["project"] == "p"
    assert os.stat(f"{home}/new").st_mode & 0o777 == 0o700


def test_without_a_file_there_is_nothing_to_keep(home: str) -> None:
    assert refresh_cache(home, None) == job_view(Settings())
    assert os.listdir(home) == []


def test_a_cache_that_cannot_be_written_is_done_without_and_leaves_nothing_behind(home: str) -> None:
    given(home, "project: p")
    pathlib.Path(home, "cache", "knobs.json").mkdir(parents=True)
    assert refresh_cache(home, None)["project"] == "p"
    assert os.listdir(f"{home}/cache") == ["knobs.json"]
    pathlib.Path(home, "file").touch()
    assert refresh_cache(f"{home}/file", f"{home}/holter.yaml")["project"] == "p"


def test_the_cache_never_gives_an_old_text_the_identity_of_a_new_one(home: str) -> None:
    """A file that changes while it is read: reading from a named pipe, we hold the reader in the middle."""
    path = pathlib.Path(home, "holter.yaml")
    os.mkfifo(path)
    views: list[object] = []
    reader = threading.Thread(target=lambda: views.append(refresh_cache(home, None)["project"]))
    reader.start()
    with path.open("w") as pipe:  # opens once the reader is there
        path.unlink()
        path.write_text("project: new")
        pipe.write("project: old")
    reader.join(timeout=30)
    assert views == ["old"]
    key = json.loads(pathlib.Path(home, "cache", "knobs.json").read_text())["key"]
    assert key[3] != path.stat().st_ino


@pytest.mark.parametrize("place", ["file", "environment"])
def test_durability_is_process_or_host(home: str, place: str) -> None:
    assert load(home, {}).durability == "process"
    assert load(home, {"HOLTER_DURABILITY": "host"}).durability == "host"
    environ = {"HOLTER_DURABILITY": "disk"} if place == "environment" else {}
    if place == "file":
        pathlib.Path(home, "holter.yaml").write_text("durability: disk\n")
    with pytest.raises(SettingsError) as caught:
        load(home, environ)
    assert caught.value.path == "durability"
