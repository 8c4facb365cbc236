"""Files that are read, and commands that are run: bombs in YAML, traps in environment files, names that are shell."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from holter.agent.envfile import read_env_file
from holter.agent.secrets import clean, is_secret, use_patterns
from holter.agent.setting_types import Channel
from holter.agent.settings import expand, load
from holter.agent.watchdog.channels import open_channel
from holter.backends.errors import SettingsError
from tests.prove import Proof
from tests.unit.watchdog.test_channels import ALERT

pytestmark = pytest.mark.proof

SECONDS = 5.0
YAML = {
    "laughs": "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b]\n",
    "object": "project: !!python/object/apply:os.system ['touch owned']\n",
    "module": "project: !!python/name:os.system\n",
    "merge": "a: &a {b: 1}\nc: {<<: *a}\n",
    "deep": "project: " + "[" * 3000,
    "deep maps": "{a: " * 3000,
    "large": "project: x\n" + "#" * 2**20,
    "number": "heartbeat: " + "9" * 5000,
    "sexagesimal": "heartbeat: " + ":".join(["59"] * 2000),
    "date": "project: 2026-99-99\n",
    "binary": "project: !!binary '////'\n",
    "many keys": "".join(f"k{number}: 1\n" for number in range(5000)),
    "zeros": "\0" * 1000,
    "list": "- project\n",
}


def test_no_settings_file_is_a_bomb_or_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in YAML.items():
        (tmp_path / "holter.yaml").write_text(text)
        began = time.perf_counter()
        with pytest.raises(SettingsError):
            load(str(tmp_path))
        assert time.perf_counter() - began < SECONDS, name
    assert not (tmp_path / "owned").exists()
    proof.count(len(YAML), "settings files")


ENV = {
    "A=$(touch owned)": "$(touch owned)",
    "A=`touch owned`": "`touch owned`",
    "A=${HOME}": "${HOME}",
    "A=x; touch owned": "x; touch owned",
    'A="x\\n$(y)"': "x\n$(y)",
    "A='${B}'": "${B}",
    "A=" + "\\" * 5000: "\\" * 5000,
}
REFUSED = (
    "touch owned",
    "A B=1",
    "1A=x",
    "=x",
    ". ./x",
    "A='",
    'A="' + '\\"' * 5000,
    "A=x\0y",
    "A[0]=x",
    "A+=x",
)


def test_an_environment_file_runs_and_expands_nothing(tmp_path: Path, proof: Proof) -> None:
    path = tmp_path / "env"
    for text, value in ENV.items():
        path.write_text(text)
        assert read_env_file(str(path)) == {"A": value}
    for text in REFUSED:
        path.write_text(text)
        with pytest.raises(SettingsError) as caught:
            read_env_file(str(path))
        assert "touch owned" not in str(caught.value)
    proof.count(len(ENV) + len(REFUSED), "environment files")


def test_a_variable_is_replaced_once_and_never_from_a_record() -> None:
    assert expand("x ${A} $B ${lower}", {"A": "${B}", "B": "no", "lower": "l"}) == "x ${B} $B l"
    assert expand("${A}" * 3, {"A": "${A}"}) == "${A}" * 3


EVIL = (
    "$(touch owned) `touch owned`; touch owned | touch owned && touch owned\n-x --help ${HOME} '\" \\ %s {x}"
)


def test_an_alert_is_never_a_part_of_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    monkeypatch.chdir(tmp_path)
    alert = {name: EVIL if isinstance(value, str) else value for name, value in ALERT.items()}
    for line in ("tee said", f"tee '{tmp_path}/said' $HOME ;", "sh -c 'cat > said'"):
        open_channel(Channel("command", line), {}).send(alert, 20.0)
        assert EVIL[:10] in (tmp_path / "said").read_text()
    assert not (tmp_path / "owned").exists()
    assert (tmp_path / "$HOME").exists(), "no shell has seen the command line"
    proof.count(3, "commands")


def test_no_text_and_no_pattern_of_redact_takes_longer_than_a_moment(proof: Proof) -> None:
    texts = (
        "://" * 20_000,
        "://a:" * 10_000,
        "?a=" * 20_000,
        "://" + "a" * 500 + ":" + "b" * 100_000,
        "&=" * 30_000,
    )
    use_patterns(("*a" * 50 + "b", "[" * 1000, "*" * 500))
    try:
        for text in texts:
            began = time.perf_counter()
            clean(text + "@")
            is_secret(text[:500] + "a" * 500)
            assert time.perf_counter() - began < SECONDS, text[:10]
    finally:
        use_patterns(())
    proof.count(len(texts), "texts for redaction")


def test_planted_a_shell_that_sees_the_alert_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    import subprocess

    subprocess.run(f"echo {EVIL}", shell=True, capture_output=True, check=False)  # noqa: S602 - what is never done
    assert (tmp_path / "owned").exists()
