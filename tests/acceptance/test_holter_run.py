"""`holter run -- cmd` with real commands: their exit code, output and signals are theirs, and the record is whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Host = Any  # a HOLTER_HOME of its own and what one does there: see conftest
Until = Callable[..., Any]
HOLTER = str(Path(sys.executable).with_name("holter"))
WAIT = "while [ ! -e go ]; do sleep 0.02; done"  # until the test says go


def sh(script: str) -> tuple[str, ...]:
    return ("--", "sh", "-c", script)


def py(script: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-c", script)


def only(host: Host) -> Any:
    (run,) = host.runs()
    return run


def said(host: Host, run: Any, stream: str = "stdout") -> list[str]:
    return [log.text for log in host.logs(run) if log.stream == stream]


def started(host: Host, *args: str) -> subprocess.Popen[str]:
    return host.spawn([HOLTER, "run", *args])


def alive(pid: int) -> bool:
    """Whether this process lives (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rfind(")") + 2] not in "ZX"


def first_line(process: subprocess.Popen[str]) -> str:
    """What a command says first: it has started, and its handlers are installed."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def piped(host: Host, *args: str, data: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    """`holter run` with bytes on its stdin and bytes from its stdout and stderr."""
    command = [HOLTER, "run", *args]
    return subprocess.run(
        command,
        input=data,
        capture_output=True,
        cwd=host.folder,
        env={**host.env, **env},
        check=False,
        timeout=60,
    )


# --- exit codes and what is recorded -------------------------------------------------------------------------


def test_a_failed_command_keeps_its_exit_code_and_both_streams(host: Host) -> None:
    done = host.holter("run", *sh("echo out; echo err >&2; exit 3"))
    assert (done.code, done.out, done.err) == (3, "out\n", "err\n")
    run = only(host)
    assert (run.kind, run.state, run.exit_code, run.reason) == ("command", "FAILED", 3, "exit code 3: err")
    assert run.error["type"] == "ExitCode"
    assert run.error["message"] == "err"
    assert {(log.stream, log.level, log.text) for log in host.logs(run)} == {
        ("stdout", "INFO", "out"),
        ("stderr", "WARNING", "err"),
    }


def test_people_are_told_the_exit_code_of_a_failed_command_and_what_it_said_last(host: Host) -> None:
    host.holter("run", "--name", "job", "--retries", "1", *sh("echo no such table >&2; exit 3"))
    for verb, told in ("runs", 1), ("show", 3):  # as its error, and of both attempts
        out = host.holter(verb, *(["last"] if verb == "show" else [])).out
        assert out.count("exit code 3: no such table") == told, out
        assert "ExitCode" not in out


def test_a_command_that_works_is_recorded_with_its_words_its_folder_and_what_it_used(host: Host) -> None:
    host.script("import sys; sum(range(3_000_000)); x = bytearray(60_000_000)\n")
    done = host.holter(
        "run",
        "--name",
        "sums",
        "--tag",
        "nightly",
        "--tag",
        "eu",
        "--",
        sys.executable,
        "job.py",
        "--password",
        "s3cret-word",
    )
    assert (done.code, done.out, done.err) == (0, "", "")
    run = only(host)
    assert (run.name, run.state, run.exit_code, run.reason) == ("sums", "COMPLETED", 0, None)
    assert run.tags == ("nightly", "eu")
    assert run.argv == (sys.executable, "job.py", "--password", "***")
    assert run.cwd == str(host.folder)
    assert run.code["file"] == str(host.folder / "job.py")
    assert 0.01 < run.usage["cpu_seconds"] < 20
    assert 60_000_000 < run.usage["max_rss_bytes"] < 200_000_000


def test_failures_of_the_same_kind_have_the_same_fingerprint(host: Host) -> None:
    for message, code in (
        ("row 17 is bad", 1),
        ("row 4 is bad", 1),
        ("no such table", 1),
        ("row 4 is bad", 2),
    ):
        host.holter("run", *sh(f"echo {message} >&2; exit {code}"))
    prints = [run.error["fingerprint"] for run in host.runs()]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_what_cannot_be_started_is_126_or_127_and_recorded(host: Host) -> None:
    (host.folder / "data").write_text("not a program")
    missing = host.holter("run", "--", "no-such-command", "x")
    refused = host.holter("run", "--", "./data")
    assert (missing.code, missing.err) == (127, "holter: command not found: no-such-command\n")
    assert (refused.code, refused.err) == (126, "holter: cannot execute ./data: Permission denied\n")
    first, second = host.runs()
    assert (first.state, first.exit_code, first.reason) == (
        "FAILED",
        127,
        "command not found: no-such-command",
    )
    assert (second.state, second.exit_code) == ("FAILED", 126)


def test_a_script_without_an_interpreter_line_runs_in_sh_as_it_does_from_a_shell(host: Host) -> None:
    script = host.folder / "plain"
    script.write_text("echo in $0 with $1\n")
    script.chmod(0o755)
    assert host.holter("run", "--", "./plain", "word").out == "in ./plain with word\n"


def test_a_command_that_dies_by_a_signal_is_crashed_and_the_exit_code_says_which(host: Host) -> None:
    assert host.holter("run", *sh("kill -9 $$")).code == 137
    assert host.holter("run", *sh("kill -SEGV $$")).code == 139
    killed, fault = host.runs()
    assert (killed.state, killed.signal, killed.exit_code) == ("CRASHED", "SIGKILL", 137)
    assert killed.reason == "killed by SIGKILL (out of memory, or somebody's kill -9)"
    assert (fault.state, fault.signal) == ("CRASHED", "SIGSEGV")


# --- output --------------------------------------------------------------------------------------------------


def test_output_goes_through_byte_for_byte_also_where_it_is_no_text(host: Host) -> None:
    noise = bytes(range(256)) * 500 + b"\xff\xfe\r\n\0 end without newline"
    done = piped(host, "--", "sh", "-c", "tee /dev/stderr", data=noise)
    assert (done.returncode, done.stdout, done.stderr) == (0, noise, noise)
    assert said(host, only(host))[-1].endswith(" end without newline")


def test_ten_thousand_quick_lines_are_recorded_in_order(host: Host) -> None:
    done = host.holter("run", *sh("seq 1 10000"))
    expected = [str(number) for number in range(1, 10_001)]
    assert done.out.split() == expected
    assert said(host, only(host)) == expected


def test_output_is_passed_on_and_recorded_while_the_command_runs(host: Host, until: Until) -> None:
    process = started(host, *sh(f"echo begun; {WAIT}"))
    assert first_line(process) == "begun"
    (run,) = until(host.runs, "the run")
    until(lambda: host.catch_up() and said(host, run) == ["begun"], "the first line")
    assert run.state == "RUNNING"
    (host.folder / "go").touch()
    assert process.wait(20) == 0


def test_a_python_that_leaves_by_the_back_door_loses_no_print(host: Host) -> None:
    del host.env["PYTHONUNBUFFERED"]
    done = host.holter("run", *py("print('kept'); import os; os._exit(1)"))
    assert (done.code, done.out) == (1, "kept\n")
    assert said(host, only(host)) == ["kept"]


def test_200_mb_of_output_take_bounded_memory_and_lose_neither_head_nor_tail(
    host: Host, figures: Callable[..., None]
) -> None:
    flood = """
    line = "%07d a line of output of eighty characters or so, as programs use to print them, n\\n"
    import sys
    for start in range(0, 2_400_000, 10_000):
        sys.stdout.write("".join(line % number for number in range(start, start + 10_000)))
        if start == 1_200_000:
            print("ERROR: the line that everybody looks for")
    """
    host.script(flood, "flood.py")
    host.holter("run", "--", "true")  # makes the store, which takes memory of its own
    quiet, _, _ = peak(host, "--", "true")
    loud, seconds, size = peak(host, "--", sys.executable, "flood.py")
    plain_seconds = peak_of([sys.executable, "flood.py"], host)[1]
    assert size == 2_400_000 * 86 + len("ERROR: the line that everybody looks for\n")
    run = host.runs()[-1]
    lines = said(host, run)
    assert [int(line[:7]) for line in lines[:60_000]] == list(range(60_000))
    assert [int(line[:7]) for line in lines[-10_000:]] == list(range(2_390_000, 2_400_000))
    assert "ERROR: the line that everybody looks for" in lines
    assert len(lines) + run.dropped["lines"] == 2_400_001
    assert (
        f"{run.dropped['bytes']} bytes in {run.dropped['lines']} lines left out"
        in said(host, run, "holter")[-1]
    )
    figures(
        peak_mb=round(loud / 2**20, 1),
        more_than_for_a_quiet_command_mb=round((loud - quiet) / 2**20, 1),
        seconds=round(seconds, 2),
        without_holter_seconds=round(plain_seconds, 2),
        lines_kept=len(lines),
    )
    assert loud - quiet < 30 * 2**20
    assert seconds < plain_seconds + 15


def peak(host: Host, *args: str) -> tuple[int, float, int]:
    """`holter run`: its own peak of memory in bytes (not its command's), seconds, and bytes of output."""
    program = f"""
import atexit, runpy, sys
sys.argv = ["holter", "run", *{list(args)!r}]
def tell():
    status = open("/proc/self/status").read()  # getrusage would count what our own process had before its exec
    open("peak", "w").write(str(1024 * int(status.partition("VmHWM:")[2].split()[0])))
import threading, holter.agent.recorder  # so that ours is the first to be registered, and the last to be called
atexit.register(tell)
runpy.run_path({HOLTER!r}, run_name="__main__")
"""
    _, seconds, size = peak_of([sys.executable, "-c", program], host)
    return int((host.folder / "peak").read_text()), seconds, size


def peak_of(command: list[str], host: Host) -> tuple[int, float, int]:
    began, size = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=host.folder, env=host.env) as process:
        assert process.stdout is not None
        while data := process.stdout.read(2**20):
            size += len(data)
    assert process.returncode == 0
    return 0, time.perf_counter() - began, size


