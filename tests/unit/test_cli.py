"""What each verb prints and how it exits, on a home that real scripts have filled."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from holter.agent import knobs
from holter.cli import cli

SCRIPT = """
import logging, sys
from holter import artifact, flow, get_run_logger, progress, task

@task(retries=1, retry_delay_seconds=0.01)
def greet(name, fail=False):
    print(f"Hello {name}")
    if fail:
        raise ValueError("[red]no[/red] \\x1b[31msuch name \\u202e" + name)

@task
def outer():
    greet("inside")

@flow(log_prints=True, tags=["demo", "eu"])
def hello(who="world", password="hunter22"):
    get_run_logger().warning("take care")
    greet(who)
    outer()
    for _ in progress(range(3)):
        pass
    artifact("rows", table=[{"a": 1}], description="a [b]table[/b]")
    return {"greeted": 2}

@flow(name="broken", log_prints=True)
def broken():
    greet("nobody", fail=True)

hello()
try:
    broken()
except ValueError:
    pass
"""

Holter = Callable[..., Result]


def fill(home: Path) -> None:
    script = home.parent / "script.py"
    script.write_text(SCRIPT)
    environ = {**os.environ, "HOLTER_HOME": str(home)}
    subprocess.run([sys.executable, str(script)], env=environ, check=True, capture_output=True, timeout=60)


def verb(*args: str, **more: Any) -> Result:
    return CliRunner().invoke(cli, args, **more)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("filled") / "home"
    fill(home)
    return home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of this test's own."""
    place = tmp_path / "home"
    monkeypatch.setattr(knobs, "_configured", {})  # what another test told this process
    monkeypatch.setenv("HOLTER_HOME", str(place))
    for name in ("HOLTER_BACKEND", "HOLTER_CONFIG", "HOLTER_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return place


@pytest.fixture
def holter(filled: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Holter:
    """A verb on the filled home, which must not be changed."""
    monkeypatch.setenv("HOLTER_HOME", str(filled))
    return verb


@pytest.fixture
def ours(home: Path) -> Holter:
    """A verb on a filled home that the test may change."""
    fill(home)
    return verb


def objects(result: Result) -> Any:
    assert result.exit_code in (0, 1), result.stderr
    return json.loads(result.stdout)


def the(holter: Holter, job: str) -> dict[str, Any]:
    (run,) = objects(holter("runs", "--json", "--job", job))
    return dict(run)


# --- help ----------------------------------------------------------------------------------------------------


def test_every_verb_has_one_clear_sentence_that_fits_the_help() -> None:
    listed = verb("--help").stdout
    assert "..." not in listed.partition("Commands:")[2]
    for command in (*cli.commands.values(), *cli.commands["alerts"].commands.values()):  # type: ignore[attr-defined]
        assert command.help and command.help.rstrip().endswith("."), command.name


def test_every_option_says_what_it_does() -> None:
    for command in cli.commands.values():
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.help, f"{command.name} {param.name}"


def test_help_and_version_need_no_home(home: Path) -> None:
    assert verb("--version").stdout.startswith("holter 0.")
    assert verb("runs", "--help").exit_code == 0
    assert not home.exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    result = verb("completion", shell)
    assert result.exit_code == 0
    assert "_HOLTER_COMPLETE" in result.stdout


# --- nothing recorded yet ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["runs", "report", "status", "slots", "alerts"])
def test_where_nothing_is_recorded_a_verb_says_what_to_type_and_prints_nothing(home: Path, name: str) -> None:
    result = verb(name)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "holter" in result.stderr or "--since" in result.stderr


@pytest.mark.parametrize("name", ["runs", "status", "slots", "alerts"])
def test_where_nothing_is_recorded_json_is_an_empty_list(home: Path, name: str) -> None:
    assert objects(verb(name, "--json")) == []


def test_show_last_says_what_to_type_where_nothing_is_recorded(home: Path) -> None:
    result = verb("show", "last")
    assert result.exit_code == 2
    assert "holter run" in result.stderr


# --- runs ----------------------------------------------------------------------------------------------------


def test_runs_are_root_runs_newest_first(holter: Holter) -> None:
    assert [run["name"] for run in objects(holter("runs", "--json"))] == ["broken", "hello"]
    shown = holter("runs").stdout.splitlines()
    assert shown[0].split() == ["ID", "JOB", "STATE", "STARTED", "TOOK", "NOTE"]
    assert "ValueError: [red]no[/red] such name nobody" in shown[1]
    assert "COMPLETED" in shown[2]


def test_a_kind_also_finds_what_ran_inside_others(holter: Holter) -> None:
    assert [run["name"] for run in objects(holter("runs", "--json", "--kind", "TASK"))] == [
        "greet",
        "greet",
        "outer",
        "greet",
    ]
    both = objects(holter("runs", "--json", "--kind", "task", "--kind", "flow"))
    assert len(both) == 6


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["--job", "hel*"], ["hello"]),
        (["--state", "failed"], ["broken"]),
        (["--state", "failed", "--state", "completed"], ["broken", "hello"]),
        (["--state", "stale"], []),
        (["--tag", "demo", "--tag", "eu"], ["hello"]),
        (["--tag", "demo", "--tag", "us"], []),
        (["--host", os.uname().nodename], ["broken", "hello"]),
        (["--project", "default"], ["broken", "hello"]),
        (["--project", "other"], []),
        (["--since", "1h"], ["broken", "hello"]),
        (["--since", "0s"], []),
        (["--limit", "1"], ["broken"]),
    ],
)
def test_runs_can_be_asked_for(holter: Holter, asked: list[str], found: list[str]) -> None:
    assert [run["name"] for run in objects(holter("runs", "--json", *asked))] == found


