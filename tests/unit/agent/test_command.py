"""What `holter run` decides: names, endings, what to retry, and what an environment file says."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.command import NAME_LIMIT, job_name, parse_limit, parse_retry_on
from holter.agent.envfile import read_env_file
from holter.agent.outcome import judge, retryable
from holter.backends.errors import SettingsError

KILL, TERM, INT, SEGV = signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV


# --- how it ended --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "told", "timeout", "state", "exit_code", "name"),
    [
        (0, None, None, "COMPLETED", 0, None),
        (0, TERM, None, "COMPLETED", 0, None),
        (3, None, None, "FAILED", 3, None),
        (3, TERM, None, "FAILED", 3, None),
        (-KILL, None, None, "CRASHED", 137, "SIGKILL"),
        (-SEGV, None, None, "CRASHED", 139, "SIGSEGV"),
        (-TERM, TERM, None, "CRASHED", 143, "SIGTERM"),
        (143, TERM, None, "CRASHED", 143, "SIGTERM"),
        (-KILL, TERM, None, "CRASHED", 137, "SIGKILL"),
        (-INT, INT, None, "CANCELLED", 130, "SIGINT"),
        (1, INT, None, "CANCELLED", 1, "SIGINT"),
        (-KILL, None, 5.0, "TIMED_OUT", 124, "SIGKILL"),
        (0, None, 5.0, "TIMED_OUT", 124, None),
    ],
)
def test_an_exit_code_or_a_signal_means_one_ending(
    code: int, told: int | None, timeout: float | None, state: str, exit_code: int, name: str | None
) -> None:
    ending = judge(code, told=told, timeout=timeout)
    assert (ending.state, ending.exit_code, ending.signal) == (state, exit_code, name)


def test_the_reason_says_it_in_words() -> None:
    assert judge(-KILL).reason == "killed by SIGKILL (out of memory, or somebody's kill -9)"
    assert judge(-KILL, starved=True).reason == "killed by the kernel: out of memory"
    assert judge(1, starved=True).state == "FAILED"
    assert judge(-SEGV).reason == "killed by SIGSEGV (segmentation fault)"
    assert (
        judge(-KILL, told=TERM).reason
        == "killed by SIGKILL (out of memory, or somebody's kill -9) after SIGTERM"
    )
    assert judge(-TERM, told=TERM).reason == "terminated by SIGTERM"
    assert judge(3, complaint="no such table").reason == "exit code 3: no such table"
    assert judge(3, told=TERM).reason == "exit code 3 after SIGTERM"
    assert judge(-TERM, timeout=1.5).reason == "ran longer than 1.5 s"
    assert judge(-40).signal == "signal 40"


@given(st.integers(-64, 255), st.sampled_from([None, TERM, INT]), st.sampled_from([None, 1.0]))
def test_only_exit_code_0_is_success_and_every_other_ending_exits_with_another_code(
    code: int, told: int | None, timeout: float | None
) -> None:
    ending = judge(code, told=told, timeout=timeout)
    assert (ending.state == "COMPLETED") == (ending.exit_code == 0) == (code == 0 and timeout is None)
    assert 0 <= (ending.exit_code or 0) <= 255


# --- what to retry -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "after"),
    [
        ("any", {"crash", "exit 1", "exit 75", "timeout"}),
        ("crash", {"crash"}),
        ("exit", {"exit 1", "exit 75"}),
        ("exit:75", {"exit 75"}),
        ("timeout, exit:1", {"exit 1", "timeout"}),
    ],
)
def test_retries_follow_what_the_list_names(words: str, after: set[str]) -> None:
    endings = {
        "crash": judge(-KILL),
        "exit 1": judge(1),
        "exit 75": judge(75),
        "timeout": judge(0, timeout=1.0),
        "success": judge(0),
    }
    chosen = parse_retry_on(words)
    assert {name for name, ending in endings.items() if retryable(ending, chosen)} == after


@pytest.mark.parametrize("text", ["", "crashed", "exit:", "exit:x", "exit:1:2", "crash,,exit"])
def test_a_word_that_names_nothing_to_retry_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(SettingsError, match=r"a list of crash, exit, exit:N, timeout, any"):
        parse_retry_on(text)


@pytest.mark.parametrize(
    ("text", "parsed"), [("db", ("db", None)), ("db:3", ("db", 3)), (" my db:10 ", ("my db", 10))]
)
def test_a_limit_may_bring_its_slots(text: str, parsed: tuple[str, int | None]) -> None:
    assert parse_limit(text) == parsed


@pytest.mark.parametrize("text", ["", ":3", "db:", "db:0", "db:x", "db:1:2"])
def test_a_limit_that_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match="as in database:3"):
        parse_limit(text)


# --- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/usr/bin/python3", "/srv/etl/load.py", "--day", "2026-01-01"], "python3 load.py --day"),
        (["sh", "-c", "echo /tmp/a; exit 3"], "sh -c echo /tmp/a; exit 3"),
        (["backup"], "backup"),
        (["curl", "--token", "hunter2-hunter2", "url"], "curl --token ***"),
        (["psql", "postgresql://bob:hunter2@db/x"], "psql x"),
        (["sh", "-c", "a\n  b"], "sh -c a b"),
    ],
)
def test_a_command_without_a_name_is_called_by_its_first_words(argv: list[str], name: str) -> None:
    assert job_name(argv) == name


def test_a_name_is_short() -> None:
    assert len(job_name(["sh", "-c", "word " * 100])) == NAME_LIMIT


# --- environment files ---------------------------------------------------------------------------------------


def test_an_environment_file_has_comments_exports_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text(
        "# a comment\n\nPLAIN=one two\n  export EXPORTED= yes \n"
        'SINGLE=\'a "b" # c \\n\'\nDOUBLE="a \'b\' # c \\"d\\" \\\\ \\n."  # said'
        "\nHASH=a#b # c\nEMPTY=\nAGAIN=1\nAGAIN=2\n"
        "URL=https://example.org/?a=b&c=$HOME\nCRLF=x\r\n"
    )
    assert read_env_file(str(path)) == {
        "PLAIN": "one two",
        "EXPORTED": "yes",
        "SINGLE": 'a "b" # c \\n',
        "DOUBLE": "a 'b' # c \"d\" \\ \n.",
        "HASH": "a#b",
        "EMPTY": "",
        "AGAIN": "2",
        "URL": "https://example.org/?a=b&c=$HOME",
        "CRLF": "x",
    }


@given(
    st.text(
        st.characters(exclude_characters="'\0", exclude_categories=["Cs"]).filter(
            lambda char: char not in "\r\n"
        )
    )
)
def test_a_value_in_single_quotes_is_literal(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.mktemp("env") / "env"
    path.write_text(f"KEY='{value}'\n", encoding="utf-8")
    assert read_env_file(str(path)) == {"KEY": value}


@pytest.mark.parametrize("line", ["NAME", "1A=x", "A B=x", "=x", "A='x", 'A="x', "A='x' y"])
def test_a_line_that_is_no_variable_is_named_by_its_number_and_its_value_is_not_told(
    tmp_path: Path, line: str
) -> None:
    path = tmp_path / "env"
    path.write_text(f"FINE=1\n{line}\n")
    with pytest.raises(SettingsError, match=f"line 2 of {path}") as caught:
        read_env_file(str(path))
    assert "x" not in str(caught.value).replace(str(path), "")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_env_file(str(tmp_path / "none"))
    (tmp_path / "binary").write_bytes(b"A=\xff\n")
    with pytest.raises(SettingsError, match="not UTF-8"):
        read_env_file(str(tmp_path / "binary"))
