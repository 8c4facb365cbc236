"""Where `holter demo` plays: a throw-away home with processes, the screen that shows them, the webhook that listens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ...backends.clock import SYSTEM
from ...backends.errors import HolterError
from ...backends.queries import RunQuery
from ...backends.records import Json, Run
from ...backends.urls import open_backend

T = TypeVar("T")
PATIENCE = 30.0  # seconds for each thing that is waited for
SETTINGS = """\
channels: {{demo: {{webhook: "{url}"}}}}
limits: {{symbols.db: 1}}
"""


class Missing(HolterError, RuntimeError):
    """Something that the demo was to show did not happen."""


class Webhook:
    """A server on loopback that takes alerts. `alerts` is what came: (monotonic seconds, alert)."""

    def __init__(self) -> None:
        self.alerts: list[tuple[float, Json]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def about(self, run_id: str) -> tuple[float, Json] | None:
        """When the first alert about a run came, and what it says."""
        return next((each for each in self.alerts if each[1]["run_id"] == run_id), None)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        alerts = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                alerts.append((SYSTEM.monotonic(), json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *said: Any) -> None:
                """The screen belongs to the demo."""

        return Handler


class Screen:
    """Lines of what happened, and on a terminal below them a bar for each run."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.fields[state]}"))
        plain = not self._console.is_terminal
        self._bars = Progress(*columns, console=self._console, transient=True, disable=plain)
        self._rows: dict[str, TaskID] = {}
        self._began = SYSTEM.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        self._console.print(text)

    def tell(self, text: str) -> None:
        """A line with the seconds since the beginning."""
        self.say(f"{SYSTEM.monotonic() - self._began:5.1f} s  {text}")

    def draw(self, runs: list[Run]) -> None:
        for run in reversed(runs):
            if run.id not in self._rows:
                self._rows[run.id] = self._bars.add_task(run.name, total=1.0, state="")
            done = 1.0 if run.state == "COMPLETED" else share(run)
            self._bars.update(self._rows[run.id], completed=done, state=run.state)


def share(run: Run) -> float:
    """How far a run is, from 0 to 1."""
    said = run.progress or {}
    return float(said["done"] / said["total"]) if said.get("total") else 0.0


class Stage:
    """The folder with the home in it, its store, and the processes that were started; none outlives it."""

    def __init__(self, folder: Path, webhook: str, screen: Screen) -> None:
        self.folder = folder
        self.screen = screen
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        (self.home / "holter.yaml").write_text(SETTINGS.format(url=webhook))
        self.backend = open_backend("sqlite:///holter.db", str(self.home))
        others = {name: value for name, value in os.environ.items() if not name.startswith("HOLTER_")}
        self._environ = {**others, "HOLTER_HOME": str(self.home), "no_proxy": "127.0.0.1"}
        self._playing: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.backend.close()
        for process in self._playing.values():
            process.terminate()
        for process in self._playing.values():
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Python with these arguments; what it says goes to `name`.txt in the folder."""
        with (self.folder / f"{name}.txt").open("wb") as said:
            process = self._playing[name] = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        return process

    def kill(self, name: str) -> float:
        """SIGKILL, and when that was (monotonic seconds)."""
        process = self._playing.pop(name)
        process.kill()
        killed = SYSTEM.monotonic()
        process.wait()
        return killed

    def show(self, *arguments: str) -> None:
        """Run a verb of the command line on the same screen. Raises Missing where it fails."""
        self.screen.say(f"\n$ holter {' '.join(arguments)}")
        sys.stdout.flush()
        command = [sys.executable, "-m", "holter", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self._environ, check=False)
        if done.returncode:
            raise Missing(f"`holter {' '.join(arguments)}` exited with {done.returncode}")

    def run_of(self, process: subprocess.Popen[bytes]) -> Run | None:
        """The root run of a process, once the store knows it."""
        return next((run for run in self.runs() if run.pid == process.pid), None)

    def runs(self) -> list[Run]:
        return self.backend.runs(RunQuery(roots=True))

    def until(self, fact: str, look: Callable[[], T | None]) -> T:
        """What `look` gives once it gives something. Raises Missing with the fact where it does not in time, or where a
        process failed meanwhile."""
        deadline = SYSTEM.monotonic() + PATIENCE
        while True:
            self.screen.draw(self.runs())
            if found := look():
                return found
            for name, process in self._playing.items():
                if process.poll():
                    code = process.returncode
                    raise Missing(f"{name} ended with {code} before {fact}")
            if SYSTEM.monotonic() > deadline:
                raise Missing(f"it never happened that {fact}")
            SYSTEM.sleep(0.1)


@contextmanager
def ending_at_sigterm() -> Iterator[None]:
    """SIGTERM leaves like Ctrl-C, so that the processes are ended first."""

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