def test_a_limit_that_cuts_says_so(holter: Holter) -> None:
    assert "--limit 4" in holter("runs", "--limit", "1").stderr


def test_no_run_that_matches_is_not_nothing_recorded(holter: Holter) -> None:
    result = holter("runs", "--job", "nope")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert "No run matches." in result.stderr


# --- which run -----------------------------------------------------------------------------------------------


def test_a_run_is_found_by_id_beginning_last_and_last_of_a_job(holter: Holter) -> None:
    hello, broken = the(holter, "hello")["id"], the(holter, "broken")["id"]
    for text, meant in {
        hello: hello,
        hello[:-1]: hello,
        hello.upper(): hello,
        f"{hello}.1": f"{hello}.1",
        "last": broken,
        "last:hello": hello,
        "last:greet": f"{broken}.1",
    }.items():
        assert objects(holter("show", "--json", text))["id"] == meant, text


@pytest.mark.parametrize("job", ["load[1]", "a*b", "it's", "x'; echo OWNED; '"])
def test_a_job_of_any_name_is_found_by_it_and_by_what_is_told_to_type(home: Path, job: str) -> None:
    for each in ("aab", job, "aab"):
        subprocess.run([holter_program(), "run", "--name", each, "--", "true"], check=True, timeout=60)
    shown = objects(verb("show", "--json", f"last:{job}"))
    assert shown["name"] == job
    typed = verb("show", f"last:{job}").stdout.splitlines()[-1].strip()
    command = typed.replace("holter", holter_program(), 1)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [shown["id"]], typed


def test_without_a_verb_the_help_is_shown_as_it_is(home: Path) -> None:
    done = subprocess.run([holter_program()], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) > 20 and done.stderr.startswith("Usage: holter")


def test_a_terminal_without_our_signs_tells_the_states_apart(home: Path) -> None:
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for command in ("true", "false"):
        subprocess.run([holter_program(), "run", "--name", command, "--", command], timeout=60)
    done = subprocess.run(
        [holter_program(), "runs"], capture_output=True, text=True, env=ascii_only, timeout=60
    )
    assert "x FAILED" in done.stdout and "+ COMPLETED" in done.stdout and "?" not in done.stdout


