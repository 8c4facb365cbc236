"""`holter report --html`: a page that needs nothing, and one that tells nothing."""

from __future__ import annotations

import re
import stat
import time

import pytest

from holter.testing.tapes import Tape

from .conftest import Host

CANARIES = (
    "host",
    "user",
    "folder",
    "parameter",
    "line",
    "environment",
    "token",
    "result",
    "error",
    "argument",
    "tag",
    "artifact",
)
SCRIPT = """
    import os, sys
    from holter import flow, artifact

    @flow(name="nightly-etl", log_prints=True, tags=["canary-tag"])
    def etl(region):
        print("canary-line", os.environ["CANARY"])
        artifact("a", markdown="canary-artifact")
        if sys.argv[1] == "fail":
            raise ValueError("canary-error")
        return "canary-result"

    etl("canary-parameter")
"""


@pytest.fixture
def recorded(host: Host) -> Host:
    folder = host.folder / "canary-folder"
    folder.mkdir()
    host.settings("channels: {hook: {webhook: 'http://127.0.0.1:9/canary-token'}}")
    script = host.script(SCRIPT, "canary-folder/job.py")
    for word in ("end", "fail", "canary-argument"):
        host.run(script, word, CANARY="canary-environment")
    elsewhere = Tape("far", time.time() - 60, project="default", host="canary-host", user="canary-user")
    elsewhere.ran("far0", "FAILED", name="nightly-etl").send(host.store)
    return host


def recorded_of(host: Host) -> str:
    """All that a careless page could show."""
    runs = host.runs()
    lines = [log.text for run in runs for log in host.logs(run)]
    about = [each.header for each in host.store.processes(open_only=False)]
    return "\n".join(map(str, [*runs, *lines, *about, (host.home / "holter.yaml").read_text()]))


def test_the_page_is_one_file_that_loads_nothing(recorded: Host) -> None:
    done = recorded.holter("report", "--html", str(recorded.folder / "out.html"))
    assert done.code == 0, done.err
    path = recorded.folder / "out.html"
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "nightly-etl" in text
    assert "ValueError: canary-error" in text
    assert not re.search(r"<script|(src|href)=|url\(|@import", text)
    assert "default-src 'none'" in text


def test_the_public_page_holds_none_of_the_canaries(recorded: Host) -> None:
    planted = recorded_of(recorded)
    assert [each for each in CANARIES if f"canary-{each}" not in planted] == [], "there is nothing to leak"
    assert recorded.holter("report", "--html", "out.html", "--public").code == 0
    path = recorded.folder / "out.html"
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert "nightly-etl" in text
    assert [each for each in ("canary", str(recorded.folder), "job.py") if each in text] == []


def test_a_page_that_cannot_be_written_leaves_what_was_there(recorded: Host) -> None:
    (recorded.folder / "out.html").mkdir()
    done = recorded.holter("report", "--html", "out.html")
    assert (done.code, "cannot write out.html" in done.err) == (1, True)
    assert sorted(each.name for each in recorded.folder.glob("out*")) == ["out.html"]
    assert recorded.holter("report", "--public").code == 2
    assert recorded.holter("report", "--html", "-").out.startswith("<!doctype html>")
