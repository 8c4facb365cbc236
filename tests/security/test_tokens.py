"""Tokens and keys are told to nobody: no log, no process list, no error, no page. And what the environment says of a
run's parent and cause is a note, never a right."""

from __future__ import annotations

import hmac
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from holter.agent.web import tokens
from holter.backends.base import Backend
from holter.backends.records import Run
from holter.backends.urls import open_backend
from tests.acceptance.collecting import Collector
from tests.acceptance.conftest import Host
from tests.prove import Proof

pytestmark = pytest.mark.proof

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[tuple[Collector, Backend]]:
    made = Collector(tmp_path).start()
    store = open_backend(made.backend, str(made.home))
    yield made, store
    store.close()
    made.close()


def ask(port: int, method: str, path: str, body: str | None = None, **headers: str) -> str:
    """Everything that was answered."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    said = f"{answer.status} {answer.headers} {answer.read().decode('utf-8', 'replace')}"
    connection.close()
    return said


def command_lines() -> str:
    """Of all processes here, as every user of the host may see them."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(Path("/proc", name, "cmdline").read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(found)


def test_no_token_is_in_a_log_an_answer_a_page_or_the_list_of_processes(
    collector: tuple[Collector, Backend], tmp_path: Path, proof: Proof
) -> None:
    served, store = collector
    now = time.time()
    texts = {scope: tokens.mint(store, (scope,), None, "ann", now)[0] for scope in tokens.SCOPES}
    wrong = f"{texts[tokens.READ][:-4]}beef"
    time.sleep(0.3)  # as long as a collector may go by what it knows of tokens
    said = []
    for text in (*texts.values(), wrong):
        bearer = {"Authorization": f"Bearer {text}"}
        said += [
            ask(served.port, "GET", "/v1/runs", **bearer),
            ask(served.port, "GET", "/v1/runs?limit=x", **bearer),
            ask(served.port, "POST", "/v1/journals/..?offset=x", "no", **bearer),
            ask(served.port, "PUT", "/v1/document?kind=token&key=x&expect_version=0", "{}", **bearer),
            ask(served.port, "GET", "/v1/documents?kind=token", **bearer),
            ask(served.port, "GET", "/", Accept="text/html", **bearer),
            ask(served.port, "GET", "/runs/nosuch", Accept="text/html", **bearer),
            ask(served.port, "POST", "/sign-in", f"token={text}", Content_Type=FORM),
            ask(served.port, "GET", f"/ping/{text}/nosuch/nonsense"),
            ask(served.port, "GET", f"/ping/{text}/nosuch?create=1"),
        ]
    job = Host(tmp_path, backend=served.url)
    script = job.script("import time\nfrom holter import flow\n@flow\ndef f(): time.sleep(1)\nf()\n")
    running = job.start(script, HOLTER_TOKEN=texts[tokens.INGEST])
    seen = command_lines()
    running.wait(30)
    job.close()
    assert "holter\x00serve" in seen.replace("/bin/", "") or "serve" in seen
    everywhere = "\n".join([*said, seen, served.log.read_text(), str(store.list(tokens.KIND))])
    for text in (*texts.values(), wrong):
        assert text.split("_")[-1] not in everywhere
    proof.count(len(said), "requests with tokens")


def test_planted_a_log_of_requests_would_be_noticed(collector: tuple[Collector, Backend]) -> None:
    served, store = collector
    text, _ = tokens.mint(store, (tokens.PING,), None, "ann", time.time())
    with served.log.open("a") as log:
        log.write(f"GET /ping/{text}/x\n")
    assert text.split("_")[-1] in served.log.read_text()


def test_every_comparison_of_a_token_takes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_backend("memory:tokens", "")
    text, token = tokens.mint(store, (tokens.READ,), None, "ann", 0.0)
    compared: list[int] = []

    def watched(left: Any, right: Any) -> bool:
        compared.append(len(left) == len(right))
        return real(left, right)

    real: Callable[[Any, Any], bool] = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", watched)
    other = "0" if text[-1] != "0" else "1"
    tries = (text, f"{text[:-1]}{other}", "holter_nosuch_x", "", "x" * 5000, "\u00e9_\u00e9_\u00e9")
    found = [tokens.known({token.id: token}, each) for each in tries]
    assert found == [token, *[None] * (len(tries) - 1)]
    assert compared == [True] * len(tries)


SPOOFS = (
    {"HOLTER_PARENT": "../../etc/passwd"},
    {"HOLTER_PARENT": "x" * 5000},
    {"HOLTER_PARENT": "\x1b[31mr1"},
    {"HOLTER_PARENT": "0nosuch"},
    {"HOLTER_CAUSE": "{"},
    {"HOLTER_CAUSE": "[" * 5000},
    {"HOLTER_CAUSE": '"text"'},
    {"HOLTER_CAUSE": '{"rerun_of":"\\u001b[31m","by":["root"]}'},
    {"HOLTER_CAUSE": json.dumps({"by": "watchdog", "alert": "x", "run_id": "y", "extra": "z" * 100_000})},
    {"HOLTER_CAUSE": '{},"kind":"command","argv":["evil"],"x":{}'},
)


def test_what_the_environment_says_of_a_run_costs_it_nothing_and_gives_it_nothing(
    tmp_path: Path, proof: Proof
) -> None:
    host = Host(tmp_path)
    script = host.script("import sys\nfrom holter import flow\n@flow\ndef f(): return 1\nprint(f())\n")
    for spoof in SPOOFS:
        done = host.run(script, **spoof)
        assert (done.code, done.out) == (0, "1\n"), spoof
        assert "Traceback" not in done.err
    found = host.runs()
    host.close()
    assert [_facts(run) for run in found] == [("flow", "f", "COMPLETED")] * len(SPOOFS)
    assert all(run.argv and run.argv[0].startswith(os.path.dirname(sys.executable)[:5]) for run in found)
    assert not [run for run in found if re.search("[\x00-\x1f]", str(run.parent_id) + str(run.root_id))]
    proof.count(len(SPOOFS), "spoofed environments")


def _facts(run: Run) -> tuple[str, str, str]:
    return run.kind, run.name, run.state