def test_init_on_a_full_disk_leaves_nothing_in_the_way_of_the_next_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "holter.yaml").unlink(missing_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "chmod", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        assert verb("init").exit_code == 1
    assert not (home / "holter.yaml").exists()
    assert verb("init").exit_code == 0


def test_a_store_that_is_not_there_is_not_copied(home: Path) -> None:
    typed = verb("copy", "--from", "sqlite:///nosuch.db", "--to", "file:///copy")
    assert typed.exit_code == 2 and "there is no store at" in typed.stderr
    assert not (home / "nosuch.db").exists()


@pytest.mark.parametrize("text", ["zzz", "last:nope", "", "last:", "%", "1*"])
def test_a_run_that_is_not_there_is_one_line_and_exit_2(holter: Holter, text: str) -> None:
    result = holter("show", text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "holter runs" in result.stderr.splitlines()[-1]


def test_a_beginning_of_several_names_them_and_exits_2(holter: Holter) -> None:
    result = holter("logs", the(holter, "hello")["id"][:2])
    assert result.exit_code == 2
    assert all(the(holter, job)["id"] in result.stderr for job in ("hello", "broken"))


# --- show ----------------------------------------------------------------------------------------------------


def test_show_as_json_is_the_run_with_children_and_events(holter: Holter) -> None:
    shown = objects(holter("show", "--json", "last:hello"))
    assert shown | the(holter, "hello") == shown
    assert shown["parameters"] == {"who": "world", "password": "***"}
    assert shown["result"] == {"greeted": 2}
    assert [child["name"] for child in shown["children"]] == ["greet", "outer"]
    assert [child["name"] for child in shown["children"][1]["children"]] == ["greet"]
    assert all(child["parent_id"] == shown["id"] == child["root_id"] for child in shown["children"])
    assert [event["event"] for event in shown["events"]] == ["start", "artifact", "end"]


def test_show_tells_people_the_whole_story(holter: Holter) -> None:
    run = the(holter, "hello")
    shown = holter("show", "last:hello").stdout
    for part in (
        run["id"],
        "✔ COMPLETED",
        'who = "world"',
        'password = "***"',
        '{"greeted": 2}',
        "demo, eu",
        "rows (a [b]table[/b]) table: table of 1 rows",
        "Hello inside",
        f"holter logs {run['id']}",
    ):
        assert part in shown, part
    steps = shown.partition("\nSteps\n")[2].splitlines()[1:4]  # under the axis
    assert [row[: len(row) - len(row.lstrip())] + row.split()[0] for row in steps] == [
        "  greet",
        "  outer",
        "    greet",
    ]


def test_show_tells_why_a_run_failed_and_what_to_look_at(holter: Holter) -> None:
    run = the(holter, "broken")
    shown = holter("show", "last:broken").stdout
    assert "in greet" in shown
    assert "ValueError: [red]no[/red] such name nobody" in shown
    assert f"holter show {run['id']}.1" in shown
    assert f"holter explain {run['id']}" in shown
    assert "holter explain" not in holter("show", "last:hello").stdout


def test_show_lists_the_attempts_of_a_retried_step(holter: Holter) -> None:
    shown = holter("show", the(holter, "broken")["id"] + ".1").stdout
    attempts = shown.partition("\nAttempts\n")[2].splitlines()
    assert "again in 10ms" in attempts[1]
    assert attempts[2].split()[0] == "2"


def test_nothing_that_was_recorded_can_steer_the_terminal(holter: Holter) -> None:
    for args in (
        ["runs"],
        ["show", "last"],
        ["logs", "last"],
        ["runs", "--json"],
        ["status"],
        ["logs", "--json", "last"],
    ):
        said = holter(*args).output
        assert not {char for char in said if (char < " " and char != "\n") or char in "\x7f\x9b\u202e"}, args


# --- logs ----------------------------------------------------------------------------------------------------


def test_logs_have_the_lines_of_the_whole_tree_in_order(holter: Holter) -> None:
    lines = objects(holter("logs", "--json", "last:hello"))
    assert [line["text"] for line in lines] == ["take care", "Hello world", "Hello inside"]
    assert set(lines[0]) == {"run_id", "at", "level", "stream", "text"}
    assert lines == sorted(lines, key=lambda line: str(line["at"]))


def test_logs_for_people_name_level_and_step(holter: Holter) -> None:
    shown = holter("logs", "last:hello").stdout.splitlines()
    assert [row.partition(" ")[2] for row in shown] == [
        "WARNING take care",
        "greet: Hello world",
        "greet: Hello inside",
    ]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["--tail", "1"], ["Hello inside"]),
        (["--tail", "0"], []),
        (["--grep", "hello INSIDE"], ["Hello inside"]),
        (["--level", "warning"], ["take care"]),
        (["--level", "INFO", "--tail", "2"], ["Hello world", "Hello inside"]),
        (["--level", "ERROR"], []),
    ],
)
def test_logs_can_be_narrowed(holter: Holter, asked: list[str], found: list[str]) -> None:
    assert [line["text"] for line in objects(holter("logs", "--json", "last:hello", *asked))] == found