def test_a_reader_that_goes_away_ends_neither_the_command_nor_the_record(host: Host) -> None:
    script = "echo first; sleep 0.3; for n in 1 2 3 4 5; do echo $n; echo e$n >&2; done; echo done > finished; exit 4"
    process = started(host, *sh(script))
    assert first_line(process) == "first"
    process.stdout.close()
    assert process.wait(20) == 4
    process.stdout = None
    assert (host.folder / "finished").exists()
    assert said(host, only(host)) == ["first", "1", "2", "3", "4", "5"]


def test_a_closed_stdout_does_not_become_somebody_elses_file(host: Host) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{HOLTER} run -- sh -c 'echo out; echo err >&2; exit 5' >&- 2>&- <&-"],
        env=host.env,
        cwd=host.folder,
        check=False,
    )
    assert done.returncode == 5
    run = only(host)
    assert (run.state, said(host, run), said(host, run, "stderr")) == ("FAILED", ["out"], ["err"])


def test_a_process_left_behind_with_the_pipe_does_not_hold_us_up(host: Host) -> None:
    done = host.holter("run", *sh("sleep 60 & echo $!"))
    pid = int(done.out)
    try:
        assert done.code == 0
        assert done.seconds < 20
        assert alive(pid)  # what a command leaves behind on purpose is its own business
    finally:
        os.kill(pid, signal.SIGKILL)
    assert only(host).state == "COMPLETED"


