"""The dashboard's pages, as anybody with a browser could ask for them. Real sockets on loopback."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from holter.agent.web import tokens
from holter.backends.base import Backend
from holter.backends.urls import open_backend
from holter.testing.collector import collector
from holter.testing.tapes import Tape

Answer = tuple[int, dict[str, str], str]


class Site:
    def __init__(self, store: Backend, url: str) -> None:
        self.store, self.port = store, int(url.rpartition(":")[2])

    def get(self, path: str, **headers: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(
            "GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        response = connection.getresponse()
        body, named = response.read(), {name.lower(): text for name, text in response.getheaders()}
        connection.close()
        if named.get("content-encoding") == "gzip":
            body = zlib.decompress(body, 31)
        return response.status, named, body.decode()

    def jobs(self, path: str = "/", **headers: str) -> list[str]:
        status, _, text = self.get(path, **headers)
        assert status == 200, text
        return re.findall(r"<td>(\S+) <span", text)

    def token(self, *scopes: str, project: str | None = None) -> str:
        text, _ = tokens.mint(self.store, scopes, project, "ann", time.time())
        time.sleep(0.3)  # as long as a collector may go by what it knows of tokens
        return f"Bearer {text}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with collector(str(tmp_path)) as url:
        store = open_backend("sqlite:///holter.db", str(tmp_path))
        yield Site(store, url)
        store.close()


def test_jobs_that_failed_stand_before_those_that_run_and_those_that_are_well(site: Site) -> None:
    Tape("j1").ran("r1", name="a-well").send(site.store)
    Tape("j2").ran("r2", "FAILED", name="c-broken").send(site.store)
    Tape("j3").start("r3", name="b-busy").send(site.store)
    assert site.jobs() == ["c-broken", "b-busy", "a-well"]


def test_filters_of_the_address_keep_the_jobs_that_match(site: Site) -> None:
    Tape("j1", project="a").ran("r1", name="load[eu]").send(site.store)
    Tape("j2", project="b").ran("r2", "FAILED", name="load-us").send(site.store)
    assert site.jobs("/?text=%5Beu%5D") == ["load[eu]"]
    assert site.jobs("/?project=b") == ["load-us"]
    assert site.jobs("/?state=Failed") == ["load-us"]
    assert "No job matches" in site.get("/?text=%5B*")[2]


def test_every_run_is_one_tick_that_says_its_state(site: Site) -> None:
    tape = Tape("j1")
    for number in range(40):
        tape.ran(f"r{number:02}", "FAILED" if number == 39 else "COMPLETED")
    tape.send(site.store)
    text = site.get("/")[2]
    assert (text.count("<title>COMPLETED"), text.count("<title>FAILED")) == (29, 1)
    assert '<td class="n">96%' in text


def test_a_name_that_is_markup_is_shown_and_never_run(site: Site) -> None:
    Tape("j1").ran("r1", name="<script>alert(1)</script>").send(site.store)
    text = site.get("/")[2]
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_pages_carry_no_script_or_style_of_their_own_and_forbid_them(site: Site) -> None:
    status, headers, text = site.get("/")
    assert status == 200
    assert "Nothing has been recorded yet" in text
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert not re.search(r"<style|<script|style=|\son\w+=|https?://", text)


def test_static_files_may_be_kept_for_ever_under_the_name_of_their_content(site: Site) -> None:
    (path,) = re.findall(r'href="(/assets/[^"]+)"', site.get("/")[2])
    status, headers, text = site.get(path, Accept_Encoding="gzip")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert "immutable" in headers["cache-control"]
    assert "prefers-color-scheme" in text
    assert site.get("/assets/..%2Frender.py")[0] == 404


def test_a_token_is_asked_for_as_by_the_api_and_shows_only_its_project(site: Site) -> None:
    Tape("j1", project="a").ran("r1", name="mine").send(site.store)
    Tape("j2", project="b").ran("r2", name="theirs").send(site.store)
    bound, writer = site.token(tokens.READ, project="a"), site.token(tokens.INGEST)
    assert site.get("/")[0] == 401
    assert site.get("/", Authorization=writer)[0] == 403
    assert site.jobs(Authorization=bound) == ["mine"]
    assert site.jobs("/?project=b", Authorization=bound) == []
