"""The words are tested too: what README shows is run, and every command and setting is documented."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import fields

from holter.agent import setting_types, settings
from holter.cli import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES = (
    (r".*\bKilled\b.*", "Killed"),  # a shell that is not interactive says more
    (r"\b1[0-9a-z]{15}\b", "<id>"),
    (r"\b\d\d:\d\d:\d\d\b", "<time>"),
    (r"<?\b\d+(\.\d+)?(ms|s)\b", "<duration>"),
    (r"\bpid \d+", "pid <n>"),
    (r" +", " "),  # columns are as wide as what varies
)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(README) if name == language]


def alike(text: str) -> list[str]:
    for pattern, instead in VARIES:
        text = re.sub(pattern, instead, text)
    return [line.rstrip() for line in text.splitlines()]


def sessions() -> Iterator[tuple[str, str]]:
    """Each command of the console blocks, with what README says it prints."""
    for text in blocks("console"):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    path = os.pathsep.join(
        [sysconfig.get_path("scripts"), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLTER_")}
    return {**kept, "PATH": path, "HOLTER_HOME": str(tmp_path / "home")}


def test_the_commands_in_the_readme_print_what_it_says(tmp_path: Path, environ: dict[str, str]) -> None:
    for text in blocks("python"):
        if named := re.match(r"# (\w+\.py)\n", text):
            (tmp_path / named[1]).write_text(text)
    for command, printed in sessions():
        done = subprocess.run(
            ["bash", "-c", f"{command}\nexit 0"],
            cwd=tmp_path,
            env=environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        assert alike(done.stdout) == alike(printed), command


def test_the_longer_script_in_the_readme_runs_as_it_is(tmp_path: Path, environ: dict[str, str]) -> None:
    script = tmp_path / "etl.py"
    script.write_text(blocks("python")[1])
    subprocess.run([sys.executable, str(script)], env=environ, check=True, timeout=60)
    shown = subprocess.run(
        ["holter", "show", "last"], env=environ, check=True, text=True, capture_output=True
    )
    assert "nightly-etl  ✔ COMPLETED" in shown.stdout
    assert "summary markdown" in shown.stdout


def test_the_two_commands_that_set_everything_up_are_there_word_for_word() -> None:
    assert blocks("sh") == ["pip install -e . && holter demo\n", "pip install -e '.[dev]' && pytest\n"]


def test_the_pitch_the_why_the_install_and_the_code_come_before_anything_else() -> None:
    firsts = [
        README.index(part)
        for part in ("# Holter", "Why not just cron", "pip install -e .", "@flow", "CRASHED", "\n## ")
    ]
    assert firsts == sorted(firsts)


def test_the_settings_in_the_readme_and_in_the_docs_are_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/settings.md").read_text(), re.DOTALL)
    for number, text in enumerate([*blocks("yaml"), example]):
        home = tmp_path / str(number)
        home.mkdir()
        (home / "holter.yaml").write_text(text)
        assert settings.load(str(home), environ={}).channels


def test_every_line_of_the_crontab_names_a_command_and_options_that_exist() -> None:
    for line in "".join(blocks("crontab")).splitlines():
        words = shlex.split(line[line.index("holter") :])
        command = cli.commands[words[1]]
        known = {name for parameter in command.params for name in parameter.opts}
        own = words[: words.index("--")] if "--" in words else words
        assert {word for word in own if word.startswith("--")} <= known


def test_every_command_is_in_the_table_and_nothing_else() -> None:
    listed = re.findall(r"^\| `holter (\w+)", README, re.MULTILINE)
    assert sorted(listed) == sorted(name for name, command in cli.commands.items() if not command.hidden)


def test_every_setting_is_documented() -> None:
    documented = set(re.findall(r"^\| `([^`]+)`", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    places = {
        "limits.NAME": settings.Limit,
        "checks.JOB": settings.Check,
        "alerts[]": settings.Rule,
        "retention": settings.RetentionPolicy,
        "watchdog": settings.WatchdogSettings,
        "host": settings.HostSettings,
        "rerun": setting_types.RerunSettings,
        "otel": setting_types.OtelSettings,
    }
    wanted = {f"{place}.{each.name}" for place, kind in places.items() for each in fields(kind)}
    plain = {each.name for each in fields(settings.Settings)} - {"home", "config"}
    wanted |= {name for name in plain if not any(place.startswith(name) for place in places)} - {"channels"}
    assert wanted <= documented


def test_the_figures_in_the_readme_are_those_that_the_bench_printed() -> None:
    figures = json.loads((ROOT / "bench" / "figures.json").read_text())
    medians = {
        name: f"{row['median']:,.1f} {unit}"
        for group, unit in (("microseconds", "µs"), ("peers", "µs"), ("milliseconds", "ms"))
        for name, row in figures[group].items()
    }
    section = README.partition("## What it costs")[2].partition("## ")[0]
    quoted = dict(re.findall(r"^\| (.+?) \| ([\d,.]+ \w+) \|$", section, re.MULTILINE))
    assert len(quoted) > 10
    assert quoted == {name: medians[name] for name in quoted}
    assert all(line["reached"] for line in figures["targets"])
