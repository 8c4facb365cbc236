"""`holter crontab` as one types it, on a file and on one's own crontab, and a real cron that runs what it wrote.

The real cron is Debian's, in a mount namespace of its own: its spool, /etc/cron.d and /run are folders of the test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holter.agent.watchdog.incidents import open_incidents

from ..awkward_crontab import LINES, TEXT
from .conftest import HOLTER, Host, wait_until

INSIDE = """
set -e
mount --bind "$PLACE/spool" /var/spool/cron/crontabs
mount --bind "$PLACE/cron.d" /etc/cron.d
mount --bind /dev/null /etc/crontab
mount -t tmpfs tmpfs /run
exec "$@"
"""
MINUTE = 75.0  # seconds in which cron has come to the next minute
Inside = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def tab(host: Host) -> Path:
    path = host.folder / "crontab"
    path.write_bytes(TEXT)
    path.chmod(0o640)
    return path


def checks(host: Host) -> dict[str, Any]:
    return {each["job"]: each["check"] for each in host.json("checks")}


def test_thirty_awkward_lines_are_wrapped_and_unwrapped_to_the_same_bytes(host: Host, tab: Path) -> None:
    assert len(LINES) == 30
    done = host.holter("crontab", "wrap", "--file", str(tab), "--yes", "--timezone", "Europe/Berlin")
    assert done.code == 0, done.err
    wrapped = tab.read_bytes()
    assert wrapped.count(b" run --tag crontab --name ") == 18
    assert str(HOLTER[0]).encode() in wrapped and f"HOLTER_HOME={host.home} ".encode() in wrapped
    assert tab.stat().st_mode & 0o777 == 0o640
    backup = Path(done.out.rsplit(": ", 1)[1].strip())
    assert backup.parent == host.home / "crontabs" and backup.read_bytes() == TEXT
    assert backup.stat().st_mode & 0o777 == 0o600
    expected = checks(host)
    assert len(expected) == 17  # all but @reboot
    assert expected["backup"] == {"schedule": "0 2 * * *", "timezone": "Europe/Berlin"}
    assert expected["backup-2"]["schedule"] == "@hourly"
    assert expected["randomly"]["schedule"] == "0 3 * * *" and expected["randomly"]["grace"] == 2100.0
    again = host.holter("crontab", "wrap", "--file", str(tab), "--yes")
    assert again.code == 0 and tab.read_bytes() == wrapped
    assert host.holter("crontab", "unwrap", "--file", str(tab), "--yes").code == 0
    assert tab.read_bytes() == TEXT
    assert checks(host) == {}


def test_a_dry_run_shows_the_difference_and_writes_nothing(host: Host, tab: Path) -> None:
    done = host.holter("crontab", "wrap", "--file", str(tab), "--dry-run")
    assert done.code == 0
    assert "-0 2 * * * /usr/local/bin/backup.sh --full > /dev/null 2>&1\n" in done.out
    assert "line 8: backup, expected at 0 2 * * * " in done.out
    assert "line 27: left as it is: runs holter itself" in done.out
    # Bytes that are no text, and one that turns text round.
    assert "\\xff" not in done.out and "\u202e" not in done.out
    assert tab.read_bytes() == TEXT and checks(host) == {}
    assert not (host.home / "crontabs").exists()


def test_it_asks_first_and_where_nobody_can_answer_it_refuses(host: Host, tab: Path) -> None:
    for verb in ("wrap", "unwrap"):
        done = host.holter("crontab", verb, "--file", str(tab))
        assert done.code == 2 and "--yes or --dry-run" in done.err
    assert tab.read_bytes() == TEXT


def test_what_cannot_be_is_one_clear_line(host: Host, tab: Path) -> None:
    gone = host.holter("crontab", "wrap", "--file", "/nowhere/crontab", "--yes")
    assert (gone.code, gone.err) == (1, "holter: No such file or directory: /nowhere/crontab\n")
    system = host.holter("crontab", "wrap", "--system", "--yes")
    assert system.code == 2 and "--file" in system.err
    other = host.holter("crontab", "wrap", "--file", str(tab), "--yes", HOLTER_BACKEND="memory:")
    assert other.code == 1 and "HOLTER_BACKEND" in other.err
    zone = host.holter("crontab", "wrap", "--file", str(tab), "--yes", "--timezone", "Mars/Olympus")
    assert zone.code == 0 and "there is no time zone" in zone.out  # the jobs are recorded, none is expected
    tab.write_bytes(b"HOLTER_HOME=/elsewhere\n* * * * * true\n")
    elsewhere = host.holter("crontab", "wrap", "--file", str(tab), "--yes")
    assert "line 2: left as it is: its HOLTER_HOME is /elsewhere" in elsewhere.out


def test_a_job_of_another_user_is_left_in_a_home_that_it_cannot_write(host: Host, tab: Path) -> None:
    tab.write_bytes(b"1 2 * * * nobody /usr/bin/theirs\n")
    done = host.holter("crontab", "wrap", "--system", "--file", str(tab), "--yes")
    assert "line 1: left as it is: runs as nobody" in done.out
    assert tab.read_bytes() == b"1 2 * * * nobody /usr/bin/theirs\n"


def test_a_link_is_followed_and_stays_one(host: Host, tab: Path) -> None:
    link = host.folder / "link"
    link.symlink_to(tab)
    assert host.holter("crontab", "wrap", "--file", str(link), "--yes").code == 0
    assert link.is_symlink() and b"--tag crontab" in tab.read_bytes()


# --- a real cron ---------------------------------------------------------------------------------------------


@pytest.fixture
def inside(host: Host) -> Iterator[Inside]:
    """Start a command where crontab and cron see only folders of this test; all of it ends with the test."""
    if not shutil.which("cron"):
        pytest.skip("no cron: apt-get install cron")
    if os.geteuid() != 0:
        pytest.skip("a cron of one's own takes root")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount, so that no cron of one's own can be run")
    (host.folder / "cron.d").mkdir()
    spool = host.folder / "spool"
    spool.mkdir()
    shutil.chown(spool, "root", "crontab")
    spool.chmod(0o1730)
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, **keywords: Any) -> subprocess.Popen[bytes]:
        space = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            INSIDE,
            "sh",
        ]
        env = {**host.env, "PLACE": str(host.folder)}
        started.append(subprocess.Popen([*space, *command], env=env, **keywords))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


def output(process: subprocess.Popen[bytes]) -> bytes:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def test_ones_own_crontab_is_read_and_written_through_crontab(host: Host, inside: Inside) -> None:
    none = inside(*HOLTER, "crontab", "wrap", "--yes", **PIPES)
    assert b"There is no job in your crontab" in none.communicate(timeout=60)[1]
    text = b'# mine\nMAILTO=""\n5 4 * * sun  /usr/bin/weekly \n'
    tab = host.folder / "mine"
    tab.write_bytes(text)
    output(inside("crontab", str(tab), **PIPES))
    output(inside(*HOLTER, "crontab", "wrap", "--yes", **PIPES))
    assert b"--name weekly -- /bin/sh -c '/usr/bin/weekly '" in output(inside("crontab", "-l", **PIPES))
    output(inside(*HOLTER, "crontab", "unwrap", "--yes", **PIPES))
    assert output(inside("crontab", "-l", **PIPES)) == text


def test_a_text_that_cron_refuses_changes_nothing(host: Host, inside: Inside) -> None:
    """Here because the spool cannot be written."""
    tab = host.folder / "mine"
    tab.write_bytes(b"5 4 * * * /usr/bin/nightly\n")
    output(inside("crontab", str(tab), **PIPES))
    refusing = "mount -o remount,bind,ro /var/spool/cron/crontabs"
    done = inside("sh", "-c", f'{refusing}; exec "$@"', "sh", *HOLTER, "crontab", "wrap", "--yes", **PIPES)
    _, err = done.communicate(timeout=60)
    assert done.returncode == 1 and err.startswith(b"holter: `crontab -`: "), err
    assert checks(host) == {}
    assert output(inside("crontab", "-l", **PIPES)) == b"5 4 * * * /usr/bin/nightly\n"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_real_cron_runs_the_wrapped_lines_and_a_run_that_stays_away_is_missed(
    host: Host, inside: Inside
) -> None:
    """Takes up to four of cron's minutes: one until it runs, and two until a turn is over without a run."""
    tab, said = host.folder / "mine", host.folder / "said"
    host.settings(f"channels: {{file: {{log: {host.folder}/alerts.log}}}}")
    tab.write_text(
        "SHELL=/bin/bash\n"
        f'* * * * * /bin/echo \'it\'\'s\' \\%Y [[ "$SHELL" ]] >> {said}; echo "of \\"$HOME\\""; exit 3\n'
        f"* * * * * cat > {host.folder}/stdin%first%second \\% line\n"
        f"*\t* * * *   python3 -c 'import os; print(os.getcwd())'  \n"
        f"@reboot touch {host.folder}/rebooted\n"
    )
    before = tab.read_bytes()
    output(inside("crontab", str(tab), **PIPES))
    output(inside(*HOLTER, "crontab", "wrap", "--yes", "--grace", "5s", **PIPES))
    with host.watching():
        cron = inside("cron", "-f")
        wait_until(
            lambda: len({run.name for run in host.seen() if run.ended}) >= 4, "cron's first minute", MINUTE
        )
        runs = {run.name: run for run in host.seen()}
        assert set(runs) == {"echo-its", "cat", "python3", "touch"}
        assert (runs["echo-its"].state, runs["echo-its"].exit_code) == ("FAILED", 3)
        assert [log.text for log in host.logs(runs["echo-its"])] == ['of "/root"']
        assert said.read_text().startswith("its %Y [[ /bin/bash ]]\n")
        assert (host.folder / "stdin").read_text() == "first\nsecond % line\n"
        assert runs["cat"].state == runs["python3"].state == runs["touch"].state == "COMPLETED"
        assert [log.text for log in host.logs(runs["python3"])] == ["/root"]
        assert (host.folder / "rebooted").exists()
        assert all(run.tags == ("crontab",) for run in runs.values())
        cron.send_signal(signal.SIGKILL)
        cron.wait()
        stopped = time.time()
        told = host.folder / "alerts.log"
        wait_until(lambda: told.exists() and "missed" in told.read_text(), "a run that is missed", 2 * MINUTE)
        missed = {each.job for each in open_incidents(host.store) if each.event == "missed"}
        assert missed and missed <= {"echo-its", "cat", "python3"}
        status = host.holter("status")
        assert (status.code, "missed" in status.out) == (1, True)
        assert time.time() - stopped < 150
    output(inside(*HOLTER, "crontab", "unwrap", "--yes", **PIPES))
    assert output(inside("crontab", "-l", **PIPES)) == before
    assert checks(host) == {}
