"""Promise 4, at its worst: a store that is full or away would silence every alert, so that is told without it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

IMPATIENT = """
import sys
import holter.agent.watchdog.outcry as outcry
outcry.PATIENCE, outcry.EVERY = 0.5, 0.1
from holter.cli import cli
cli(["watch"])
"""
SETTINGS = """
watchdog: {{interval: 0.2s}}
host: {{disk_free: 1KB, memory_free: 0%, memory_pressure: 100, load: 1000}}
channels: {{hook: {{webhook: "{url}"}}}}
"""


def watching(host: Any) -> Any:
    return host.spawn([sys.executable, "-c", IMPATIENT])


def said(hook: Any) -> list[str]:
    return [each["alert"]["event"] for each in hook.taken]


def test_a_disk_that_is_full_from_one_moment_to_the_next_is_told_and_that_there_is_room_again(
    new_host: Any, small_disk: Callable[[str], Path], hook: Any, until: Any
) -> None:
    host = new_host()
    host.home = small_disk("2M")
    host.env["HOLTER_HOME"] = str(host.home)
    host.settings(SETTINGS.format(url=hook.url))
    dog = watching(host)
    until(lambda: host._pulse() > 0, "the first pulse")
    with suppress(OSError), (host.home / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 4096)
    until(lambda: said(hook), "the alert")
    assert "full" in hook.taken[0]["alert"]["reason"]
    (host.home / "ballast").unlink()
    until(lambda: said(hook) == ["watch_broken", "recovered"], "the end of it", 60)
    dog.terminate()
    assert dog.wait(20) == 0


def test_a_store_that_was_never_there_is_told(host: Any, hook: Any, until: Any) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        host.settings(f"backend: http://127.0.0.1:{nobody.getsockname()[1]}\n{SETTINGS.format(url=hook.url)}")
        dog = watching(host)
        until(lambda: said(hook), "the alert")
        dog.terminate()
        assert dog.wait(30) == 0
    assert said(hook) == ["watch_broken"]
