"""What a client wrote cannot steer the terminal of who reads it: no verb lets a control character through."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from holter.agent import knobs
from holter.agent.terminal import text as texts
from holter.backends.urls import open_backend
from holter.cli import cli
from tests.prove import Proof

from . import evil

pytestmark = pytest.mark.proof

ESCAPES = {
    "colour": "\x1b[31m",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://evil/\x1b\\here\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "answer back": "\x1b[6n\x1bP$q\x1b\\",
    "clear": "\x1b[2J\x1b[H\x1bc",
    "eight bits": "\x9b31m\x9d0;owned\x9c\x90q\x9c",
    "overwrite": "good\rbad\b\b\x7f",
    "direction": "\u202egnp.exe\u2066\u2069\u200f",
    "bell": "\x07\x00\x05\x0e\x0f",
    "halves": "\x1b\x1b[31m[0m\x1b",
}
ALL = "".join(ESCAPES.values())
VERBS = (
    "runs",
    "runs --json",
    "runs --kind task",
    "show r1",
    "show r1 --json",
    "show r1live",
    "logs r1",
    "logs r1 --json",
    "logs r1live",
    "status",
    "status --json",
    "report",
    "report --json",
    "explain r1",
    "explain r1 --markdown",
    "explain r1 --json",
    "alerts",
    "alerts --json",
    "slots",
    "top --once",
    "rerun r1",
    "cancel r1live",
    "doctor",
    "show nosuch",
)


def controls(said: str) -> set[str]:
    """The characters of it that a terminal may obey."""
    return {char for char in said if char not in "\n\t" and texts._CONTROL.match(char)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    place.mkdir(mode=0o700)
    monkeypatch.setattr(knobs, "_configured", {})
    monkeypatch.setenv("HOLTER_HOME", str(place))
    for name in ("HOLTER_BACKEND", "HOLTER_CONFIG", "HOLTER_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return place


@pytest.fixture
def owned(home: Path) -> Path:
    store = open_backend("sqlite:///holter.db", str(home))
    evil.write(store, f"{ALL}x")
    store.close()
    return home


def said(command: str) -> str:
    done = CliRunner().invoke(cli, command.split())
    assert done.exit_code in (0, 1, 2), (command, done.output)
    assert done.exception is None or isinstance(done.exception, SystemExit), command
    return done.output


def test_no_verb_passes_a_control_character_on(owned: Path, proof: Proof) -> None:
    for command in VERBS:
        answer = said(command)
        assert answer.strip(), command
        assert controls(answer) == set(), command
    proof.count(len(VERBS) * len(ESCAPES), "escapes in verbs")


@pytest.fixture
def liar() -> Iterator[str]:
    """The URL of a collector whose every word is hostile."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"error": f"{ALL}xx refused", "hint": f"{ALL}type this"}).encode()
            self.send_response(400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_nor_does_a_collector_that_lies_in_its_errors(
    home: Path, liar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLTER_BACKEND", liar)
    for command in ("runs", "status", "show r1", "slots", "doctor"):
        answer = said(command)
        assert "refused" in answer or command == "doctor"
        assert controls(answer) == set(), command


def test_planted_one_escape_that_is_let_through_is_noticed(
    owned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import re

    whole = texts._CONTROL
    monkeypatch.setattr(texts, "_CONTROL", re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]"))  # colours only
    found = {char for char in said("runs") if char not in "\n\t" and whole.match(char)}
    assert found
