"""The collector's whole surface, from its own description: no error of the server, nothing for outsiders, no hang."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from holter.agent.web import tokens
from holter.agent.web.endpoints import ENDPOINTS, Endpoint
from holter.backends.base import Backend
from holter.backends.urls import open_backend
from tests.acceptance.collecting import Collector
from tests.prove import Proof

from .fields import specimen, tape

SCHEMATHESIS = str(Path(sysconfig.get_path("scripts"), "schemathesis"))
pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]
needs_schemathesis = pytest.mark.skipif(
    find_spec("schemathesis") is None, reason="schemathesis is not here: pip install 'schemathesis>=4.30,<5'"
)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Collector]:
    found = Collector(tmp_path)
    store = open_backend(found.backend, str(found.home))
    now = time.time()
    for number in range(30):
        run = f"r{number}"
        store.append(f"j{number}", 0, tape(specimen(run, f"job-{number % 5}", now - 900 + number)))
    store.close()
    yield found.start()
    found.close()


@pytest.fixture
def store(serving: Collector) -> Iterator[Backend]:
    found = open_backend(serving.backend, str(serving.home))
    yield found
    found.close()


def token(store: Backend, *scopes: str, project: str | None = None) -> str:
    text, _ = tokens.mint(store, scopes, project, "ann", time.time())
    time.sleep(0.3)  # as long as a collector may go by what it knows of tokens
    return text


def attack(serving: Collector, folder: Path, examples: int, seed: int, *headers: str, **environ: str) -> int:
    """Run schemathesis with everything it has; how many requests it made. Asserts that it found nothing."""
    counts = folder / f"counts-{len(list(folder.iterdir()))}"
    argv = [
        SCHEMATHESIS,
        "run",
        f"{serving.url}/v1/openapi.json",
        "--checks",
        "all",
        "--mode",
        "all",
        "--no-color",
    ]
    argv += ["--max-examples", str(examples), "--seed", str(seed), "--request-timeout", "10"]
    argv += ["--continue-on-failure", *(word for each in headers for word in ("-H", each))]
    known = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "SCHEMATHESIS_HOOKS": "http_hooks"}
    known |= {"FUZZ_COUNTS": str(counts), **environ}
    done = subprocess.run(argv, env=known, cwd=folder, capture_output=True, text=True, timeout=7000)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert serving.answers(), "it still answers"
    assert "Traceback" not in serving.log.read_text(), serving.log.read_text()[-4000:]
    return counts.stat().st_size


@needs_schemathesis
def test_whatever_is_sent_with_a_token_is_never_an_error_of_the_server(
    serving: Collector, store: Backend, tmp_path: Path, proof: Proof
) -> None:
    text = token(store, tokens.WATCH)
    for seed in range(proof.of(1, 8)):
        count = attack(serving, tmp_path, proof.of(6, 60), seed, f"Authorization: Bearer {text}")
        proof.count(count, "requests with a token")


@needs_schemathesis
@pytest.mark.parametrize(
    "said", [(), ("Authorization: Bearer holter_aaaaaaaa_" + "b" * 32,)], ids=["none", "unknown"]
)
def test_whatever_is_sent_without_a_known_token_gets_and_changes_nothing(
    serving: Collector, store: Backend, tmp_path: Path, proof: Proof, said: tuple[str, ...]
) -> None:
    token(store, tokens.READ)  # from now on it asks for tokens
    before = (store.size(), len(store.processes(open_only=False)))  # type: ignore[attr-defined]
    count = attack(serving, tmp_path, proof.of(2, 40), 1, *said, FUZZ_OUTSIDER="1")
    proof.count(count, "requests without a known token")
    assert before == (store.size(), len(store.processes(open_only=False)))  # type: ignore[attr-defined]


def test_every_address_answers_only_whom_it_is_for(serving: Collector, store: Backend, proof: Proof) -> None:
    made = {scope: token(store, scope) for scope in tokens.SCOPES}
    revoked = token(store, tokens.WATCH)
    tokens.revoke(store, revoked.split("_")[1], time.time())
    time.sleep(0.3)
    bad = ("", revoked, revoked[:-1], f"{revoked}x", "holter__", "holter_\u00e9_x", "Basic " + "a" * 9000)
    for endpoint, text in product(ENDPOINTS, (*bad, *made.values())):
        for kind in ("check", "lease", tokens.KIND):
            status = ask(serving, endpoint, text, kind)
            if endpoint.scope is None:
                expected = status == 200
            elif text not in made.values():
                expected = status in (401, 431)
            else:
                allowed = allows(endpoint, next(scope for scope in made if made[scope] == text), kind)
                expected = status not in (401, 403) if allowed else status == 403
            assert expected, (endpoint.method, endpoint.path, kind, text, status)
            proof.count(1, "addresses by token")


def allows(endpoint: Endpoint, scope: str, kind: str) -> bool:
    """By the table in docs/collector.md, which this repeats by hand."""
    if endpoint.path == "/v1/about":
        return True
    if endpoint.path.startswith("/v1/document"):
        if kind == tokens.KIND:
            return False
        if kind == "lease":
            return endpoint.method == "GET" or scope in ("ingest", "watch")
        return scope in (("read", "operate", "watch") if endpoint.method == "GET" else ("watch",))
    if endpoint.path == "/v1/prune":
        return scope == "watch"
    return scope in (("ingest", "watch") if endpoint.method == "POST" else ("read", "operate", "watch"))


def ask(serving: Collector, endpoint: Endpoint, text: str, kind: str) -> int:
    query = {"kind": kind, "key": "k", "expect_version": "7", "offset": "99999", "run_id": "r1"}
    query |= dict.fromkeys(("runs_before", "failures_before", "logs_before"), "0")
    wanted = {name: query[name] for name, _, needed in endpoint.params if needed}
    url = f"{serving.url}{endpoint.path.format(journal='j1')}?{urlencode(wanted)}"
    body = None if endpoint.body is None else b"{}" if endpoint.method == "PUT" else b""
    headers = {"Authorization": f"Bearer {text}".encode().decode("latin-1")} if text else {}
    try:
        with urlopen(Request(url, body, headers, method=endpoint.method), timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code