def test_logs_of_a_step_are_its_own_and_those_below_it(holter: Holter) -> None:
    step = the(holter, "hello")["id"] + ".2"
    assert [line["text"] for line in objects(holter("logs", "--json", step))] == ["Hello inside"]


def test_a_run_that_said_nothing_says_so(holter: Holter) -> None:
    result = holter("logs", "last:hello", "--grep", "absent")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No line matches." in result.stderr


def test_following_a_run_that_has_ended_prints_it_and_exits_as_it_did(holter: Holter) -> None:
    assert holter("logs", "-f", "last:hello").exit_code == 0
    failed = holter("logs", "-f", "--json", "last:broken")
    assert failed.exit_code == 1
    assert [json.loads(row)["text"] for row in failed.stdout.splitlines()] == ["Hello nobody", "Hello nobody"]


# --- report and status ---------------------------------------------------------------------------------------


def test_report_as_json_has_the_documented_shape(holter: Holter) -> None:
    found = objects(holter("report", "--json"))
    assert set(found) == {"since", "until", "jobs"}
    hello = next(job for job in found["jobs"] if job["name"] == "hello")
    documented = (
        "name project runs by_state success_rate completeness duration_p50_seconds duration_p95_seconds "
        "lateness_p50_seconds last"
    )
    assert set(documented.split()) <= set(hello)
    assert (hello["runs"], hello["by_state"], hello["success_rate"]) == (1, {"COMPLETED": 1}, 1.0)


def test_report_is_about_one_job_or_kind_where_it_is_asked(holter: Holter) -> None:
    assert [job["name"] for job in objects(holter("report", "--json", "--job", "bro*"))["jobs"]] == ["broken"]
    tasks = objects(holter("report", "--json", "--kind", "task"))["jobs"]
    assert {job["name"]: job["runs"] for job in tasks} == {"greet": 3, "outer": 1}
    assert "hello" in holter("report").stdout


def test_status_exits_1_while_a_job_is_not_well(holter: Holter) -> None:
    assert holter("status", "--job", "hello").exit_code == 0
    result = holter("status", "--json")
    assert result.exit_code == 1
    jobs = {job["name"]: job for job in objects(result)}
    assert jobs["hello"]["well"] and not jobs["broken"]["well"]
    assert jobs["broken"]["problems"][0]["event"] == "failed"
    assert "✘ failed" in holter("status").stdout


def test_status_knows_what_the_settings_expect(ours: Holter, home: Path) -> None:
    (home / "holter.yaml").write_text(
        "checks: {hello: {min_duration: 1h, schedule: '0 2 * * *'}, absent: {fresh_within: 1d}}"
    )
    jobs = {job["name"]: job for job in objects(ours("status", "--json"))}
    assert [problem["event"] for problem in jobs["hello"]["problems"]] == ["short"]
    assert jobs["hello"]["next_at"].endswith("T02:00:00.000Z")
    assert jobs["absent"]["last"] is None and jobs["absent"]["well"]


