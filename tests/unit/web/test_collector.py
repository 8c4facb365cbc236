"""What a collector answers: to clients of ours, to broken ones, and to strangers. Real sockets on loopback."""

from __future__ import annotations

import gc
import http.client
import json
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from holter.agent import identity
from holter.agent.leases import Lease, Sight, empty, turn
from holter.agent.web import tokens
from holter.agent.web.app import make_app
from holter.agent.web.endpoints import ENDPOINTS, members_of, statuses_of
from holter.agent.web.openapi import description
from holter.agent.web.options import Options
from holter.agent.web.pages.routes import PAGES
from holter.agent.web.parcels import Parcel
from holter.agent.web.refusals import Refusal
from holter.agent.web.stores import READERS
from holter.backends.base import Backend
from holter.backends.errors import OffsetMismatch
from holter.backends.http import HttpBackend
from holter.backends.http_wire import gzipped
from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend
from holter.testing.collector import collector
from holter.testing.tapes import Tape
from tests.acceptance.conftest import wait_until


class Answer:
    """Status, headers and JSON of one answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        data = response.read()
        self.json: Any = json.loads(data) if "json" in response.headers.get("Content-Type", "") else None

    def refused(self, status: int) -> str:
        """The sentence of a refusal, which has a hint too."""
        assert self.status == status, (self.status, self.json)
        assert set(self.json) >= {"error", "hint"}
        assert "Traceback" not in str(self.json)
        return str(self.json["error"])


class Site:
    """A collector with a home of its own. `ask` sends one request as anybody could."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.port = int(url.rpartition(":")[2])
        self.store: Backend = open_backend("sqlite:///holter.db", str(folder))

    def ask(
        self, method: str, path: str, body: bytes | None = None, token: str = "", **headers: str
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            named["Authorization"] = f"Bearer {token}"
        connection.request(method, path, body, named)
        answer = Answer(connection.getresponse())
        connection.close()
        return answer

    def post(self, journal: str, offset: object, body: bytes, token: str = "", **headers: str) -> Answer:
        return self.ask("POST", f"/v1/journals/{journal}?offset={offset}", body, token, **headers)

    def token(self, *scopes: str, project: str | None = None) -> str:
        text, _ = tokens.mint(self.store, scopes, project, "ann", time.time())
        time.sleep(0.3)  # as long as a collector may go by what it knows of tokens
        return text

    def runs(self) -> list[str]:
        return [run.id for run in self.store.runs(RunQuery(limit=None))]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    with ExitStack() as stack:

        def made(**options: Any) -> Site:
            running: AbstractContextManager[str] = collector(str(tmp_path), **options)
            site = Site(tmp_path, stack.enter_context(running))
            stack.callback(site.store.close)
            return site

        yield made


@pytest.fixture
def site(make: Callable[..., Site]) -> Site:
    return make()


# --- bodies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["a wrong offset", "no lines"])
def test_what_is_refused_is_let_go_of_at_once(site: Site, fault: str) -> None:
    """Its error was in a circle with the frames that held the batch, and so with up to a megabyte: the collector's
    garbage is looked for seldom, and 6,000 refusals had made it 250 MB larger."""
    body = Tape("j1").ran("r1").data if fault == "a wrong offset" else b"no newline at the end"
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            assert site.post("j1", 7, body).status in (409, 422)
        # An answer comes before its thread is done.
        wait_until(lambda: not kept(), "the last one to be let go of")
    finally:
        gc.enable()


def kept() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, Refusal | OffsetMismatch | Parcel)]


def test_lines_are_stored_once_and_a_wrong_offset_is_told_the_right_one(site: Site) -> None:
    data = Tape("j1").ran("r1").data
    assert site.post("j1", 0, data).json == {"offset": len(data)}
    for wrong in (0, 7, len(data) + 1):
        refused = site.post("j1", wrong, data)
        assert "stands at" in refused.refused(409)
        assert refused.json["expected"] == len(data)
    assert site.runs() == ["r1"]


GOOD = Tape("j1").ran("r1").data
LONG = Tape("j1").start("r1").log("r1", "x" * 2_000_000).data


