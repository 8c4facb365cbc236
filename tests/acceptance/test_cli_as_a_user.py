"""The command line as somebody types it: real processes, a real terminal of 80 columns, pipes, Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any

import pytest

HOLTER = str(Path(sys.executable).with_name("holter"))
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

HELLO = """
from holter import flow, task

@task
def say_hello(name):
    print(f"Hello {name}!")

@flow(name="Hello World!", log_prints=True)
def hello_world():
    say_hello(name="Marvin")

hello_world()
"""

LONG_NAME = "nightly reconciliation of the ledgers of all our houses, second part"
LONG = f"""
from holter import flow

@flow(name="{LONG_NAME}", log_prints=True)
def job():
    for number in range(20000):
        print("line", number, "\\x1b[31m" + "x" * 40)
    raise ValueError("a message that is longer than any column has room for: " + "y" * 200)

job()
"""

SLOW = """
import sys
from holter import flow, task

@task
def step():
    for row in sys.stdin:
        print(row.strip(), flush=True)

@flow(log_prints=True)
def slow():
    step()
    sys.exit(int(sys.argv[1]))

slow()
"""


class User:
    """Somebody with a home and a keyboard."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.environ = {**os.environ, "HOLTER_HOME": str(place / "home"), "TERM": "xterm-256color"}
        for name in ("NO_COLOR", "HOLTER_BACKEND", "HOLTER_CONFIG", "COLUMNS", "FORCE_COLOR"):
            self.environ.pop(name, None)

    def start(self, code: str, *args: str, **more: Any) -> subprocess.Popen[str]:
        path = self.place / "script.py"
        path.write_text(code)
        return subprocess.Popen([sys.executable, str(path), *args], env=self.environ, text=True, **more)

    def script(self, code: str, *args: str) -> int:
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with self.start(code, *args, **quiet) as process:
            return process.wait(60)

    def types(self, *args: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [HOLTER, *args], check=False, env=self.environ | more, capture_output=True, text=True, timeout=60
        )

    def json(self, *args: str) -> Any:
        return json.loads(self.types(*args, "--json").stdout)

    def sees(self, *args: str, columns: int = 80, **more: str) -> str:
        """What a terminal of so many columns gets."""
        main, sub = pty.openpty()
        ioctl(sub, TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        process = subprocess.Popen(
            [HOLTER, *args], env=self.environ | more, stdin=sub, stdout=sub, stderr=subprocess.DEVNULL
        )
        os.close(sub)
        said = b""
        try:
            while select.select([main], [], [], 60)[0]:
                said += (data := os.read(main, 65536))
                if not data:
                    break
        except OSError:  # Linux says so when the other side is closed
            pass
        finally:
            os.close(main)
            process.wait(60)
        return said.decode().replace("\r\n", "\n")


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def wait_for(look: Callable[[], Any], seconds: float = 20.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def test_a_plain_script_is_recorded_without_any_configuration(user: User) -> None:
    assert user.script(HELLO) == 0
    (run,) = user.json("runs")
    assert (run["name"], run["state"]) == ("Hello World!", "COMPLETED")
    (task,) = user.json("runs", "--kind", "task")
    assert task["parameters"] == {"name": "Marvin"}
    assert task["parent_id"] == task["root_id"] == run["id"]
    assert [line["text"] for line in user.json("logs", "last")] == ["Hello Marvin!"]
    assert "Hello Marvin!" in user.types("logs", run["id"][:12]).stdout


def test_in_a_terminal_of_80_columns_every_line_fits_and_ids_are_whole(user: User) -> None:
    user.script(HELLO)
    user.script(LONG)
    ids = [run["id"] for run in user.json("runs")]
    for args in (["runs"], ["show", "last"], ["report"], ["status"], ["runs", "--kind", "task"], ["doctor"]):
        shown = user.sees(*args)
        plain = ESCAPE.sub("", shown)
        assert "\x1b[" in shown, args
        assert max(map(len, plain.splitlines())) <= 80, args
        if args[0] == "runs" and len(args) == 1:
            assert all(run_id in plain for run_id in ids)


def test_colours_are_left_out_where_the_reader_asks_for_that(user: User) -> None:
    user.script(HELLO)
    for args in (["runs"], ["show", "last"], ["logs", "last"], ["status"]):
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", user.sees(*args, NO_COLOR="1")), args
        assert "\x1b" not in user.types(*args).stdout


def test_in_a_pipe_nothing_is_cut_and_nothing_is_padded(user: User) -> None:
    user.script(LONG)
    rows = user.types("runs").stdout.splitlines()
    assert LONG_NAME in rows[1] and "y" * 200 in rows[1]
    assert rows == [row.rstrip() for row in rows]
    assert LONG_NAME in user.types("report").stdout
    assert "y" * 200 in user.types("status").stdout


def test_a_reader_that_goes_away_is_no_error(user: User) -> None:
    user.script(LONG)
    for verb in ("logs last", "logs last --json", "runs", "show last --json"):
        piped = f"{HOLTER} {verb} | head -n 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
        result = subprocess.run(
            ["bash", "-c", piped], check=False, env=user.environ, capture_output=True, text=True, timeout=60
        )
        assert result.returncode in (0, 141), verb
        assert [row for row in result.stderr.splitlines() if "nobody watches" not in row] == []


def test_a_closed_stdout_or_stderr_is_no_error(user: User) -> None:
    user.script(HELLO)
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        for verb, code in (
            ("runs", 0),
            ("logs last", 0),
            ("status", 0),
            ("show nope", 2),
            ("run -- true", 0),
        ):
            result = subprocess.run(
                ["bash", "-c", f"{HOLTER} {verb} {closed}"],
                check=False,
                env=user.environ,
                capture_output=True,
                timeout=60,
            )
            assert result.returncode == code, (verb, closed, result.stderr)


def test_logs_f_prints_lines_as_they_come_and_exits_with_the_code_of_the_run(user: User) -> None:
    quiet: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    with user.start(SLOW, "4", **quiet) as job:
        assert job.stdin is not None
        run = wait_for(lambda: user.json("runs"))[0]
        with subprocess.Popen(
            [HOLTER, "logs", "-f", run["id"]],
            env=user.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as reader:
            assert reader.stdout is not None
            for word in ("first", "second"):
                job.stdin.write(f"{word}\n")
                job.stdin.flush()
                assert word in reader.stdout.readline()
            job.stdin.close()
            assert reader.wait(30) == 4
            assert reader.stdout.read() == ""


def test_a_killed_run_is_crashed_at_the_next_look_and_ends_a_reader_with_1(user: User) -> None:
    quiet: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    with user.start(SLOW, "0", **quiet) as job:
        run = wait_for(lambda: user.json("runs", "--kind", "flow"))[0]
        with subprocess.Popen(
            [HOLTER, "logs", "-f", run["id"]], env=user.environ, stderr=subprocess.DEVNULL
        ) as reader:
            job.kill()
            assert reader.wait(30) == 1
        assert {each["state"] for each in user.json("runs", "--kind", "flow", "--kind", "task")} == {
            "CRASHED"
        }


def test_ctrl_c_ends_a_reader_quietly_with_130(user: User) -> None:
    quiet: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    with user.start(SLOW, "0", **quiet) as job:
        assert job.stdin is not None
        run = wait_for(lambda: user.json("runs"))[0]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([HOLTER, "logs", "-f", run["id"]], env=user.environ, **pipes) as reader:
            job.stdin.write("here\n")
            job.stdin.flush()
            assert reader.stdout is not None and reader.stderr is not None
            assert "here" in reader.stdout.readline()
            reader.send_signal(signal.SIGINT)
            assert reader.wait(30) == 130
            assert "Traceback" not in reader.stderr.read()
        job.kill()


def test_a_command_is_recorded_with_its_code_and_both_streams(user: User) -> None:
    result = user.types("run", "--name", "both", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.returncode, result.stdout, result.stderr) == (3, "out\n", "err\n")
    (run,) = user.json("runs")
    assert (run["kind"], run["name"], run["state"], run["exit_code"]) == ("command", "both", "FAILED", 3)
    assert {(line["stream"], line["text"]) for line in user.json("logs", "last:both")} == {
        ("stdout", "out"),
        ("stderr", "err"),
    }
    assert user.types("logs", "-f", "last").returncode == 3


def test_options_after_the_command_are_the_commands_own(user: User) -> None:
    result = user.types("run", "echo", "--name", "-n", "--json")
    assert (result.returncode, result.stdout) == (0, "--name -n --json\n")


def test_the_shell_completes_verbs_and_options(user: User) -> None:
    asked = {"_HOLTER_COMPLETE": "bash_complete", "COMP_WORDS": "holter ru", "COMP_CWORD": "1"}
    assert user.types(**asked).stdout.split() == ["plain,run", "plain,runs"]
    asked["COMP_WORDS"], asked["COMP_CWORD"] = "holter runs --js", "2"
    assert user.types(**asked).stdout.split() == ["plain,--json"]


def test_a_terminal_that_knows_no_signs_still_gets_its_table(user: User) -> None:
    user.script(HELLO)
    result = user.types("runs", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert result.returncode == 0
    assert "+ COMPLETED" in result.stdout


def test_a_verb_loads_only_what_it_needs(user: User) -> None:
    user.script(HELLO)
    heavy = {
        "rich",
        "attrs",
        "cattrs",
        "yaml",
        "loguru",
        "sqlite_utils",
        "cronsim",
        "asyncio",
        "apprise",
    }

    def loaded(*args: str) -> set[str]:
        code = "import sys\nsys.argv[0] = 'holter'\nfrom holter.cli import main\ntry:\n    main()\n" + (
            "finally:\n    sys.stderr.write('MODULES ' + ' '.join(sys.modules))"
        )
        result = subprocess.run(
            [sys.executable, "-c", code, *args], check=True, env=user.environ, capture_output=True, text=True
        )
        return heavy & set(result.stderr.partition("MODULES ")[2].split())

    assert loaded("--help") == set()
    assert loaded("run", "--", "true") == set()
    assert loaded("runs", "--json") == {"attrs"}
    assert loaded("logs", "last") == {"attrs"}
    assert loaded("runs") == {"attrs", "rich"}


@pytest.mark.parametrize("args", [["--help"], ["runs"], ["show", "last"], ["status"]])
def test_a_verb_costs_less_than_a_quarter_second_of_processor(user: User, args: list[str]) -> None:
    """On a machine whose bare interpreter takes some 9 ms of it; on others in that ratio."""
    user.script(HELLO)

    def cost(*command: str) -> float:
        with subprocess.Popen(
            command, env=user.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime

    bare = min(cost(sys.executable, "-c", "pass") for _ in range(5))
    assert min(cost(HOLTER, *args) for _ in range(5)) <= 28 * bare