# --- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["frobnicate"], "No such command"),
        (["runs", "--frobnicate"], "No such option"),
        (["runs", "--state", "frob"], "'frob' is not one of"),
        (["runs", "--since", "3 fortnights"], "is no duration (write seconds or"),
        (["runs", "--limit", "0"], "--limit"),
        (["show"], "Missing argument 'RUN'"),
        (["slots", "nope"], "no limit 'nope' ("),
        (["mark", "last", "EXPLODED"], "is not one of"),
        (["run"], "Missing argument"),
        (["run", "--retry-on", "sunday", "--", "true"], "cannot retry on 'sunday' ("),
        (["run", "--limit", "nope", "--", "true"], "no limit is named 'nope' ("),
        (["alerts", "test"], "no channel is configured ("),
        (["alerts", "snooze", "etl", "soon"], "is no duration ("),
        (["prune"], "--yes"),
        (["completion", "tcsh"], "'tcsh'"),
    ],
)
def test_bad_input_is_one_line_with_a_hint_and_exit_code_2(home: Path, args: list[str], said: str) -> None:
    result = subprocess.run(
        [holter_program(), *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert (result.returncode, result.stdout) == (2, "")
    line = result.stderr.splitlines()[-1]
    assert line.startswith("holter: ") and said in line
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("yaml", "environ", "said"),
    [
        ("projekt: x", {}, "unknown setting projekt"),
        ("a: [", {}, "line 1"),
        ("checks: {etl: {schedule: '0 25 * * *'}}", {}, "checks.etl.schedule"),
        ("limits: {database: 0}", {}, "limits.database"),
        ("backend: mongodb://x", {}, "no backend for 'mongodb://x' (known schemes"),
        ("", {"HOLTER_BACKEND": "sqlite:holter.db"}, "names no path"),
        ("", {"HOLTER_CONFIG": "/nonexistent/holter.yaml"}, "no settings file"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2_in_every_verb_that_reads(
    home: Path, monkeypatch: pytest.MonkeyPatch, yaml: str, environ: dict[str, str], said: str
) -> None:
    home.mkdir()
    (home / "holter.yaml").write_text(yaml)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for args in (["runs"], ["show", "last"], ["logs", "last"], ["report"], ["status"], ["slots"], ["alerts"]):
        result = verb(*args)
        assert (result.exit_code, result.stdout) == (2, ""), args
        assert len(result.stderr.splitlines()) == 1
        assert said in result.stderr


def test_a_home_that_cannot_be_used_is_one_line_and_exit_code_1(home: Path) -> None:
    home.write_text("a file where a folder should be")
    for args in (["runs"], ["slots"], ["init"]):
        result = verb(*args)
        assert (result.exit_code, result.stdout) == (1, ""), args
        assert len(result.stderr.splitlines()) == 1


# --- verbs that write ----------------------------------------------------------------------------------------


def test_init_writes_settings_that_load_and_never_overwrites_them(home: Path) -> None:
    assert verb("init").exit_code == 0
    path = home / "holter.yaml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert verb("runs").exit_code == 0
    path.write_text("project: mine\n")
    again = verb("init")
    assert again.exit_code == 1
    assert "exists" in again.stderr
    assert path.read_text() == "project: mine\n"


@pytest.fixture
def stuck(home: Path) -> Iterator[str]:
    """A run whose process lives and says nothing: its id."""
    code = (
        "import sys, time\nfrom holter import flow, task\n"
        "@task\ndef step():\n    print('in', flush=True)\n    time.sleep(60)\n"
        "@flow\ndef stuck():\n    step()\nstuck()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield str(the(verb, "stuck")["id"])
        finally:
            process.kill()


def test_mark_ends_a_run_and_what_is_open_inside_it(stuck: str) -> None:
    result = verb("mark", stuck, "crashed", "--reason", "host is gone")
    assert result.exit_code == 0
    assert result.stdout == f"{stuck} is CRASHED, and so are 1 runs inside it\n"
    shown = objects(verb("show", "--json", stuck))
    assert (shown["state"], shown["children"][0]["state"]) == ("CRASHED", "CRASHED")
    assert shown["reason"].startswith("marked by ") and shown["reason"].endswith(": host is gone")


def test_mark_does_not_change_what_a_run_said_of_itself(ours: Holter) -> None:
    result = ours("mark", "last:hello", "failed")
    assert result.exit_code == 1
    assert "ended by itself as COMPLETED" in result.stderr
    assert the(ours, "hello")["state"] == "COMPLETED"


def test_prune_asks_says_and_forgets(ours: Holter) -> None:
    asked = ours("prune", "--days", "0", "--dry-run")
    assert asked.stdout.startswith("1 runs older than 0 days")
    assert len(objects(ours("runs", "--json"))) == 2
    assert ours("prune", "--days", "0", "--yes").exit_code == 0
    assert [run["name"] for run in objects(ours("runs", "--json"))] == ["broken"]  # failures are kept longer


def test_snooze_says_when_it_ends_and_alerts_list_it(home: Path) -> None:
    result = verb("alerts", "snooze", "nightly-*", "2h")
    assert result.exit_code == 0
    assert time.strftime("%Y-%m-%d", time.localtime(time.time() + 7200)) in result.stdout
    assert "snoozed: nightly-* until" in verb("alerts").stdout
    assert verb("alerts", "snooze", "nightly-*", "0s").exit_code == 0
    assert "snoozed" not in verb("alerts", "list").stdout


@pytest.mark.parametrize(
    "words",
    [
        ["alerts", "snooze", "etk", "2h"],
        ["alerts", "ack", "etk"],
        ["checks", "pause", "etk"],
        ["checks", "rm", "etk"],
    ],
)
def test_a_name_that_no_job_goes_by_is_taken_with_a_word_of_warning(home: Path, words: list[str]) -> None:
    assert verb("checks", "add", "etl", "--max-duration", "2h").exit_code == 0
    typed = verb(*words)
    assert (typed.exit_code, typed.stderr) == (0, "holter: no job etk is known yet; did you mean etl?\n")
    assert verb(*[word.replace("etk", "etl") for word in words]).stderr == ""


def test_a_host_is_snoozed_as_a_whole_and_snoozes_are_listed(home: Path) -> None:
    said = verb("alerts", "snooze", "--host", "web-1", "2h").stdout
    assert said.startswith("No alert about all jobs on web-1 until ")
    assert verb("alerts", "snooze", "--host", "web-1", "etl", "2h").stdout.startswith(
        "No alert about etl on web-1"
    )
    (first, second) = json.loads(verb("alerts", "snoozes", "--json").stdout)
    assert {(each["job"], each["host"]) for each in (first, second)} == {(None, "web-1"), ("etl", "web-1")}
    assert verb("alerts", "snooze", "--host", "web-1", "0s").stdout == "all jobs on web-1 alerts again.\n"
    assert verb("alerts", "snoozes").stdout.startswith("snoozed: etl on web-1 until ")
    for wrong in (["snooze", "2h"], ["snooze", "a", "b", "2h"], ["ack"]):
        assert verb("alerts", *wrong).exit_code == 2


def test_ack_without_an_open_alert_says_so(home: Path) -> None:
    assert verb("alerts", "ack", "etl").stdout == "No open alert about etl.\n"


def test_alerts_test_sends_through_each_channel_and_exits_1_where_one_fails(
    home: Path, tmp_path: Path
) -> None:
    home.mkdir()
    got = tmp_path / "got"
    (home / "holter.yaml").write_text(
        f"channels: {{good: {{command: 'cp /dev/stdin {got}'}}, bad: {{command: 'false'}}}}"
    )
    result = verb("alerts", "test")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "good: sent"
    assert result.stdout.splitlines()[1].startswith("bad: failed, ")
    assert json.loads(got.read_text())["event"] == "test"
    assert verb("alerts", "test", "good").exit_code == 0
    wrong = verb("alerts", "test", "god")
    assert (wrong.exit_code, "good" in wrong.stderr) == (2, True)


def test_alerts_test_as_an_event_sends_what_such_an_alert_looks_like_marked_as_a_test(
    home: Path, tmp_path: Path
) -> None:
    home.mkdir()
    log = tmp_path / "got.jsonl"
    (home / "holter.yaml").write_text(f"channels: {{ops: {{log: {log}}}}}")
    for event in ("crashed", "late", "disk", "digest"):
        assert verb("alerts", "test", "ops", "--as", event).stdout == "ops: sent\n"
    got = [json.loads(line) for line in log.read_text().splitlines()]
    assert [alert["event"] for alert in got] == ["crashed", "late", "disk", "digest"]
    assert got[0]["title"] == "TEST: holter-test crashed on holter-test-host"
    assert got[0]["log_tail"] and "killed by signal 9" in got[0]["body"]
    assert all(alert["test"] is True and "This is a test" in alert["body"] for alert in got)
    wrong = verb("alerts", "test", "--as", "crash")
    assert (wrong.exit_code, "crashed" in wrong.stderr) == (2, True)


def test_slots_show_who_holds_and_who_waits(home: Path) -> None:
    code = (
        "import sys\nfrom holter import concurrency, flow\n"
        "@flow\ndef job():\n    with concurrency('database'):\n"
        "        print('in', flush=True)\n        sys.stdin.read()\njob()\n"
    )
    home.mkdir()
    (home / "holter.yaml").write_text("limits: {database: 1, idle: 2}")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        with subprocess.Popen([sys.executable, "-c", code], **pipes) as waiter:
            limit = wait_for(lambda: first_if(objects(verb("slots", "database", "--json")), "waiters"))
            assert limit["slots"] == 1 and limit["scope"] == "host"
            assert [place["pid"] for place in limit["holders"]] == [holder.pid]
            assert [place["pid"] for place in limit["waiters"]] == [waiter.pid]
            assert limit["holders"][0]["run_id"] in {run["id"] for run in objects(verb("runs", "--json"))}
            shown = verb("slots").stdout
            assert "holds" in shown and "waits" in shown
            assert "idle      0 of 2  free" in shown
            holder.stdin.close()
            waiter.stdin.close()  # type: ignore[union-attr]


def first_if(found: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return found[0] if found and found[0][name] else None


def wait_for(look: Callable[[], Any], seconds: float = 15.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


# --- doctor --------------------------------------------------------------------------------------------------


def test_doctor_finds_nothing_fatal_in_a_working_home(ours: Holter) -> None:
    result = ours("doctor", "--json")
    assert result.exit_code == 0
    found = {each["about"]: each for each in objects(result)}
    assert set(found) >= {
        "holter",
        "home",
        "file system",
        "disk",
        "settings",
        "backend",
        "journals",
        "watchdog",
        "clock",
    }
    assert found["watchdog"]["level"] == "warn" and "holter watch" in found["watchdog"]["todo"]
    assert "✔ ok" in ours("doctor").stdout


@pytest.mark.parametrize(
    ("yaml", "about"),
    [
        ("projekt: x", "settings"),
        ("backend: mongodb://x", "backend"),
        ("channels: {hook: {webhook: 'https://x.invalid', secret: '${HOLTER_NO_SUCH}'}}", "channels"),
    ],
)
def test_doctor_exits_1_and_names_the_fault(home: Path, yaml: str, about: str) -> None:
    home.mkdir()
    (home / "holter.yaml").write_text(yaml)
    result = verb("doctor", "--json")
    assert result.exit_code == 1
    assert [each["about"] for each in objects(result) if each["level"] == "fail"] == [about]
    assert all(each["todo"] for each in objects(result) if each["level"] != "ok")


def test_doctor_warns_of_a_home_that_others_can_read_and_of_waiting_journals(
    ours: Holter, home: Path
) -> None:
    ours("runs")  # what the fixture's script may have had no time to ship
    home.chmod(0o755)
    (home / "holter.yaml").write_text("backend: sqlite:///other.db")
    environ = {**os.environ, "HOLTER_BACKEND": "nosuch://x"}
    subprocess.run(
        [sys.executable, home.parent / "script.py"], env=environ, check=True, capture_output=True, timeout=60
    )
    found = {each["about"]: each for each in objects(ours("doctor", "--json"))}
    assert found["home"]["level"] == "warn" and "chmod 700" in found["home"]["todo"]
    assert found["journals"]["detail"].startswith("1 wait")


def test_doctor_knows_the_file_system_that_a_path_is_on(tmp_path: Path) -> None:
    from holter.backends.mounts import file_system, is_network

    assert file_system("/proc/self") in ("proc", "")
    assert not is_network(file_system(str(tmp_path)))


# --- the watchdog's absence ----------------------------------------------------------------------------------


def test_verbs_that_read_say_in_one_line_that_nobody_watches_and_stop_when_somebody_did(ours: Holter) -> None:
    for args in (
        ["runs", "--json"],
        ["show", "last"],
        ["logs", "last"],
        ["report"],
        ["status"],
        ["alerts", "--json"],
    ):
        (line,) = ours(*args).stderr.splitlines()[:1]
        assert "nobody watches" in line, args
    assert ours("watch", "--once").exit_code == 0
    assert ours("runs").stderr == ""


def holter_program() -> str:
    return str(Path(sys.executable).with_name("holter"))


def test_a_store_that_nobody_can_write_just_now_is_still_read(
    ours: Holter, home: Path, stuck: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holter.agent.terminal.desk.TIMEOUT", 0.2)
    with closing(sqlite3.connect(home / "holter.db", isolation_level=None)) as rival:
        rival.execute("BEGIN EXCLUSIVE")
        subprocess.run(
            [sys.executable, home.parent / "script.py"], check=True, capture_output=True, timeout=60
        )
        result = ours("runs", "--json")
        assert len(objects(result)) == 3  # what had arrived before
        assert result.stderr.startswith("holter: not up to date: ")
        marked = ours("mark", stuck, "crashed")
        assert (marked.exit_code, len(marked.stderr.splitlines())) == (1, 2)
    assert len(objects(ours("runs", "--json"))) == 5