@pytest.mark.parametrize(
    ("status", "journal", "offset", "body", "headers"),
    [
        (400, "j1", "", GOOD, {}),
        (400, "j1", "-1", GOOD, {}),
        (400, "j1", "1e3", GOOD, {}),
        (404, "..%2Fetc%2Fpasswd", 0, GOOD, {}),
        (400, ".hidden", 0, GOOD, {}),
        (400, "j" * 101, 0, GOOD, {}),
        (400, "k%C3%B6ln", 0, GOOD, {}),
        (422, "j1", 0, GOOD[:-1], {}),
        (422, "j1", 0, b"hello\n", {}),
        (422, "j1", 0, GOOD.partition(b"\n")[2], {}),
        (422, "j2", 0, GOOD, {}),
        (422, "j1", 0, Tape("j1", pid="many").data, {}),
        (413, "j1", 0, LONG, {}),
        (413, "j1", 0, b"x" * (4 * 2**20 + 1), {}),
        (413, "j1", 0, gzipped(bytes(64 * 2**20)), {"Content_Encoding": "gzip"}),
        (400, "j1", 0, GOOD, {"Content_Encoding": "gzip"}),
        (400, "j1", 0, gzipped(GOOD)[:-9], {"Content_Encoding": "gzip"}),
        (415, "j1", 0, GOOD, {"Content_Encoding": "br"}),
    ],
)
def test_what_cannot_be_stored_is_refused_with_a_reason_and_changes_nothing(
    site: Site, status: int, journal: str, offset: object, body: bytes, headers: dict[str, str]
) -> None:
    assert site.post(journal, offset, body, **headers).refused(status)
    assert site.store.processes(open_only=False) == []
    assert site.post("j1", 0, gzipped(GOOD), Content_Encoding="gzip").status == 200


def test_damaged_lines_of_a_stranger_are_counted(site: Site) -> None:
    site.post("j1", 0, Tape("j1").data + b"\xff\x00{}\n" + b'{"event":"end"}\n')
    assert site.store.processes()[0].damaged == 2


@pytest.mark.parametrize("value", ['{"a": 1e999}', '{"a": NaN}', "[]", "{", '{"a":' + "[" * 100_000])
def test_a_document_that_could_not_be_told_again_is_refused(site: Site, value: str) -> None:
    assert "JSON object" in site.ask(
        "PUT", "/v1/document?kind=lease&key=a&expect_version=0", value.encode()
    ).refused(400)
    assert site.ask("GET", "/v1/documents?kind=lease").json == {"documents": []}


@pytest.mark.parametrize(
    ("place", "broken"),
    [("holders", {}), ("queue", {"lease": "1"}), ("queue", {"pid": "x"}), ("holders", {"numbers": None})],
)
def test_nobody_makes_a_shared_limit_unreadable_for_all(
    site: Site, place: str, broken: dict[str, Any]
) -> None:
    lease = Lease("a", "gpu", 1, 1, 30.0, {**identity.me(), "run_id": None, "run_name": None})
    doc = empty()
    turn(doc, [lease], Sight("b"), 0.0, 0.0)
    entry = doc["holders"][0]
    path = "/v1/document?kind=lease&key=gpu&expect_version="
    good: dict[str, Any] = {"token": 1, "slots": 1, "holders": [], "queue": [], place: [entry]}
    assert site.ask("PUT", f"{path}0", json.dumps(good).encode()).status == 200
    for bad in ({}, {**good, place: [{**entry, **broken} if broken else "x"]}):
        assert "limit" in site.ask("PUT", f"{path}1", json.dumps(bad).encode()).refused(400)


def test_addresses_and_methods_that_are_none_are_refused_with_a_hint(site: Site) -> None:
    assert "no address" in site.ask("GET", "/v2/runs").refused(404)
    assert "PATCH" in site.ask("PATCH", "/v1/runs").refused(405)
    for path in (
        "/v1/runs?limit=x",
        "/v1/logs?run_id=r0&before=",
        "/v1/run",
        "/v1/runs?since=nan",
        "/v1/runs?roots=1",
        "/v1/logs?after=-1&run_id=r",
    ):
        assert site.ask("GET", path).refused(400)


def test_a_body_that_is_cut_off_stores_nothing_and_hurts_nobody(site: Site) -> None:
    head = f"POST /v1/journals/j1?offset=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(GOOD)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", site.port)) as half:
        half.sendall(head.encode() + GOOD[:-20])
    assert site.post("j1", 0, GOOD).status == 200


def test_a_client_that_is_too_slow_is_told_so(make: Callable[..., Site]) -> None:
    site = make(slow_seconds=0.3)
    head = f"POST /v1/journals/j1?offset=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(GOOD)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", site.port), 10) as slow:
        slow.sendall(head.encode() + GOOD[:20])
        assert slow.recv(65_536).startswith(b"HTTP/1.1 408 ")
    assert site.post("j1", 0, GOOD).status == 200


