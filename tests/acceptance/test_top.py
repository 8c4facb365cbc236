"""`holter top` and `holter show` in a real terminal: what is on the screen, what the keys do, what is left behind."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from fcntl import ioctl
from struct import pack
from typing import Any

import pyte
import pytest

from tests.acceptance.conftest import HOLTER, Host, wait_until

TALKS = """
import sys, time
from holter import concurrency, flow, progress, task

@task
def reads():
    for number in progress(range(4000, 10_000), total=10_000):  # far longer than the tests take
        print("reads row", number, "\\x1b[31m in red", flush=True)
        time.sleep(0.2)

@flow(name=sys.argv[1], log_prints=True)
def job():
    with concurrency("database"):
        reads()

job()
"""
STEPS = """
import time
from holter import flow, task

@task(retries=1, retry_delay_seconds=0.1)
def flaky(tried=[]):
    tried.append(1)
    time.sleep(0.1)
    if len(tried) == 1:
        raise OSError("reset by peer")

@task
def last():
    time.sleep(0.2)

@flow(name="stepwise")
def job():
    flaky()
    last()

job()
"""


class Terminal:
    """A command in a terminal of its own, and what somebody sees there."""

    def __init__(self, command: list[str], env: dict[str, str], columns: int = 80, lines: int = 24) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._mine, self._its = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._its)
        self.raw = b""
        kept = {
            name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")
        }  # of who runs the tests
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],  # it is its controlling terminal, which tells it of a new size
            stdin=self._its,
            stdout=self._its,
            stderr=self._its,
            env={**kept, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
        )

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        ioctl(self._its, termios.TIOCSWINSZ, pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._mine, keys.encode())

    @property
    def rows(self) -> list[str]:
        """The screen as it is now."""
        with suppress(OSError):  # the other end is closed
            while select.select([self._mine], [], [], 0.01)[0]:
                data = os.read(self._mine, 65536)
                self.raw += data
                self._stream.feed(data)
        return [row.rstrip() for row in self.screen.display]

    def sees(self, *parts: str) -> list[str]:
        """The screen, as soon as all parts are on it."""

        def there() -> list[str]:
            rows = self.rows
            return rows if all(part in "\n".join(rows) for part in parts) else []

        try:
            return list(wait_until(there, f"{parts} on the screen"))
        except BaseException:
            raise AssertionError("\n".join([f"{parts} not in:", *self.rows])) from None

    def ends(self) -> int:
        wait_until(lambda: self.rows and self.process.poll() is not None, "its end")
        return self.process.wait()

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was: settings, cursor, the screen that was there."""
        assert self.rows
        left = self.raw.rfind(b"\x1b[?1049l") > self.raw.rfind(b"\x1b[?1049h") >= 0
        shown = self.raw.rfind(b"\x1b[?25h") > self.raw.rfind(b"\x1b[?25l")
        return left and shown and termios.tcgetattr(self._its) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._mine)
        os.close(self._its)


