"""What a job's process has to know, without YAML: defaults < holter.yaml < environment < `configure`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from holter.agent.knobs import Knobs

SHOW = """
    import holter, json, sys
    from holter.agent.knobs import knobs
    for line in sys.argv[1:]: exec(line)
    found = knobs()
    print(json.dumps({name: getattr(found, name) for name in ("project", "backend", "heartbeat", "redact", "limits")}))
    print(sorted({"yaml", "attrs", "cattrs"} & set(sys.modules)))
"""


@pytest.fixture
def look(python: Any, tmp_path: Path) -> Any:
    def look(*lines: str, yaml: str | None = None, **env: str) -> tuple[dict[str, Any], str, str]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        if yaml is not None:
            (home / "holter.yaml").write_text(yaml)
        done = python(SHOW, *lines, **env)
        assert done.returncode == 0, done.stderr
        found, loaded = done.stdout.splitlines()
        return json.loads(found), loaded, done.stderr

    return look


def test_without_any_settings_there_are_defaults(look: Any) -> None:
    found, loaded, err = look()
    assert found == {
        "project": "default",
        "backend": "sqlite:///holter.db",
        "heartbeat": 5.0,
        "redact": [],
        "limits": {},
    }
    assert (loaded, err) == ("[]", "")


def test_later_wins(look: Any) -> None:
    yaml = "project: from-yaml\nheartbeat: 10s\nlimits: {db: 3, gpu: {slots: 1, scope: shared}}\nredact: ['x_*']\n"
    found, _, err = look(yaml=yaml)
    assert (found["project"], found["heartbeat"], found["redact"], err) == ("from-yaml", 10.0, ["x_*"], "")
    assert found["limits"]["db"]["slots"] == 3 and found["limits"]["gpu"]["scope"] == "shared"
    found, _, _ = look(HOLTER_PROJECT="from-env", HOLTER_HEARTBEAT="2s")
    assert (found["project"], found["heartbeat"]) == ("from-env", 2.0)
    found, _, _ = look("holter.configure(project='from-code', heartbeat=0.5)", HOLTER_PROJECT="from-env")
    assert (found["project"], found["heartbeat"]) == ("from-code", 0.5)


def test_yaml_is_read_once_and_then_from_the_cache_until_the_file_changes(look: Any, tmp_path: Path) -> None:
    assert look(yaml="project: one\n")[1] != "[]"
    assert look()[:2] == (look()[0], "[]")
    (tmp_path / "home" / "holter.yaml").write_text("project: two\n")
    found, loaded, _ = look()
    assert (found["project"], loaded != "[]") == ("two", True)


@pytest.mark.parametrize("cache", ["", "no json", "[]", "{}", '{"key": 1}', '{"key": null, "view": 1}'])
def test_a_damaged_cache_is_no_cache(look: Any, tmp_path: Path, cache: str) -> None:
    look(yaml="project: one\n")
    (tmp_path / "home" / "cache" / "knobs.json").write_text(cache)
    found, _, err = look()
    assert (found["project"], err) == ("one", "")


def test_a_cache_cannot_be_written_and_nobody_minds(look: Any, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "cache").write_text("a file")
    found, _, err = look(yaml="project: one\n")
    assert (found["project"], err) == ("one", "")


def test_a_broken_file_is_one_line_on_stderr_and_the_defaults(look: Any) -> None:
    found, _, err = look(yaml="projekt: x\n")
    assert found["project"] == "default"
    assert err.count("\n") == 1
    assert "projekt" in err and "project" in err


def test_a_mistake_in_a_file_changes_nothing_but_for_a_line_on_stderr(look: Any) -> None:
    """Else records would go to another store, and what is to be redacted would be told."""
    good = "backend: file:///records\nproject: shop\nredact: ['custno']\nheartbeat: 7s\n"
    before, _, _ = look(yaml=good)
    after, _, err = look(yaml=good.replace("heartbeat", "hartbeat"))
    assert after == before
    assert "unknown setting hartbeat" in err and err.endswith("going on with the settings before that\n")
    assert look(yaml=good.replace("7s", "8s"))[0] == {**before, "heartbeat": 8.0}


@pytest.mark.parametrize("beat", ["often", "-1", "0", "nan", "1e9"])
def test_a_heartbeat_that_is_none_is_said_and_replaced(look: Any, beat: str) -> None:
    found, _, err = look(HOLTER_HEARTBEAT=beat)
    assert found["heartbeat"] == 5.0
    assert err.count("\n") == 1


def test_another_file_can_be_named_and_must_exist(look: Any, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("project: other\n")
    assert look(HOLTER_CONFIG=str(tmp_path / "other.yaml"))[0]["project"] == "other"
    found, _, err = look(HOLTER_CONFIG=str(tmp_path / "none.yaml"))
    assert (found["project"], err.count("\n")) == ("default", 1)


def test_the_home_is_absolute_and_expands_the_tilde(python: Any, tmp_path: Path) -> None:
    text = "from holter.agent.knobs import home; print(home())"
    assert python(text, HOLTER_HOME="relative").stdout == f"{tmp_path}/relative\n"
    assert python(text, HOLTER_HOME="~/x", HOME=str(tmp_path)).stdout == f"{tmp_path}/x\n"
    assert python(text, HOLTER_HOME="", HOME=str(tmp_path)).stdout == f"{tmp_path}/.holter\n"


def test_nothing_is_read_from_the_working_directory(look: Any, tmp_path: Path) -> None:
    (tmp_path / "holter.yaml").write_text("project: here\n")
    assert look()[0]["project"] == "default"


def test_one_process_complains_once(python: Any) -> None:
    done = python("""
        from holter.agent.knobs import complain
        for n in range(5): complain(f"line {n}\\nand more")
    """)
    assert done.stderr == "holter: line 0 and more\n"


def test_complaints_reach_nobody_where_standard_error_is_closed(python: Any) -> None:
    done = python("""
        import os, sys
        from holter.agent.knobs import complain
        sys.stderr.close()
        complain("x")
        sys.stderr = None
        complain("x")
        print("fine")
    """)
    assert (done.returncode, done.stdout) == (0, "fine\n")
    assert os.path.exists("/")


@pytest.mark.parametrize(("said", "meant"), [("host", "host"), ("process", "process"), ("disk", "process")])
def test_what_an_event_survives_is_set_by_the_environment_and_a_wrong_word_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str, meant: str
) -> None:
    monkeypatch.setattr("holter.agent.knobs._complained", False)
    assert Knobs("/nowhere", None, {"durability": said}).durability == meant
    assert capsys.readouterr().err.count("durability 'disk' is neither") == (said == "disk")
