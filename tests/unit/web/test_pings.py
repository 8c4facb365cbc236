"""The healthchecks.io ping protocol: what comes in, what is answered, and which runs it makes. Real sockets."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from holter.agent.jobs import Registered, register
from holter.agent.settings import load
from holter.agent.watchdog.watchdog import Watchdog
from holter.agent.web import ping_runs, tokens
from holter.agent.web.ping_bodies import LIMIT, LINES, said
from holter.backends.base import Backend
from holter.backends.clock import Clock
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.records import Run
from holter.backends.urls import open_backend
from holter.testing.collector import collector
from holter.testing.database import schema
from holter.testing.tapes import Tape

NOBODY = "d1665499-e827-441f-bf13-8f15e8f4c0b9"


class Site:
    """A collector, and its store as somebody beside it sees it."""

    def __init__(self, folder: Path, backend: str, url: str) -> None:
        self.folder, self.port = folder, int(url.rpartition(":")[2])
        self.asked_at = 0.0
        self.store: Backend = open_backend(backend, str(folder))

    def ask(self, path: str, body: bytes | None = None, method: str = "", **headers: str) -> tuple[int, str]:
        self.asked_at = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found

    def ping(self, path: str, body: bytes | None = None, method: str = "") -> None:
        assert self.ask(f"/ping/{path}", body, method) == (200, "" if method == "HEAD" else "OK")

    def key(self, project: str | None = None, job: str | None = None) -> str:
        text, _ = tokens.mint(self.store, ("ping",), project, "ann", time.time(), job)
        self.settle()
        return text

    def settle(self) -> None:
        """Wait as long as a collector may go by what it knows of tokens."""
        time.sleep(max(0.0, self.asked_at + 0.3 - time.monotonic()))

    def runs(self, job: str = "*") -> list[Run]:
        """The oldest first."""
        return self.store.runs(RunQuery(job=job, limit=None))[::-1]

    def lines(self, run: Run) -> list[str]:
        return [line.text for line in self.store.logs(LogQuery(run.id))]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    with ExitStack() as stack:

        def made(backend: str = "sqlite:///holter.db", **options: Any) -> Site:
            url = stack.enter_context(collector(str(tmp_path), backend=backend, **options))
            site = Site(tmp_path, backend, url)
            stack.callback(site.store.close)
            return site

        yield made


@pytest.fixture
def site(make: Callable[..., Site]) -> Site:
    return make()


# --- addresses -------------------------------------------------------------------------------------------------


def test_a_uuid_and_a_key_with_a_slug_ping_by_any_method_with_or_without_a_slash(site: Site) -> None:
    uuid, key = site.key(job="backup"), site.key()
    register(site.store, Registered("report"))
    for address in (uuid, uuid.upper(), f"{key}/report"):
        for method in ("GET", "POST", "HEAD"):
            site.ping(address, method=method)
    site.ping(f"{uuid}/")
    assert [len(site.runs(job)) for job in ("backup", "report")] == [7, 3]


REFUSED = [
    ("{uuid}/stop", 400, "invalid url format"),
    ("{uuid}/256", 400, "invalid url format"),
    ("{uuid}/-1", 400, "invalid url format"),
    ("{uuid}/0001", 400, "invalid url format"),
    ("{uuid}/%C2%B2", 400, "invalid url format"),
    ("{uuid}/start/now", 400, "invalid url format"),
    ("{key}/%00", 400, "invalid url format"),
    ("{key}/" + "x" * 101, 400, "invalid url format"),
    ("{uuid}?rid=1", 400, "invalid uuid format"),
    ("{uuid}?rid=", 400, "invalid uuid format"),
    ("{key}", 404, "not found"),
    ("{key}/other", 404, "not found"),
    ("{key}/backup/start/now", 400, "invalid url format"),
    ("{reader}/backup", 404, "not found"),
    (NOBODY, 404, "not found"),
    (f"{NOBODY}/start", 404, "not found"),
    ("holter_00000000_00000000000000000000000000000000/backup", 404, "not found"),
    ("", 404, "not found"),
]


def test_what_is_no_ping_is_refused_in_the_words_of_the_protocol(site: Site) -> None:
    uuid, key = site.key(job="backup"), site.key()
    reader, _ = tokens.mint(site.store, ("watch",), None, "ann", time.time())
    site.ping(uuid)
    site.settle()
    for path, status, answer in REFUSED:
        asked = "/ping/" + path.format(uuid=uuid, key=key, reader=reader)
        assert site.ask(asked) == (status, answer), path
    assert len(site.runs()) == 1


def test_a_slug_that_nobody_knows_is_made_when_asked_for(site: Site) -> None:
    key = site.key()
    assert site.ask(f"/ping/{key}/new") == (404, "not found")
    assert site.ask(f"/ping/{key}/new?create=0") == (404, "not found")
    assert site.ask(f"/ping/{key}/new/start?create=1") == (201, "Created")
    assert site.ask(f"/ping/{key}/new?create=1") == (200, "OK")
    assert [(run.project, run.name, run.state) for run in site.runs()] == [("default", "new", "COMPLETED")]


def test_a_name_in_two_projects_is_ambiguous_unless_the_key_is_of_one(site: Site) -> None:
    key, of_shop, of_bank = site.key(), site.key("shop"), site.key("bank")
    Tape("j1", at=time.time() - 60).ran("r1", name="etl").send(site.store)
    site.ping(f"{key}/etl")
    assert [run.project for run in site.runs("etl")] == ["shop", "shop"]
    assert site.ask(f"/ping/{of_bank}/etl") == (404, "not found")
    assert site.ask(f"/ping/{of_bank}/etl?create=1") == (201, "Created")
    assert site.ask(f"/ping/{key}/etl") == (409, "ambiguous slug")
    site.ping(f"{of_shop}/etl")
    assert sorted(run.project for run in site.runs("etl")) == ["bank", "shop", "shop", "shop"]


def test_a_key_that_was_revoked_is_not_found_and_one_that_pings_may_do_nothing_else(site: Site) -> None:
    key, uuid = site.key(job="a"), site.key(job="b")
    tokens.revoke(site.store, key.partition("-")[0], time.time())
    site.settle()
    assert site.ask(f"/ping/{key}") == (404, "not found")
    site.ping(uuid)
    for path in ("/v1/runs", "/v1/documents?kind=check", "/metrics", "/"):
        assert site.ask(path, Authorization=f"Bearer {uuid}")[0] == 403
    assert site.ask("/v1/journals/j?offset=0", b"", Authorization=f"Bearer {uuid}")[0] == 403


def test_keys_for_pings_do_not_close_a_collector_on_loopback(site: Site) -> None:
    site.key()
    assert site.ask("/v1/runs")[0] == 200
    tokens.mint(site.store, ("read",), None, "ann", time.time())
    site.settle()
    assert site.ask("/v1/runs")[0] == 401


def test_who_sends_too_much_is_told_to_wait(make: Callable[..., Site]) -> None:
    site = make(rate_limit=1000)
    uuid = site.key(job="a")
    answers = [site.ask(f"/ping/{uuid}/log", b"x" * 3000)[0] for _ in range(3)]
    assert answers[-1] == 429


# --- runs ------------------------------------------------------------------------------------------------------


def test_a_lone_success_is_a_whole_run_of_which_nobody_knows_how_long_it_took(site: Site) -> None:
    site.ping(site.key(job="backup"), b"42 files\r\nall is well\n")
    (run,) = site.runs()
    assert (run.kind, run.name, run.state, run.duration_seconds) == ("command", "backup", "COMPLETED", None)
    assert (run.host, run.started_at, run.reason) == ("127.0.0.1", None, None)
    assert site.lines(run) == ["42 files", "all is well"]


ENDS = [
    ("", "COMPLETED", None),
    ("/0", "COMPLETED", 0),
    ("/3", "FAILED", 3),
    ("/255", "FAILED", 255),
    ("/fail", "FAILED", None),
]


def test_a_start_begins_a_run_and_what_follows_ends_it(site: Site) -> None:
    uuid = site.key(job="backup")
    for end, state, code in ENDS:
        site.ping(f"{uuid}/start", b"it begins")
        run = site.runs()[-1]
        assert (run.state, run.ended_at) == ("RUNNING", None)
        site.ping(f"{uuid}/log", b"half")
        site.ping(f"{uuid}{end}", b"done")
        run = site.runs()[-1]
        assert (run.state, run.exit_code) == (state, code)
        assert run.duration_seconds is not None
        assert 0 < run.duration_seconds < 10
        assert site.lines(run) == ["it begins", "half", "done"]


def test_runs_that_overlap_are_told_apart_by_their_rid(site: Site) -> None:
    uuid, first, second = site.key(job="backup"), uuid4(), uuid4()
    site.ping(f"{uuid}/start?rid={first}")
    site.ping(f"{uuid}/start?rid={second}")
    site.ping(f"{uuid}?rid={second}")
    site.ping(uuid)  # without a name: neither of them
    hangs, done, alone = site.runs()
    assert (hangs.state, hangs.parameters) == ("RUNNING", {"rid": str(first)})
    assert (done.state, done.parameters) == ("COMPLETED", {"rid": str(second)})
    assert (alone.state, alone.parameters) == ("COMPLETED", {})
    site.ping(f"{uuid}/1?rid={first}")
    assert [run.state for run in site.runs()] == ["FAILED", "COMPLETED", "COMPLETED"]


def test_of_runs_without_a_name_the_newest_ends_first(site: Site) -> None:
    uuid = site.key(job="backup")
    for path in ("/start", "/start", "/1"):
        site.ping(uuid + path)
    assert [run.state for run in site.runs()] == ["RUNNING", "FAILED"]


@pytest.mark.parametrize("store", ["sqlite", "file", "postgresql"])
def test_a_ping_that_is_repeated_changes_nothing_on_any_store(make: Callable[..., Site], store: str) -> None:
    with ExitStack() as stack:
        urls = {"sqlite": "sqlite:///holter.db", "file": "file:///records"}
        site = make(urls.get(store) or stack.enter_context(schema()))
        uuid, rid = site.key(job="backup"), uuid4()
        for path in (f"{uuid}/start?rid={rid}", f"{uuid}/3?rid={rid}"):
            with ThreadPoolExecutor(12) as pool:
                list(pool.map(lambda _, path=path: site.ping(path, b"a line"), range(24)))
        site.ping(f"{uuid}/0?rid={rid}")  # too late: it has said how it ended
        (run,) = site.runs()
        assert (run.state, run.exit_code) == ("FAILED", 3)
        assert [event["event"] for event in site.store.events(run.id)] == ["start", "end"]
        assert site.lines(run) == ["a line", "a line"]
        assert [row.to_state for row in site.store.transitions(0)] == ["RUNNING", "FAILED"]
        site.store.close()


def test_of_many_ends_at_once_each_counts_and_one_of_them_is_of_the_run_that_began(site: Site) -> None:
    uuid = site.key(job="backup")
    site.ping(f"{uuid}/start")
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: site.ping(uuid), range(24)))
    runs = site.runs()
    assert [run.state for run in runs] == ["COMPLETED"] * 24
    assert sum(run.duration_seconds is not None for run in runs) == 1


def test_lines_go_to_the_run_that_is_open_else_to_the_newest_and_one_that_is_named_may_come_later(
    site: Site,
) -> None:
    uuid, rid = site.key(job="backup"), uuid4()
    site.ping(f"{uuid}/log", b"before any run")
    site.ping(uuid)
    site.ping(f"{uuid}/log", b"an afterthought")
    site.ping(f"{uuid}/log?rid={rid}", b"early")
    site.ping(f"{uuid}/start?rid={rid}")
    site.ping(f"{uuid}/log?rid={rid}")
    first, second, third = site.runs()
    assert (first.state, site.lines(first)) == ("SKIPPED", ["before any run"])
    assert (second.state, site.lines(second)) == ("COMPLETED", ["an afterthought"])
    assert (third.state, site.lines(third)) == ("RUNNING", ["early", "/log, without a body"])


def test_lines_about_a_run_of_another_kind_leave_that_as_it_is(site: Site) -> None:
    Tape("j1", at=time.time() - 60, project="default").start("r1", name="etl").send(site.store)
    site.ping(f"{site.key(job='etl')}/log", b"from outside")
    site.ping(site.key(job="etl"))
    run, pinged = site.runs()
    assert (run.id, run.state, run.journal, site.lines(run)) == ("r1", "RUNNING", "j1", ["from outside"])
    assert pinged.state == "COMPLETED"


def test_starts_that_never_end_are_given_up_when_there_are_too_many(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ping_runs, "OPEN_AT_MOST", 3)
    uuid, rid = site.key(job="backup"), uuid4()
    site.ping(f"{uuid}/start?rid={rid}")
    for _ in range(4):
        site.ping(f"{uuid}/start")
    assert [run.state for run in site.runs()] == ["CANCELLED"] * 2 + ["RUNNING"] * 3
    site.ping(f"{uuid}?rid={rid}")  # it was only given up by us
    assert site.runs()[0].state == "COMPLETED"


# --- bodies ----------------------------------------------------------------------------------------------------


def test_of_a_long_body_the_beginning_and_the_end_are_kept(site: Site) -> None:
    body = b"first\n" + b"x" * 5_000_000 + b"\nlast"
    site.ping(f"{site.key(job='a')}/1", body)
    (run,) = site.runs()
    lines = site.lines(run)
    assert (lines[0], lines[-1], run.state) == ("first", "last", "FAILED")
    assert sum(map(len, lines)) < LIMIT + 200
    assert run.dropped == {"lines": 1, "bytes": len(body) - LIMIT}
    assert any(f"{len(body) - LIMIT:,} bytes left out" in line for line in lines)


def test_so_many_lines_are_kept_and_any_bytes_are_text(site: Site) -> None:
    uuid = site.key(job="a")
    site.ping(uuid, b"".join(b"%d\n" % number for number in range(9000)))
    site.ping(uuid, bytes(range(256)))
    many, odd = site.runs()
    lines = site.lines(many)
    assert (len(lines), lines[0], lines[999], lines[-1]) == (LINES + 1, "0", "999", "8999")
    assert many.dropped is not None
    assert many.dropped["lines"] == 7000
    assert site.lines(odd)[1].startswith("\x0b")


@pytest.mark.parametrize("size", [0, 1, LIMIT // 2, LIMIT])
def test_a_body_within_the_limit_is_whole_wherever_it_is_cut(size: int) -> None:
    data = b"z" * size
    assert "".join(said(data[: LIMIT // 2], data[LIMIT // 2 :], 0).head) == data.decode()


# --- the watchdog ----------------------------------------------------------------------------------------------


class HandClock(Clock):
    def __init__(self) -> None:
        self.ahead = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


def test_a_start_that_never_ends_is_overdue_but_never_crashed_or_lost(site: Site) -> None:
    uuid = site.key(job="backup")
    site.ping(f"{uuid}/start")
    register(site.store, Registered("backup", check={"max_duration": 600.0}))
    clock = HandClock()
    dog = Watchdog(load(str(site.folder), {}), clock=clock)
    try:
        for _ in range(200):  # in steps that are no sleep of the host
            dog.step()
            clock.ahead += 4.0
        (run,) = site.runs()
        assert (run.state, run.conditions) == ("RUNNING", ("overdue",))
        assert all(not step.failures for step in dog.steps)
        site.ping(uuid)
        assert site.runs()[0].state == "COMPLETED"
    finally:
        dog.close()
