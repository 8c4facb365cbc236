"""What systemd hears, through a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path

import pytest

from holter.agent.watchdog.sd_notify import Systemd, patience, tell

Heard = Callable[[], list[str]]


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """Systemd's end: what arrived since the last call."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@holter-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(name.replace("@", "\0", 1))
        ear.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name)

        def messages() -> list[str]:
            found = []
            while True:
                try:
                    found.append(ear.recv(4096).decode())
                except BlockingIOError:
                    return found

        yield messages


def test_a_message_is_one_datagram_with_a_line_for_each_word(heard: Heard) -> None:
    assert tell("RELOADING=1", "MONOTONIC_USEC=42") and tell("STOPPING=1")
    assert heard() == ["RELOADING=1\nMONOTONIC_USEC=42", "STOPPING=1"]


def test_ready_is_said_once_and_a_sign_of_life_after_passes_in_time(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    systemd = Systemd()
    assert systemd.every == 2.0
    systemd.passed(100.0)
    assert heard() == ["READY=1", "WATCHDOG=1"]
    said = []
    for tenths in range(1, 100):
        systemd.passed(100.0 + tenths / 10)
        said += [tenths / 10] * len(heard())
    gaps = [later - earlier for earlier, later in zip([0.0, *said], said, strict=False)]
    assert said and max(gaps) <= 2.0


@pytest.mark.parametrize("microseconds", ["", "x", "0", "-5"])
def test_without_a_watchdog_in_the_unit_there_are_no_signs_of_life(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, microseconds: str
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    systemd = Systemd()
    for now in range(10):
        systemd.passed(float(now))
    assert systemd.every == inf and heard() == ["READY=1"]


def test_a_watchdog_that_is_meant_for_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert patience() == inf


def test_outside_systemd_and_with_a_socket_that_is_gone_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not tell("READY=1")
    for address in (str(tmp_path / "gone"), "relative", "@nobody"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert not tell("READY=1")
