"""A real Chromium, a real collector, and scripts that are really recorded while somebody looks.

A page that logs an error, breaks the content security policy or raises in its script fails the test that opened it.
Pictures of every page are left in tests/browser/screenshots.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holter.agent.web import tokens
from holter.backends.base import Backend
from holter.backends.queries import RunQuery
from holter.backends.records import Run
from holter.backends.urls import open_backend

from ..acceptance.collecting import Collector

BOUND = 20.0  # seconds
HOLTER = str(Path(sysconfig.get_path("scripts")) / "holter")
PICTURES = Path(__file__).parent / "screenshots"


SETTINGS = """
channels: {hook: {webhook: "http://127.0.0.1:9/nobody-is-there"}}
limits: {gpu: {slots: 2, scope: shared, lease: 30s}}
public: [default]
"""


class Fleet:
    """A collector, and scripts that send it their records as another host's do. `store` is what it stores into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.collector = Collector(folder)
        for home in (self.collector.home, folder / "home"):
            home.mkdir(mode=0o700, exist_ok=True)
            (home / "holter.yaml").write_text(SETTINGS)
        self.collector.start()
        self.url = self.collector.url
        self.store: Backend = open_backend(self.collector.backend, str(self.collector.home))
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HOLTER_")}
        self.env = {
            **kept,
            "HOLTER_HOME": str(folder / "home"),
            "HOLTER_BACKEND": self.url,
            "PYTHONUNBUFFERED": "1",
        }
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, text: str, *args: str) -> subprocess.Popen[bytes]:
        """Start a script; it reads what it may do next from its standard input, a line each."""
        path = self.folder / f"script{len(self.started)}.py"
        path.write_text(textwrap.dedent(text))
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            [sys.executable, str(path), *args],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=quiet,
            stderr=quiet,
        )
        self.started.append(process)
        return process

    def watch(self) -> None:
        """The watchdog of the scripts' host."""
        quiet = subprocess.DEVNULL
        self.started.append(
            subprocess.Popen(
                [HOLTER, "watch"], env=self.env, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet
            )
        )

    def token(self, *scopes: str) -> str:
        text, _ = tokens.mint(self.store, scopes, None, "ann", time.time())
        self.env["HOLTER_TOKEN"] = text if tokens.INGEST in scopes else self.env.get("HOLTER_TOKEN", "")
        return text

    def run(self, job: str, **more: Any) -> Run:
        """The newest run of a job, once there is one."""
        return until(lambda: next(iter(self.store.runs(RunQuery(job=job, limit=1, **more))), None))

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()
        self.store.close()
        self.collector.kill()


def until(question: Callable[[], Any], seconds: float = BOUND) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
    return answer


def go_on(process: subprocess.Popen[bytes], word: str = "go") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n".encode())
    process.stdin.flush()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.close()


@pytest.fixture(
    scope="module"
)  # its driver runs an event loop in this thread, where no other test may then begin one
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium: apt install chromium")
    with driver.sync_playwright() as started:
        found = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


class Looker:
    """Somebody with a browser. `faults` is what a page said in its console, or raised."""

    def __init__(self, browser: Any, fleet: Fleet) -> None:
        self._browser, self._fleet = browser, fleet
        self.faults: list[str] = []
        self._contexts: list[Any] = []

    def open(self, path: str = "/", *, width: int = 1280, dark: bool = False, **more: Any) -> Any:
        """A page of the collector, in a browser of its own."""
        context = self._browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            **{"timezone_id": "Europe/Berlin", "reduced_motion": "reduce", **more},
        )
        context.set_default_timeout(BOUND * 1000)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: self._heard(said))
        page.on("pageerror", lambda error: self.faults.append(f"raised: {error}"))
        page.goto(self._fleet.url + path)
        return page

    def _heard(self, said: Any) -> None:
        if said.type in ("error", "warning"):
            self.faults.append(f"{said.type}: {said.text}")

    def picture(self, page: Any, name: str) -> None:
        PICTURES.mkdir(exist_ok=True)
        page.screenshot(path=str(PICTURES / f"{name}.png"), full_page=True)

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def looker(browser: Any, fleet: Fleet) -> Iterator[Looker]:
    made = Looker(browser, fleet)
    yield made
    made.close()
    assert made.faults == []