def test_connections_that_only_take_up_room_are_closed_and_busy_ones_are_not(
    make: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holter.agent.web.connections.LOOK_SECONDS", 0.2)
    site = make(slow_seconds=5.0)
    head = f"POST /v1/journals/j1?offset=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(GOOD)}\r\n\r\n"
    address = ("127.0.0.1", site.port)
    with (
        socket.create_connection(address, 5) as silent,
        socket.create_connection(address, 5) as half,
        socket.create_connection(address, 5) as busy,
    ):
        half.sendall(head[:30].encode())
        busy.sendall(head.encode() + GOOD[:20])
        for each in (silent, half):
            with suppress(ConnectionResetError):
                assert each.recv(100) == b""
        busy.sendall(GOOD[20:])
        assert busy.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_more_than_may_wait_is_sent_away_with_a_time_to_come_back(make: Callable[..., Site]) -> None:
    site = make(waiting_limit=1000)
    away = site.post("j1", 0, Tape("j1").start("r1").log("r1", "x" * 2000).data)
    assert "wait" in away.refused(429)
    assert int(away.headers["Retry-After"]) >= 1
    assert site.post("j1", 0, GOOD).status == 200


def test_a_client_that_sends_more_than_its_rate_is_sent_away(make: Callable[..., Site]) -> None:
    site = make(rate_limit=len(GOOD))
    answers = [site.post(f"k{n}", 0, Tape(f"k{n}").ran(f"r{n}").data) for n in range(6)]
    assert [each.status for each in answers[:2]] == [200, 200]
    assert "slow down" in str(answers[-1].json)
    assert answers[-1].status == 429
    assert "Retry-After" in answers[-1].headers


def test_the_rate_counts_bodies_that_do_not_say_their_size(make: Callable[..., Site]) -> None:
    site = make(rate_limit=len(GOOD))
    statuses = []
    for n in range(6):
        data = Tape(f"k{n}").ran(f"r{n}").data
        chunked = f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n"
        with socket.create_connection(("127.0.0.1", site.port), 5) as client:
            head = f"POST /v1/journals/k{n}?offset=0 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.sendall(head.encode() + chunked)
            statuses.append(int(client.recv(65_536).split()[1]))
    assert (statuses[0], statuses[-1]) == (200, 429)


# --- tokens ----------------------------------------------------------------------------------------------------


def test_without_tokens_neighbours_are_trusted_but_no_proxy_and_no_other_name(site: Site) -> None:
    assert site.ask("GET", "/v1/runs").status == 200
    assert "proxy" in site.ask("GET", "/v1/runs", X_Forwarded_For="10.0.0.1").refused(401)
    assert "localhost" in site.ask("GET", "/v1/runs", Host="evil.example.org").refused(401)


def test_a_page_of_elsewhere_in_a_neighbours_browser_is_not_trusted(site: Site) -> None:
    """A browser sends a POST without asking first, and whoever wrote the page need not see the answer."""
    assert site.post("j1", 0, Tape("j1").ran("r1").data).status == 200
    forget = "/v1/prune?runs_before=9e9&failures_before=9e9&logs_before=9e9"
    for origin in ("https://evil.example.org", f"http://127.0.0.1:{site.port + 1}", "null"):
        assert "page" in site.ask("POST", forget, b"", Origin=origin).refused(401)
    assert "page" in site.ask("POST", forget, b"", Sec_Fetch_Site="cross-site").refused(401)
    assert site.runs() == ["r1"]
    assert site.ask("GET", "/v1/runs", Origin=f"http://127.0.0.1:{site.port}").status == 200


def test_a_collector_that_is_not_on_loopback_trusts_nobody(make: Callable[..., Site]) -> None:
    site = make(trusting=False)
    assert "token" in site.ask("GET", "/v1/runs").refused(401)
    assert site.ask("GET", "/healthz").status == site.ask("GET", "/readyz").status == 200


def test_each_scope_may_what_it_is_for_and_no_more(site: Site) -> None:
    held = {scope: site.token(scope) for scope in tokens.SCOPES}
    data = Tape("j1").ran("r1").data
    document = "/v1/document?kind=check&key=a&expect_version=0"
    lease = "/v1/document?kind=lease-db&key={}&expect_version=0"
    may = {
        "append": lambda token: site.post("j1", 0, data, token),
        "read": lambda token: site.ask("GET", "/v1/runs", token=token),
        "list": lambda token: site.ask("GET", "/v1/documents?kind=check", token=token),
        "put": lambda token: site.ask("PUT", document, b"{}", token),
        "lease": lambda token: site.ask("PUT", lease.format(token[-4:]), b"{}", token),
        "prune": lambda token: site.ask(
            "POST", "/v1/prune?runs_before=1&failures_before=1&logs_before=1", b"", token
        ),
        "tokens": lambda token: site.ask("GET", "/v1/documents?kind=token", token=token),
    }
    allowed = {
        scope: {name for name, ask in may.items() if ask(text).status in (200, 409)}
        for scope, text in held.items()
    }
    assert allowed == {
        "ingest": {"append", "lease"},
        "read": {"read", "list"},
        "operate": {"read", "list"},
        "watch": {"append", "read", "list", "put", "lease", "prune"},
        "ping": set(),
    }
    assert site.ask("GET", "/v1/runs").status == 401


def test_a_token_is_stored_as_a_hash_and_refused_once_it_is_revoked_even_if_it_was_the_last(
    site: Site,
) -> None:
    text = site.token("read")
    assert (
        text.encode()
        not in (site.folder / "holter.db-wal").read_bytes() + (site.folder / "holter.db").read_bytes()
    )
    assert site.ask("GET", "/v1/runs", token=text).status == 200
    tokens.revoke(site.store, text.split("_")[1], time.time())
    time.sleep(0.3)
    assert "revoked" in site.ask("GET", "/v1/runs", token=text).refused(401)
    assert site.ask("GET", "/v1/runs").status == 401
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    assert "not known" in site.ask("GET", "/v1/runs", token=wrong).refused(401)


def test_a_token_of_a_project_cannot_say_that_its_run_was_written_by_a_journal_of_another(site: Site) -> None:
    Tape("z1", project="bank").start("b9").send(site.store)
    token = site.token("ingest", project="shop")
    for journal in ("z1", "z2"):  # one that is there, and one that may come
        tape = Tape("a1", project="shop").say("start", run="r1", kind="flow", name="n", journal=journal)
        assert "z" in site.post("a1", 0, tape.data, token).refused(403)
    assert site.runs() == ["b9"]


def test_a_journal_that_the_store_has_forgotten_begins_anew_also_with_a_token_of_its_project(
    site: Site,
) -> None:
    token = site.token("ingest", project="shop")
    assert site.post("j1", 100, Tape("j1").log("r1", "x").lines[-1], token).json["expected"] == 0


def test_a_token_of_a_project_appends_to_it_and_sees_it_only(site: Site) -> None:
    Tape("b1", project="bank").start("b9").log("b9", "secret").send(site.store)
    ingest, read = site.token("ingest", project="shop"), site.token("read", project="shop")
    tape = Tape("j1").ran("r1")
    assert site.post("j1", 0, tape.data, ingest).status == 200
    more = Tape("j1").end("b9", "FAILED").lines[1]
    stolen = Tape("j1").start("r2", project="bank").lines[1]
    for journal, offset, body in (
        ("j2", 0, Tape("j2", project="bank").data),
        ("b1", 0, Tape("b1").data),
        ("b1", site.store.processes()[0].offset, more),
        ("j1", len(tape.data), more),
        ("j1", len(tape.data), stolen),
        ("j1", len(tape.data), Tape("j1", project="bank").lines[0]),
    ):
        assert site.post(journal, offset, body, ingest).status in (403, 409)
    assert (
        site.post(
            "b1", len(Tape("b1", project="bank").start("b9").log("b9", "secret").data), more, ingest
        ).status
        == 403
    )
    told = site.ask("GET", "/v1/runs", token=read).json["runs"]
    assert [run["id"] for run in told] == ["r1"]
    assert site.ask("GET", "/v1/runs?project=bank", token=read).json == {"runs": []}
    assert site.ask("GET", "/v1/run?run_id=b9", token=read).status == 404
    assert site.ask("GET", "/v1/events?run_id=b9", token=read).json == {"events": []}
    assert site.ask("GET", "/v1/logs?run_id=b9", token=read).json == {"logs": []}
    assert {
        each["run_id"] for each in site.ask("GET", "/v1/transitions", token=read).json["transitions"]
    } == {"r1"}
    assert [each["journal"] for each in site.ask("GET", "/v1/journals", token=read).json["journals"]] == [
        "j1"
    ]
    assert [each["name"] for each in site.ask("GET", "/v1/jobs", token=read).json["jobs"]] == ["etl"]
    assert site.ask("GET", "/v1/documents?kind=alert", token=read).status == 403
    run = site.store.run("b9")
    assert run is not None
    assert run.state == "RUNNING"


# --- what it says of itself --------------------------------------------------------------------------------------


def test_the_description_names_the_routes_that_are_there_and_no_others(tmp_path: Path) -> None:
    app = make_app(Options("memory:", str(tmp_path)))
    served = {(method, route.path) for route in app.routes for method in route.methods - {"HEAD"}}  # type: ignore[attr-defined]
    served -= {(each.method, each.path) for each in PAGES}
    served -= {
        ("GET", "/ping/{rest:path}"),
        ("POST", "/ping/{rest:path}"),
        ("GET", "/metrics"),
    }  # others' protocols
    paths = description()["paths"]
    assert served == {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert len(
        {operation["operationId"] for methods in paths.values() for operation in methods.values()}
    ) == len(ENDPOINTS)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_answers_have_the_members_and_the_statuses_that_the_description_says(
    site: Site, endpoint: Any
) -> None:
    Tape("j1").ran("r1").log("r1", "x").send(site.store)
    site.store.put("check", "etl", {}, 0)
    values = {"run_id": "r1", "kind": "check", "key": "etl", "expect_version": "1", "offset": "0"}
    query = "&".join(f"{name}={values.get(name, '1')}" for name, _, needed in endpoint.params if needed)
    path = re.sub(r"{\w+}", "j2", endpoint.path)
    bodies = {"application/jsonl": Tape("j2").data, "application/json": b"{}"}
    answer = site.ask(endpoint.method, f"{path}?{query}", bodies.get(endpoint.body or ""))
    assert answer.status == 200, answer.json
    kinds = {"boolean": bool, "string": str, "integer": int, "array": list, "object": dict}
    assert all(
        isinstance(answer.json[name], kinds[said["type"]]) for name, said in members_of(endpoint).items()
    )
    if any(needed for _, _, needed in endpoint.params):
        assert site.ask(endpoint.method, path, bodies.get(endpoint.body or "")).status in statuses_of(
            endpoint
        )


def test_answers_are_compressed_for_whoever_takes_that(site: Site) -> None:
    Tape("j1").ran("r1").log("r1", "x" * 5000).send(site.store)
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    connection.request("GET", "/v1/logs?run_id=r1", headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    assert response.headers["Content-Encoding"] == "gzip"
    assert "x" * 5000 in zlib.decompress(response.read(), 31).decode()
    connection.close()


def test_a_store_that_is_away_is_said_with_a_time_to_come_back(
    make: Callable[..., Site], tmp_path: Path
) -> None:
    site = make(backend="sqlite:////proc/nowhere/holter.db")
    assert site.ask("GET", "/healthz").status == 200
    for answer in (site.ask("GET", "/readyz"), site.ask("GET", "/v1/runs"), site.post("j1", 0, GOOD)):
        assert "store" in answer.refused(503)
        assert int(answer.headers["Retry-After"]) >= 5


def test_an_answer_of_no_costs_no_handle_of_the_store(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost race for a lease, or a document that is not there, is nothing that a handle has to be opened anew for."""
    opened: list[str] = []
    monkeypatch.setattr(
        "holter.agent.web.stores.open_backend",
        lambda url, *args, **more: opened.append(url) or open_backend(url, *args, **more),
    )
    site.ask("PUT", "/v1/document?kind=k&key=a&expect_version=0", b"{}")
    for _ in range(30):
        assert site.ask("PUT", "/v1/document?kind=k&key=a&expect_version=0", b"{}").status == 409
        assert site.ask("GET", "/v1/document?kind=k&key=none").status == 404
        assert site.ask("GET", "/v1/run?run_id=none").status == 404
    assert len(opened) <= READERS


def test_pages_are_put_together_to_one_list(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import holter.backends.http_reads as reads

    for name in ("RUNS_AT_MOST", "LINES_AT_MOST", "TRANSITIONS_AT_MOST"):
        monkeypatch.setattr(reads, name, 7)
    tape = Tape()
    for number in range(30):
        tape.ran(f"r{number}").log("r0", str(number))
    tape.send(site.store)
    store = HttpBackend(site.url, home=str(site.folder))
    from holter.backends.queries import LogQuery

    for query in (RunQuery(limit=None), RunQuery(limit=20, offset=3), RunQuery(limit=0), RunQuery()):
        assert store.runs(query) == site.store.runs(query)
    for lines in (
        LogQuery("r0"),
        LogQuery("r0", limit=9),
        LogQuery("r0", limit=9, last=True),
        LogQuery("r0", after=5),
    ):
        assert store.logs(lines) == site.store.logs(lines)
    assert store.transitions(0, 50) == site.store.transitions(0, 50)
    assert store.transitions(3, 5) == site.store.transitions(3, 5)
    store.close()
