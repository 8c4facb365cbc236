"""What the acceptance tests share: a throw-away home, scripts that really run in it, and receivers of alerts.

Nothing here reaches into Holter: scripts are started as people start them, and what they left is read through the
store.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from holter.agent.watchdog.adopt import Adopted, catch_up
from holter.backends.base import Backend
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.records import Log, Run
from holter.backends.urls import open_backend

BOUND = 20.0  # seconds: how long anything may take before a test gives up on it
HOLTER = [str(Path(sysconfig.get_path("scripts")) / "holter")]


class Done(NamedTuple):
    """What a finished process left. `code` is negative after a signal, as in `subprocess`."""

    code: int
    out: str
    err: str
    seconds: float


class Host:
    """A HOLTER_HOME of its own, and what one does on a machine: start scripts, run `holter`, look at the store."""

    def __init__(self, folder: Path, backend: str = "sqlite:///holter.db") -> None:
        self.folder = folder
        self.home = folder / "home"
        self.backend = backend
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("HOLTER_", "PYTHONDONT"))
        }
        self.env = {**kept, "HOLTER_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        self._started: list[subprocess.Popen[str]] = []
        self._stores: list[Backend] = []
        if backend != "sqlite:///holter.db":
            self.env["HOLTER_BACKEND"] = backend

    # --- doing ---

    def script(self, text: str, name: str = "job.py") -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        return path

    def settings(self, text: str) -> None:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.home / "holter.yaml").write_text(textwrap.dedent(text))

    def start(self, script: Path, *args: str, **env: str) -> subprocess.Popen[str]:
        return self.spawn([sys.executable, str(script), *args], **env)

    def spawn(self, command: list[str], **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**self.env, **env},
        )
        self._started.append(process)
        return process

    def run(self, script: Path, *args: str, **env: str) -> Done:
        began = time.perf_counter()
        return finished(self.start(script, *args, **env), began)

    def holter(self, *args: str, **env: str) -> Done:
        began = time.perf_counter()
        return finished(self.spawn([*HOLTER, *args], **env), began)

    def json(self, *args: str) -> Any:
        done = self.holter(*args, "--json")
        assert done.code in (0, 1), done.err
        return json.loads(done.out)

    @contextmanager
    def watching(self, *args: str, ahead: float = 0.0) -> Iterator[subprocess.Popen[str]]:
        """`holter watch` beside the block; stopped by SIGTERM. It is ready when its pulse is in the store. `ahead`: by
        how many seconds its clock differs from ours."""
        before = time.time() + ahead
        log = (self.folder / "watch.log").open("w")
        dog = subprocess.Popen([*HOLTER, "watch", *args], stdout=log, stderr=log, text=True, env=self.env)
        try:
            wait_until(lambda: dog.poll() is not None or self._pulse() > before, "the watchdog's first pulse")
            yield dog
        finally:
            if dog.poll() is None:
                dog.send_signal(signal.SIGCONT)
                dog.terminate()
                dog.wait(BOUND)
            log.close()

    @property
    def watch_log(self) -> str:
        return (self.folder / "watch.log").read_text()

    def _pulse(self) -> float:
        pulses = (
            [float(document.value["at"]) for _, document in self.store.list("pulse")]
            if self.home.exists()
            else []
        )
        return max(pulses, default=0.0)

    # --- looking ---

    @property
    def store(self) -> Backend:
        if not self._stores:
            self._stores.append(open_backend(self.backend, str(self.home)))
        return self._stores[0]

    def catch_up(self) -> Adopted:
        return catch_up(str(self.home), self.store)

    def runs(self, **query: Any) -> list[Run]:
        """All runs, oldest first, after a sweep."""
        self.catch_up()
        return self.seen(**query)

    def seen(self, **query: Any) -> list[Run]:
        """All runs, oldest first, as the store has them now."""
        return self.store.runs(RunQuery(**{"limit": None, **query}))[::-1]

    def one(self, name: str) -> Run:
        """The only run of this name."""
        (run,) = [run for run in self.runs() if run.name == name]
        return run

    def states(self) -> dict[str, str]:
        return {run.name: run.state for run in self.runs()}

    def logs(self, run: Run) -> list[Log]:
        return self.store.logs(LogQuery(run.id))

    def journals(self) -> list[Path]:
        return sorted((self.home / "journals").glob("*.jsonl"))

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for store in self._stores:
            store.close()


def finished(process: subprocess.Popen[str], began: float) -> Done:
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err, time.perf_counter() - began)


def wait_until(true: Callable[[], Any], what: str, bound: float = BOUND) -> Any:
    """Wait for a condition; fail with its name when the bound is passed."""
    deadline = time.monotonic() + bound
    while not (found := true()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {bound:g} s in vain for {what}")
        time.sleep(0.005)
    return found


class Hook:
    """A webhook on loopback that notes when each alert arrived (`at`, Unix seconds) and what it said (`alert`), does
    what is in `before_answer`, and answers."""

    def __init__(self, port: int = 0) -> None:
        self.taken: list[dict[str, Any]] = []
        self.before_answer: Callable[[], None] = lambda: None
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.taken.append({"at": time.time(), "alert": json.loads(body)})
                hook.before_answer()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def about(self, run_id: str) -> list[dict[str, Any]]:
        return [each for each in list(self.taken) if each["alert"].get("run_id") == run_id]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def new_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    made: list[Host] = []

    def make(backend: str = "sqlite:///holter.db") -> Host:
        folder = tmp_path / f"host{len(made)}"
        folder.mkdir()
        made.append(Host(folder, backend))
        return made[-1]

    yield make
    for host in made:
        host.close()


@pytest.fixture
def host(new_host: Callable[..., Host]) -> Host:
    return new_host()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


@pytest.fixture
def until() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def figures(
    record_property: Callable[[str, object], None], request: pytest.FixtureRequest
) -> Callable[..., None]:
    """Measured values: shown with `-s`, and kept as properties of the test."""

    def note(**values: object) -> None:
        for name, value in values.items():
            record_property(name, value)
        shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
        sys.stdout.write(f"\n  {request.node.name}: {shown}\n")

    return note


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A tmpfs of `size` on `folder`; skips where mounting is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(
            f"no tmpfs can be mounted here ({done.stderr.strip()}); run as root: sudo pytest {__file__}"
        )
    try:
        yield folder
    finally:
        with suppress(FileNotFoundError):
            subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of a given size (`64k`, `1M`)."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        made: list[Path] = []

        def make(size: str) -> Path:
            made.append(stack.enter_context(mounted(tmp_path / f"disk{len(made)}", size)))
            return made[-1]

        yield make