@pytest.fixture
def terminal(busy: Host) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def start(*args: str, host: Host = busy, **more: Any) -> Terminal:
        made.append(Terminal([*HOLTER, *args], host.env, **more))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host where `stepwise` has ended, `talks` holds the only slot, and `waits` waits for it."""
    host = Host(tmp_path_factory.mktemp("busy"))
    host.settings("limits: {database: 1}\n")
    assert host.run(host.script(STEPS)).code == 0
    script = host.script(TALKS)
    host.start(script, "talks")
    wait_until(lambda: any(run.name == "reads" for run in host.runs()), "the first reader")
    host.start(script, "waits")
    wait_until(lambda: any(run.name == "waits" for run in host.runs()), "the second reader")
    yield host
    host.close()


def test_the_list_tells_what_runs_and_keys_open_follow_and_go_back(terminal: Callable[..., Terminal]) -> None:
    window = terminal("top")
    rows = window.sees(
        "RUNNING 2", "talks", "waits", "ENDED", "stepwise", "SLOTS 1 in use", "held by talks", "%"
    )
    assert rows[0].startswith("holter top") and "nobody watches" in rows[1]
    assert next(row for row in rows if " waits  " in row).startswith("▸ ! waits")
    assert "q quit" in rows[23]

    window.press("j")
    window.sees("▸ ▶ RUNNING")
    window.press("\r")
    window.sees("talks", "RUNNING for", "Steps", "reads", "█ ran")
    window.press("l")
    window.sees("reads row", "in red", "It goes on.")
    seen = max(int(row.split()[-3]) for row in window.rows if "in red" in row)
    window.sees(f"reads row {seen + 2} ")  # it follows
    assert b"\x1b[31m in red" not in window.raw  # what was printed does not colour the reader's screen
    window.press("q")
    window.sees("RUNNING for")
    window.press("\x1b")
    window.sees("RUNNING 2")
    window.press("?")
    window.sees("scroll in a run")
    window.press("?")

    window.press("q")
    assert window.ends() == 0 and window.restored


def test_another_size_of_the_window_is_drawn_at_once(terminal: Callable[..., Terminal]) -> None:
    window = terminal("top", "--interval", "1h")
    window.sees("RUNNING 2", "q quit")
    window.resize(40, 15)
    rows = window.sees("RUNNING 2", "talks", "c cancel  ? q")
    assert len(rows) == 15 and "held by" in "".join(rows) and rows[14].endswith("? q")
    window.resize(120, 30)
    rows = window.sees("RUNNING 2", "for a slot of database", "q quit")
    assert rows[29].endswith("q quit") and rows[0].rstrip()[-8:].count(":") == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_gives_the_terminal_back(
    terminal: Callable[..., Terminal], number: signal.Signals, code: int
) -> None:
    window = terminal("top")
    window.sees("RUNNING 2")
    assert not window.restored
    window.process.send_signal(number)
    assert window.ends() == code and window.restored


def test_a_store_that_goes_away_leaves_the_last_picture_and_since_when(new_host: Any, terminal: Any) -> None:
    host = new_host()
    assert host.run(host.script(STEPS)).code == 0
    host.catch_up()
    host.store.close()
    window = terminal("top", host=host)
    window.sees("stepwise", "nothing now")
    store = host.home / "holter.db"
    whole = store.read_bytes()
    store.write_bytes(b"no database" * 100)
    window.sees("stale since", "stepwise")
    store.write_bytes(whole)
    wait_until(lambda: "stale" not in "\n".join(window.rows), "the store to be back")
    window.press("q")
    assert window.ends() == 0 and window.restored


def test_cancel_asks_first_and_then_ends_the_run(busy: Host, terminal: Callable[..., Terminal]) -> None:
    window = terminal("top", "--job", "talks")
    window.sees("RUNNING 1", "talks")
    window.press("c")
    window.sees("Cancel talks and all that it started? y/n")
    window.press("n")
    window.sees("q quit")
    assert busy.seen(job="talks")[0].state == "RUNNING"
    window.press("cy")
    window.sees("is CANCELLED", "RUNNING nothing now", "ENDED")
    assert "from holter top" in str(busy.seen(job="talks")[0].reason)
    window.press("c")
    window.sees("talks has ended already: CANCELLED")


def test_without_a_terminal_it_prints_one_plain_picture(busy: Host) -> None:
    done = busy.holter("top", "--job", "step*")
    assert done.code == 0 and "\x1b" not in done.out
    assert done.out.splitlines()[2:4] == ["RUNNING nothing now", "ENDED"]
    picture = busy.json("top", "--job", "step*")
    assert [each["name"] for each in picture["recent"]] == ["stepwise"] and picture["watched"] is False


def test_show_draws_the_waterfall_as_wide_as_the_window(terminal: Callable[..., Terminal]) -> None:
    rows = terminal("show", "last:stepwise").sees("█ ran  ▓ failed", "· before the next attempt")
    flaky, last = (next(row for row in rows if row.startswith(f"  {name}")) for name in ("flaky", "last"))
    assert "▓·" in flaky.replace("▓▓", "▓") and "·█" in flaky
    assert flaky.index("█") < last.index("█") and all(len(row) <= 80 for row in rows)
    assert last.rstrip().endswith(".2")
    wide = terminal("show", "last:stepwise", columns=200, lines=30).sees("█ ran  ▓ failed", "COMPLETED")
    last = next(row for row in wide if row.startswith("  last"))
    assert "✔ COMPLETED" in last and last.count("█") > 15 and max(map(len, wide)) > 80


def test_watch_draws_again_until_ctrl_c_and_once_in_a_pipe(
    busy: Host, terminal: Callable[..., Terminal]
) -> None:
    window = terminal("runs", "--watch", "1", "--job", "new")
    window.sees("No run matches.")
    assert busy.holter("run", "--name", "new", "--", "true").code == 0
    rows = window.sees("COMPLETED")
    assert "No run matches." not in "".join(rows)
    window.press("\x03")
    assert window.ends() == 130
    assert busy.holter("status", "--watch").out.count("stepwise") == 1


def test_colours_go_where_they_are_forced_and_nowhere_where_they_are_not_wanted(
    busy: Host, terminal: Callable[..., Terminal]
) -> None:
    assert "\x1b[32m" in busy.holter("report", FORCE_COLOR="1").out
    assert "\x1b" not in busy.holter("report", FORCE_COLOR="1", NO_COLOR="1").out
    table = busy.holter("runs", "--format", "markdown", "--job", "stepwise").out.splitlines()
    assert table[2].startswith("| ") and "| stepwise |" in table[2] and len(table) == 3