def test_stdin_is_the_commands(host: Host) -> None:
    done = piped(host, "--", "sh", "-c", "read one; echo got $one; cat", data=b"line\nthe rest")
    assert done.stdout == b"got line\nthe rest"


# --- the time limit ------------------------------------------------------------------------------------------


def test_a_time_out_leaves_no_grandchild(host: Host) -> None:
    script = """
    sleep 9999 & echo $! >> pids
    setsid sleep 9999 & echo $! >> pids
    (setsid sh -c 'echo $$ >> pids; sleep 9999' &)
    echo ready; sleep 9999
    """
    done = host.holter("run", "--timeout", "1s", *sh(script))
    pids = [int(pid) for pid in (host.folder / "pids").read_text().split()]
    assert len(pids) == 3
    assert [pid for pid in pids if alive(pid)] == []
    assert (done.code, done.out) == (124, "ready\n")
    run = only(host)
    assert (run.state, run.exit_code, run.reason) == ("TIMED_OUT", 124, "ran longer than 1 s")


def test_a_time_out_gives_five_seconds_to_end_well_and_not_more(host: Host) -> None:
    stubborn = "trap '' TERM; sleep 60 & echo $! > pid; echo ready; wait; wait; wait; sleep 60"
    done = host.holter("run", "--timeout", "500ms", *sh(stubborn))
    assert done.code == 124
    assert 5 < done.seconds < 20
    assert not alive(int((host.folder / "pid").read_text()))
    assert only(host).signal == "SIGKILL"


