"""`holter install systemd`: what systemd-analyze says of the units, and what the services tell systemd."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import BOUND, HOLTER, Host, wait_until

MOST_EXPOSED = {"holter-watch": 3.0, "holter-collector": 3.0}  # of 10, as `systemd-analyze security` counts


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if not found:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    return found


def units(host: Host, *options: str, **env: str) -> list[Path]:
    """The units that are printed, as files."""
    done = host.holter("install", "systemd", "--dry-run", *options, **env)
    assert done.code == 0, done.err
    folder = host.folder / "units"
    folder.mkdir(exist_ok=True)
    found = []
    for part in re.split(r"^# .*/", done.out, flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        found.append(folder / name)
        found[-1].write_text(text)
    return found


@pytest.mark.parametrize("scope", ["--user", "--system"])
@pytest.mark.parametrize("home", ["plain", 'a b %n $x "q"'])
def test_systemd_accepts_the_units(host: Host, analyze: str, scope: str, home: str) -> None:
    written = units(host, scope, "--collector", HOLTER_HOME=str(host.folder / home))
    assert [path.name for path in written] == ["holter-watch.service", "holter-collector.service"]
    manager = ["--user"] if scope == "--user" else []
    run = {**os.environ, "XDG_RUNTIME_DIR": str(host.folder)}
    command = [analyze, *manager, "verify", "--man=no", *map(str, written)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=run, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_refuses_a_unit_that_is_wrong(host: Host, analyze: str) -> None:
    """The proof above would fail for a bad unit."""
    (unit,) = units(host, "--system")
    unit.write_text(unit.read_text().replace("Type=notify", "Type=nonsense"))
    done = subprocess.run(
        [analyze, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "nonsense" in done.stderr


def test_the_services_are_little_exposed(host: Host, analyze: str) -> None:
    for unit in units(host, "--system", "--collector"):
        command = [analyze, "security", "--offline=true", "--no-pager", str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        assert found, done.stdout + done.stderr
        assert float(found[1]) <= MOST_EXPOSED[unit.stem]


def test_units_are_written_and_the_next_commands_named_and_a_changed_one_is_not_replaced_unasked(
    host: Host,
) -> None:
    config = {"XDG_CONFIG_HOME": str(host.folder / "config")}
    done = host.holter("install", "systemd", "--user", "--collector", **config)
    assert done.code == 0, done.err
    unit = host.folder / "config/systemd/user/holter-watch.service"
    assert f"ExecStart={HOLTER[0]} watch\n" in unit.read_text()
    assert "systemctl --user enable --now holter-watch.service holter-collector.service" in done.out
    assert "is as it is to be" in host.holter("install", "systemd", "--user", **config).out
    unit.write_text("# mine\n")
    refused = host.holter("install", "systemd", "--user", **config)
    assert refused.code == 2 and "--yes" in refused.err and unit.read_text() == "# mine\n"
    assert host.holter("install", "systemd", "--user", "--yes", **config).code == 0
    assert unit.read_text() != "# mine\n"


def test_automations_and_places_outside_of_the_home_are_seen_in_the_settings(host: Host) -> None:
    host.settings("backend: sqlite:////srv/data/holter.db\nchannels: {file: {log: /var/log/h/alerts.log}}\n")
    (unit,) = units(host, "--system")
    assert f"ReadWritePaths={host.home} /srv/data /var/log/h\n" in unit.read_text()
    host.settings("alerts: [{on: [crashed], rerun: true, max: 3 per 1h}]\n")
    (unit,) = units(host, "--system")
    assert "KillMode=process" in unit.read_text() and "ProtectSystem" not in unit.read_text()


def test_wrong_words_are_one_clear_line(host: Host) -> None:
    assert host.holter("install", "systemd", "--user", "--as", "nobody").code == 2
    unknown = host.holter("install", "systemd", "--system", "--as", "no-such-user", "--dry-run")
    assert unknown.code == 1 and "no user no-such-user" in unknown.err


# --- what the services say -----------------------------------------------------------------------------------


@pytest.fixture
def ear(host: Host) -> Iterator[socket.socket]:
    """Systemd's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(host.folder / "notify"))
        listening.settimeout(BOUND)
        yield listening


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_collector_says_ready_then_that_it_lives_and_that_it_stops(
    host: Host, ear: socket.socket, workers: str
) -> None:
    command = [
        "sh",
        "-c",
        'WATCHDOG_PID=$$ exec "$@"',
        "sh",
        *HOLTER,
        "serve",
        "--port",
        "0",
        "--workers",
        workers,
    ]
    process = host.spawn(command, NOTIFY_SOCKET=str(host.folder / "notify"), WATCHDOG_USEC="1000000")
    assert ear.recv(100) == b"READY=1"
    began, heard = time.monotonic(), []
    while time.monotonic() - began < 1.5:
        heard.append(ear.recv(100))
    assert heard.count(b"WATCHDOG=1") >= 3
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: ear.recv(100) == b"STOPPING=1", "its last word")
    assert process.wait(BOUND) == 0


def test_a_collector_whose_loop_hangs_says_nothing_more(host: Host, ear: socket.socket) -> None:
    command = ["sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh", *HOLTER, "serve", "--port", "0"]
    process = host.spawn(command, NOTIFY_SOCKET=str(host.folder / "notify"), WATCHDOG_USEC="1000000")
    while ear.recv(100) != b"WATCHDOG=1":
        continue
    process.send_signal(signal.SIGSTOP)
    ear.settimeout(1.0)
    with pytest.raises(TimeoutError):
        list(iter(lambda: ear.recv(100), b""))
    process.kill()
    process.wait()
