"""`holter watch` beside real processes: conditions that come and go, one watchdog per home, steps that fail."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest

QUICK = {"HOLTER_HEARTBEAT": "0.2"}
SETTINGS = """
    watchdog: {interval: 0.2}
"""
LIVES = """
    import os, sys, time
    from holter import flow, task, progress
    @task
    def work():
        print(os.getpid(), flush=True)
        while not os.path.exists("stop"): time.sleep(0.02)
    @flow(name="lives")
    def main(): work()
    main()
"""


def conditions(host: Any, name: str) -> set[str]:
    return {each for run in host.seen() if run.name == name for each in run.conditions}


def states_ever(host: Any) -> set[str]:
    return {row.to_state for row in host.store.transitions(0)}


@pytest.fixture
def host(new_host: Any) -> Any:
    made = new_host()
    made.settings(SETTINGS)
    return made


def test_a_stopped_process_is_unresponsive_until_it_goes_on_and_never_crashed(host: Any, until: Any) -> None:
    process = host.start(host.script(LIVES), **QUICK)
    pid = int(process.stdout.readline())
    with host.watching():
        until(lambda: host.seen(), "the run")
        os.kill(pid, signal.SIGSTOP)
        until(lambda: "unresponsive" in conditions(host, "lives"), "the condition")
        assert host.one("lives").state == "RUNNING"
        assert "not said a word" in host.one("lives").reason
        os.kill(pid, signal.SIGCONT)
        until(lambda: "unresponsive" not in conditions(host, "lives"), "the end of the condition")
        (host.folder / "stop").touch()
        assert process.wait(20) == 0
        until(lambda: host.one("lives").ended, "the ending")
    assert host.one("lives").state == "COMPLETED"
    assert "CRASHED" not in states_ever(host)


def test_a_stopped_process_that_is_killed_is_crashed(host: Any, until: Any) -> None:
    process = host.start(host.script(LIVES), **QUICK)
    pid = int(process.stdout.readline())
    with host.watching():
        os.kill(pid, signal.SIGSTOP)
        until(lambda: "unresponsive" in conditions(host, "lives"), "the condition")
        os.kill(pid, signal.SIGKILL)
        until(lambda: host.one("lives").state == "CRASHED", "the crash")
    assert conditions(host, "lives") == set()


def test_what_runs_too_long_is_overdue_and_what_does_not_move_is_stalled(host: Any, until: Any) -> None:
    script = host.script("""
        import os, time
        from holter import flow, task, progress
        @flow(name="slow", max_duration=0.4)
        def slow():
            while not os.path.exists("stop"): time.sleep(0.02)
        @flow(name="stuck", stall_after=0.6)
        def stuck():
            while not os.path.exists("move"): time.sleep(0.02)
            n = 0
            while not os.path.exists("stop"):
                progress(n := n + 1, 10_000)
                time.sleep(0.05)
        import threading
        crew = [threading.Thread(target=each) for each in (slow, stuck)]
        [each.start() for each in crew]
        [each.join() for each in crew]
    """)
    process = host.start(script, **QUICK)
    with host.watching():
        until(lambda: "overdue" in conditions(host, "slow"), "overdue")
        until(lambda: "stalled" in conditions(host, "stuck"), "stalled")
        assert "stalled" not in conditions(host, "slow") and "overdue" not in conditions(host, "stuck")
        (host.folder / "move").touch()
        until(lambda: "stalled" not in conditions(host, "stuck"), "the end of stalled")
        (host.folder / "stop").touch()
        assert process.wait(20) == 0
        until(lambda: host.one("slow").ended and host.one("stuck").ended, "the endings")
    assert host.states() == {"slow": "COMPLETED", "stuck": "COMPLETED"}
    assert conditions(host, "slow") == set()


def test_the_settings_overrule_what_the_decorator_expects(host: Any, until: Any) -> None:
    host.settings(SETTINGS + "    checks: {lives: {max_duration: 200ms}}\n")
    process = host.start(host.script(LIVES), **QUICK)
    process.stdout.readline()
    with host.watching():
        until(lambda: "overdue" in conditions(host, "lives"), "overdue")
    process.kill()


def test_a_locked_store_makes_nobody_unresponsive(host: Any, until: Any) -> None:
    """The script cannot ship and the watchdog cannot write; both live, and nobody may say otherwise."""
    process = host.start(host.script(LIVES), **QUICK)
    process.stdout.readline()
    with host.watching():
        until(lambda: host.seen(), "the run")
        holder = sqlite3.connect(host.home / "holter.db", isolation_level=None, timeout=20)
        holder.execute("BEGIN EXCLUSIVE")
        time.sleep(4)  # twenty heartbeats
        holder.execute("ROLLBACK")
        holder.close()
        until(lambda: max(each.beats for each in host.store.processes()) > 20, "the beats that waited")
        time.sleep(1)
        (host.folder / "stop").touch()
        assert process.wait(20) == 0
        until(lambda: host.one("lives").ended, "the ending")
    assert [row.condition for row in host.store.transitions(0) if row.condition] == []
    assert host.one("lives").state == "COMPLETED"


def test_one_home_has_one_watchdog(host: Any) -> None:
    with host.watching() as dog:
        second = host.holter("watch")
        assert (second.code, second.err.count("\n")) == (1, 1)
        assert "running already" in second.err
        assert host.holter("watch", "--once").code == 0
        assert dog.poll() is None
    with host.watching():
        pass


def test_sigterm_stops_it_cleanly_and_readers_are_told_that_nobody_watches(host: Any) -> None:
    host.run(host.script("from holter import flow\nflow(name='x')(lambda: None)()"))
    assert "holter watch" in host.holter("runs").err
    with host.watching() as dog:
        assert host.holter("runs").err == ""
        began = time.monotonic()
        dog.terminate()
        assert dog.wait(20) == 0
        assert time.monotonic() - began < 5
    assert "holter watch" in host.holter("runs").err
    assert host.journals() == []


def test_after_a_kill_the_next_watchdog_goes_on(host: Any, until: Any) -> None:
    victim = host.start(host.script(LIVES), **QUICK)
    victim.stdout.readline()
    with host.watching() as dog:
        dog.kill()
        dog.wait(20)
    victim.kill()
    victim.wait(20)
    with host.watching():
        until(lambda: host.one("lives").state == "CRASHED", "the crash")
        until(lambda: len(host.journals()) <= 1, "the first watchdog's journal to be cleared away")


def test_once_does_one_pass_and_leaves(host: Any, hook: Any) -> None:
    host.settings(f"""
        channels: {{hook: {{webhook: "{hook.url}"}}}}
        alerts: [{{on: [crashed, failed], to: [hook]}}]
    """)
    victim = host.start(host.script(LIVES))
    victim.stdout.readline()
    victim.kill()
    victim.wait(20)
    done = host.holter("watch", "--once")
    assert done.code == 0, done.err
    assert [taken["alert"]["event"] for taken in hook.taken] == ["crashed"]
    assert host.seen()[0].state == "CRASHED"
    assert host.holter("watch", "--once").code == 0
    assert len(hook.taken) == 1
    assert host.holter("runs").err == ""  # cron is watching


def test_a_store_that_is_away_is_waited_for(host: Any, until: Any) -> None:
    (host.home / "holter.db").mkdir()
    victim = host.start(host.script(LIVES), **QUICK)
    victim.stdout.readline()
    import subprocess

    log = (host.folder / "watch.log").open("w")
    dog = subprocess.Popen([*_holter(), "watch"], stdout=log, stderr=log, env=host.env)
    try:
        until(lambda: "failed" in host.watch_log, "the complaint")
        assert dog.poll() is None
        victim.kill()
        victim.wait(20)
        (host.home / "holter.db").rmdir()
        until(lambda: "again" in host.watch_log, "the recovery", 60)  # after the sixth try it waits for 30 s
        until(lambda: host.seen() and host.one("lives").state == "CRASHED", "the crash")
    finally:
        dog.terminate()
        assert dog.wait(20) == 0
        log.close()


def test_a_store_that_stays_away_does_not_keep_the_watchdog_from_stopping(host: Any, until: Any) -> None:
    import subprocess

    (host.home / "holter.db").mkdir()
    log = (host.folder / "watch.log").open("w")
    dog = subprocess.Popen([*_holter(), "watch"], stdout=log, stderr=log, env=host.env)
    until(lambda: "failed" in host.watch_log or dog.poll() is not None, "the complaint")
    assert dog.poll() is None
    dog.terminate()
    assert dog.wait(20) == 0
    log.close()
    assert host.holter("watch", "--once").code == 1


def test_a_journal_that_cannot_be_read_keeps_nobody_else_waiting(host: Any, until: Any) -> None:
    folder = host.home / "journals"
    folder.mkdir()
    (folder / "000.jsonl").write_bytes(b"")
    (folder / "001.jsonl").write_bytes(b"\x00" * 5000)
    (folder / "002.jsonl").write_bytes(b'{"event":"process"}\n')
    (folder / "003.jsonl").mkdir()
    (folder / "004.jsonl").symlink_to("/etc/passwd")
    os.mkfifo(folder / "005.jsonl")
    victim = host.start(host.script(LIVES))
    victim.stdout.readline()
    with host.watching() as dog:
        victim.kill()
        victim.wait(20)
        until(lambda: host.seen() and host.seen()[0].state == "CRASHED", "the crash")
        assert dog.poll() is None
    assert host.holter("runs").code == 0


def test_a_program_that_replaces_itself_is_not_crashed_while_it_lives(host: Any, until: Any) -> None:
    script = host.script("""
        import os, sys
        from holter import flow
        @flow(name="changes")
        def main():
            os.execv(sys.executable, [sys.executable, "-c",
                "import os, time; print(os.getpid(), flush=True)\\nwhile not os.path.exists('stop'): time.sleep(0.02)"])
        main()
    """)
    process = host.start(script)
    process.stdout.readline()
    with host.watching():
        for _ in range(20):
            assert host.one("changes").state == "RUNNING"
            time.sleep(0.05)
        (host.folder / "stop").touch()
        assert process.wait(20) == 0
        until(lambda: host.one("changes").state == "CRASHED", "the ending: nobody else can say how it went")


def test_a_process_in_a_pid_namespace_of_its_own_is_watched_by_its_lock(host: Any, until: Any) -> None:
    """Inside, it is process 1, and a process 1 lives outside as well."""
    script = host.script(LIVES)
    process = host.spawn(["unshare", "--pid", "--fork", "--kill-child", sys.executable, str(script)], **QUICK)
    first = process.stdout.readline()
    if not first:
        pytest.skip(
            f"no PID namespaces here ({process.stderr.read().strip()}): run as root, with util-linux installed"
        )
    assert first == "1\n"
    with host.watching():
        until(lambda: host.seen(), "the run")
        time.sleep(1)
        assert host.one("lives").state == "RUNNING"
        child = _child(process)
        os.kill(child, signal.SIGTERM)  # the kernel ignores it, as it would without us
        time.sleep(0.5)
        assert (host.one("lives").state, host.one("lives").conditions) == ("RUNNING", ())
        os.kill(child, signal.SIGKILL)
        until(lambda: host.one("lives").state == "CRASHED", "the crash")


def test_of_containers_whose_processes_are_all_number_1_only_the_dead_crashed(host: Any, until: Any) -> None:
    """CR-8: they share the home with a watchdog that is process 1 of another."""
    inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    script = host.script(LIVES)
    jobs = [host.spawn([*inside, sys.executable, str(script)], **QUICK) for _ in range(3)]
    if [job.stdout.readline() for job in jobs] != ["1\n"] * 3:
        pytest.skip("no PID namespaces here: run as root, with util-linux installed")

    def states() -> list[str]:
        return sorted(run.state for run in host.seen(roots=True))

    dog = host.spawn([*inside, *_holter(), "watch"])
    until(lambda: states() == ["RUNNING"] * 3 and host.store.list("pulse"), "the runs and the watchdog")
    for crashed in (1, 2):  # the second crash shows that passes after the first one left the others alone
        os.kill(_child(jobs.pop()), signal.SIGKILL)
        until(lambda: states() == ["CRASHED"] * crashed + ["RUNNING"] * (3 - crashed), "the crash")  # noqa: B023
    (host.folder / "stop").touch()
    assert jobs[0].wait(20) == 0
    until(lambda: "RUNNING" not in states(), "the ending")
    os.kill(_child(dog), signal.SIGTERM)
    assert dog.wait(20) == 0
    assert states() == ["COMPLETED", "CRASHED", "CRASHED"]


def _child(process: Any) -> int:
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def _holter() -> list[str]:
    import sysconfig

    return [str(Path(sysconfig.get_path("scripts")) / "holter")]