def test_last_words_after_a_time_out_are_kept(host: Host) -> None:
    polite = "trap 'echo cleaning up; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    done = host.holter("run", "--timeout", "500ms", *sh(polite))
    assert (done.code, done.out) == (124, "ready\ncleaning up\n")
    run = only(host)
    assert (run.state, said(host, run)) == ("TIMED_OUT", ["ready", "cleaning up"])


def test_a_time_out_reaches_a_command_whose_reader_does_not_read(host: Host, until: Until) -> None:
    script = "echo $$ > pid; yes"
    process = started(host, "--timeout", "1s", *sh(script))
    pid = int(
        until(lambda: (host.folder / "pid").exists() and (host.folder / "pid").read_text(), "the command")
    )
    until(lambda: not alive(pid), "the end of the command")
    assert process.poll() is None  # it still has something to say to us
    process.stdout.read()
    assert process.wait(20) == 124


def test_a_time_out_spares_what_we_did_not_start(host: Host) -> None:
    script = f"sleep 60 & echo $! > pid; exec {HOLTER} run --timeout 500ms -- sleep 60"
    done = subprocess.run(
        ["sh", "-c", script], env=host.env, cwd=host.folder, stdout=subprocess.DEVNULL, check=False
    )
    pid = int((host.folder / "pid").read_text())
    try:
        assert done.returncode == 124
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


# --- signals -------------------------------------------------------------------------------------------------


LISTENER = """
import signal, sys
def heard(number, frame):
    print(signal.Signals(number).name)
    if number == signal.SIGTERM:
        sys.exit(7)
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGWINCH, signal.SIGTERM):
    signal.signal(number, heard)
print("ready")
while True:
    signal.pause()
"""


def test_signals_are_passed_on_and_the_command_has_the_last_word(host: Host) -> None:
    process = started(host, *py(LISTENER))
    assert first_line(process) == "ready"
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGWINCH, signal.SIGTERM):
        process.send_signal(number)
        assert first_line(process) == number.name
    assert process.wait(20) == 7
    run = only(host)
    assert (run.state, run.exit_code, run.reason) == ("FAILED", 7, "exit code 7 after SIGTERM")


@pytest.mark.parametrize(
    ("number", "state", "reason"),
    [
        (signal.SIGTERM, "CRASHED", "terminated by SIGTERM"),
        (signal.SIGHUP, "CRASHED", "terminated by SIGHUP"),
        (signal.SIGINT, "CANCELLED", "interrupted (Ctrl-C)"),
    ],
)
def test_a_signal_reaches_the_whole_group_and_is_the_ending(
    host: Host, until: Until, number: signal.Signals, state: str, reason: str
) -> None:
    process = started(
        host, *py("import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid); p.wait()")
    )
    grandchild = int(first_line(process))
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    until(lambda: not alive(grandchild), "the end of the grandchild")
    run = only(host)
    assert (run.state, run.signal, run.exit_code, run.reason) == (state, number.name, 128 + number, reason)


def test_a_signal_that_our_caller_ignores_stays_ignored(host: Host) -> None:
    process = host.spawn(
        ["sh", "-c", f"trap '' HUP; exec {HOLTER} run -- sh -c 'echo ready; sleep 0.5; echo fine'"]
    )
    assert first_line(process) == "ready"
    process.send_signal(signal.SIGHUP)
    assert process.wait(20) == 0
    assert only(host).state == "COMPLETED"


def test_after_kill_9_of_holter_itself_the_run_is_open_until_somebody_looks_and_the_command_goes_on(
    host: Host, until: Until
) -> None:
    process = started(host, *sh("echo $$; while [ ! -e stop ]; do sleep 0.02; done; echo done > finished"))
    command = int(first_line(process))
    until(
        lambda: any(b'"text":"' in path.read_bytes() for path in host.journals()), "the line in the journal"
    )
    process.kill()
    process.wait(20)
    (journal,) = host.journals()
    events = [json.loads(line)["event"] for line in journal.read_bytes().splitlines()]
    assert events[:3] == ["process", "start", "log"]
    assert "end" not in events
    assert alive(command)
    run = only(host)
    assert (run.state, said(host, run)) == ("CRASHED", [str(command)])
    (host.folder / "stop").touch()  # it goes on unrecorded, until it says something
    until(lambda: (host.folder / "finished").exists(), "the end of the command's work")


# --- retries -------------------------------------------------------------------------------------------------


COUNT = "echo x >> tries; n=$(wc -l < tries); echo try $n; "


