"""`holter serve` and `holter token` as an operator types them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from .collecting import Collector

JOB = """
    from holter import current_run, flow

    @flow
    def etl():
        current_run().log("hello")

    etl()
"""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "without a token"),  # noqa: S104 - it is refused
        (["--keyfile", "key.pem"], "a key without a certificate"),
        (["--certfile", "none.pem"], "cannot use none.pem"),
        (["--backend", "https://elsewhere"], "is a collector"),
        (["--backend", "memory:"], "end with the collector"),
        (["--backend", "nope:"], "known schemes"),
        (["--port", "99999"], "--port"),
    ],
)
def test_what_cannot_be_served_is_one_line_with_a_hint(host: Any, options: list[str], said: str) -> None:
    done = host.holter("serve", *options)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert said in done.err
    assert "(" in done.err


def test_a_port_that_is_taken_is_said_in_one_line(host: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = host.holter("serve", "--port", str(taken.getsockname()[1]))
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "already in use" in done.err


def test_tokens_are_made_shown_once_listed_and_revoked(host: Any) -> None:
    assert host.holter("token", "new").code == 2
    assert host.holter("token", "new", "--watch", "--project", "p").code == 2
    made = host.holter("token", "new", "--ingest", "--read", "--project", "shop")
    text = made.out.strip()
    assert text.startswith("holter_")
    assert text not in made.err
    listed = host.json("token", "ls")
    assert text not in json.dumps(listed)
    assert [(each["scopes"], each["project"]) for each in listed] == [(["ingest", "read"], "shop")]
    assert host.holter("token", "revoke", listed[0]["id"]).code == 0
    assert "revoked" in host.holter("token", "ls").out
    assert "no token" in host.holter("token", "revoke", "nobody").err


def test_a_host_with_an_ingest_token_records_offline_and_a_later_command_sends_what_is_left(
    new_host: Any, tmp_path: Path
) -> None:
    collector = Collector(tmp_path)
    here = new_host(f"sqlite:///{collector.home}/collector.db")
    token = here.holter("token", "new", "--ingest").out.strip()
    there = new_host(collector.url)
    done = there.run(there.script(JOB), HOLTER_TOKEN=token)
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert "wait in the journal" in done.err
    assert token not in done.err
    began = time.monotonic()
    away = there.holter("runs")
    assert (away.code, time.monotonic() - began < 6.0) == (1, True)
    assert collector.url in away.err
    assert len(there.journals()) == 1
    collector.start()
    try:
        listed = there.holter("runs", HOLTER_TOKEN=token)  # may not read, but what waits is sent
        assert "may ingest" in listed.err
        assert there.journals() == []
        assert [run.state for run in here.seen()] == ["COMPLETED"]
        sound = there.holter("doctor", HOLTER_TOKEN=token)
        assert (sound.code, "✘" in sound.out) == (0, False), sound.out
        assert sound.out.count("not to be seen from here") == 3
        assert "is not known here" in there.holter("doctor", HOLTER_TOKEN="holter_no_one").out
        assert there.holter("doctor", HOLTER_TOKEN="holter_no_one").code == 1
    finally:
        collector.close()


def test_tls_is_trusted_by_the_authority_that_is_named_and_by_no_other(new_host: Any, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("install openssl")
    names = ["-subj", "/CN=collector", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", f"{tmp_path}/key.pem", "-out", f"{tmp_path}/cert.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names, *files],
        check=True,
        capture_output=True,
    )
    collector = Collector(tmp_path, "--certfile", f"{tmp_path}/cert.pem", "--keyfile", f"{tmp_path}/key.pem")
    try:
        collector.start(over_tls=True)
        there = new_host(f"https://127.0.0.1:{collector.port}")
        script = there.script(JOB)
        assert "not trusted" in there.run(script).err
        assert there.run(script, HOLTER_CAFILE=f"{tmp_path}/cert.pem").err == ""
        assert there.holter("runs", HOLTER_CAFILE=f"{tmp_path}/cert.pem").out.count("COMPLETED") == 2
    finally:
        collector.close()