def test_a_command_that_crashes_is_started_again_within_the_same_run(host: Host) -> None:
    done = host.holter(
        "run", "--retries", "3", "--retry-on", "crash", *sh(COUNT + "[ $n = 3 ] || kill -9 $$")
    )
    assert (done.code, done.out) == (0, "try 1\ntry 2\ntry 3\n")
    run = only(host)
    assert (run.state, run.attempt) == ("COMPLETED", 3)
    assert [attempt["reason"] for attempt in run.attempts[:2]] == [
        "killed by SIGKILL (out of memory, or somebody's kill -9)"
    ] * 2
    assert said(host, run) == ["try 1", "try 2", "try 3"]


def test_retries_end_with_the_last_attempts_exit_code(host: Host) -> None:
    done = host.holter(
        "run", "--retries", "2", "--retry-delay", "100ms", *sh(COUNT + "echo no $n >&2; exit $n")
    )
    assert (done.code, done.err) == (3, "no 1\nno 2\nno 3\n")
    assert done.seconds > 0.2
    run = only(host)
    assert (run.state, run.exit_code, run.error["message"]) == ("FAILED", 3, "no 3")
    assert [attempt["error"]["message"] for attempt in run.attempts] == ["no 1", "no 2", "no 3"]


@pytest.mark.parametrize(
    ("on", "script", "tries"),
    [
        ("crash", "exit 1", 1),
        ("exit:75", "exit 1", 1),
        ("exit:75,crash", "exit 75", 3),
        ("exit", "kill -9 $$", 1),
        ("timeout", "sleep 60", 3),
        ("any", "exit 0", 1),
    ],
)
def test_only_what_is_named_is_tried_again(host: Host, on: str, script: str, tries: int) -> None:
    host.holter("run", "--retries", "2", "--retry-on", on, "--timeout", "300ms", *sh(COUNT + script))
    assert only(host).attempt == tries


def test_nothing_of_an_attempt_is_left_when_the_next_begins(host: Host) -> None:
    script = (
        "for pid in $(cat pids 2>/dev/null); do grep -q 'State:.[RSD]' /proc/$pid/status && echo two at a time; done;"
        " sleep 60 & echo $! >> pids; exit 1"
    )
    done = host.holter("run", "--retries", "2", *sh(script))
    last = int((host.folder / "pids").read_text().split()[-1])
    os.kill(last, signal.SIGKILL)
    assert (done.code, done.out) == (1, "")


def test_a_signal_ends_the_wait_for_the_next_attempt(host: Host, until: Until) -> None:
    process = started(host, "--retries", "1", "--retry-delay", "60s", *sh("exit 1"))
    until(lambda: [run.state for run in host.runs()] == ["RETRYING"], "the wait")
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    run = only(host)
    assert (run.state, run.reason, run.attempt) == ("CRASHED", "terminated by SIGTERM", 1)


# --- nesting -------------------------------------------------------------------------------------------------


def test_flows_and_runs_inside_belong_to_the_run(host: Host) -> None:
    host.script(
        """
        from holter import flow, task

        @task
        def step():
            return 1

        @flow
        def inner():
            return step()

        inner()
        """
    )
    done = host.holter(
        "run", "--name", "outer", *sh(f"{sys.executable} job.py && {HOLTER} run --name nested -- true")
    )
    assert done.code == 0, done.err
    runs = {run.name: run for run in host.runs()}
    outer = runs["outer"]
    assert {name: run.state for name, run in runs.items()} == dict.fromkeys(runs, "COMPLETED")
    assert runs["inner"].parent_id == runs["nested"].parent_id == outer.id
    assert runs["step"].parent_id == runs["inner"].id
    assert {run.root_id for run in runs.values()} == {outer.id}


# --- limits --------------------------------------------------------------------------------------------------


def test_a_busy_limit_is_waited_for_skipped_or_a_failure(host: Host, until: Until) -> None:
    host.settings("limits: {db: 1}")
    first = started(host, "--name", "first", "--limit", "db", *sh(f"echo in; {WAIT}"))
    assert first_line(first) == "in"
    second = started(host, "--name", "second", "--limit", "db", *sh("echo in too"))
    until(lambda: host.states().get("second") == "PENDING", "the second one to wait")
    skipped = host.holter(
        "run", "--name", "third", "--limit", "db", "--on-busy", "skip", "--", "echo", "never"
    )
    failed = host.holter(
        "run", "--name", "fourth", "--limit", "db", "--on-busy", "fail", "--", "echo", "never"
    )
    assert (skipped.code, skipped.out, skipped.err) == (0, "", "")
    assert (failed.code, failed.out, failed.err) == (125, "", "holter: limit db is busy\n")
    (host.folder / "go").touch()
    assert (first.wait(20), second.wait(20)) == (0, 0)
    runs = {run.name: run for run in host.runs()}
    assert {name: run.state for name, run in runs.items()} == {
        "first": "COMPLETED",
        "second": "COMPLETED",
        "third": "SKIPPED",
        "fourth": "FAILED",
    }
    assert runs["third"].reason == runs["fourth"].reason == "limit db is busy"
    assert runs["fourth"].exit_code == 125
    assert runs["second"].slots[0]["waited"] > 0.05


def test_a_limit_may_be_made_on_the_spot_with_its_number_of_slots(host: Host) -> None:
    hold = sh(f"echo in; {WAIT}")
    first, second = (started(host, "--limit", "gpu:2", *hold) for _ in range(2))
    assert (first_line(first), first_line(second)) == ("in", "in")
    assert host.holter("run", "--limit", "gpu:2", "--on-busy", "fail", "--", "true").code == 125
    (host.folder / "go").touch()
    assert (first.wait(20), second.wait(20)) == (0, 0)


def test_a_limit_that_does_not_exist_is_refused_with_the_nearest_name_and_recorded(host: Host) -> None:
    host.settings("limits: {database: 1}")
    done = host.holter("run", "--limit", "databse", "--", "echo", "never")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'database'?" in done.err
    assert only(host).state == "FAILED"


def test_a_signal_ends_the_wait_for_a_slot(host: Host, until: Until) -> None:
    first = started(host, "--name", "first", "--limit", "db:1", *sh(f"echo in; {WAIT}"))
    assert first_line(first) == "in"
    second = started(host, "--name", "second", "--limit", "db:1", "--", "echo", "never")
    until(lambda: host.states().get("second") == "PENDING", "the second one to wait")
    second.send_signal(signal.SIGINT)
    assert second.wait(20) == 130
    assert host.states()["second"] == "CANCELLED"
    (host.folder / "go").touch()
    assert first.wait(20) == 0


# --- the environment -----------------------------------------------------------------------------------------


def test_an_environment_file_is_for_the_command_and_its_secrets_are_not_recorded(host: Host) -> None:
    (host.folder / "env").write_text("# for the job\nexport REGION='eu west'\nDB_PASSWORD=correct-horse\n")
    script = "echo $REGION $DB_PASSWORD; echo $DB_PASSWORD >&2; exit 1"
    done = host.holter("run", "--retries", "1", "--env-file", "env", *sh(script), "correct-horse")
    assert (done.out, done.err) == ("eu west correct-horse\n" * 2, "correct-horse\n" * 2)
    run = only(host)
    assert said(host, run) == ["eu west ***"] * 2
    assert (run.error["message"], run.reason, run.argv[-1]) == ("***", "exit code 1: ***", "***")
    assert b"correct-horse" not in b"".join(
        path.read_bytes() for path in host.home.rglob("*") if path.is_file()
    )


def test_a_missing_environment_file_is_our_own_failure(host: Host) -> None:
    done = host.holter("run", "--env-file", "none", "--", "echo", "never")
    assert (done.code, done.out) == (125, "")
    assert done.err == "holter: cannot read the environment file none: No such file or directory\n"
    run = only(host)
    assert (run.state, run.exit_code) == ("FAILED", 125)


# --- recording trouble ---------------------------------------------------------------------------------------


def test_trouble_with_recording_changes_neither_output_nor_exit_code(host: Host) -> None:
    (host.folder / "file").write_text("")
    command = sh("echo out; echo err >&2; exit 3")
    for trouble in (
        {"HOLTER_HOME": str(host.folder / "file")},
        {"HOLTER_BACKEND": "nonsense://x"},
        {"HOLTER_BACKEND": "off:"},
    ):
        done = host.holter("run", "--retries", "1", "--timeout", "20s", *command, **trouble)
        assert (done.code, done.out) == (3, "out\nout\n")
        lines = done.err.splitlines()
        assert lines.count("err") == 2
        assert len(lines) <= 3, "at most one line of ours"
