"""A client that may send records must not be able to make a host start anything: not its watchdog, nor its people."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holter.agent import host_seal, rerun
from holter.agent.identity import host as hostname
from holter.agent.watchdog.automate import KIND
from holter.backends.base import Backend
from holter.backends.lines import encode
from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend
from tests.acceptance.collecting import Collector
from tests.acceptance.conftest import Host, wait_until
from tests.prove import Proof

pytestmark = pytest.mark.proof

RULE = "alerts: {on: [failed], rerun: true, max: 50 per 1h, back_off: 0s}"
JOB = "from holter import flow\n@flow\ndef etl(): raise ValueError('no')\netl()\n"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host whose records go to a collector, and whose owner lets failed jobs be started again."""
    collector = Collector(tmp_path).start()
    made = Host(tmp_path, backend=collector.url)
    made.settings(RULE)
    yield made
    made.close()
    collector.close()


def failed(header: dict[str, Any], number: int, **start: Any) -> bytes:
    """The journal of a run that failed just now, as anybody may write it."""
    at, run = time.time(), f"0forged{number}"
    return b"".join(
        map(
            encode,
            (
                {"event": "process", "at": at, **header},
                {"event": "start", "run": run, "at": at, "kind": "flow", "name": f"j{number}", **start},
                {"event": "end", "run": run, "at": at, "state": "FAILED"},
            ),
        )
    )


def forgeries(genuine: dict[str, Any], argv: list[str], folder: str) -> list[tuple[dict[str, Any], Any]]:
    """Header and start of each lie about what this host ran."""
    bare = {"host": hostname(), "argv": argv, "cwd": folder, "pid": 1}
    facts: dict[str, Any] = {"argv": argv, "cwd": folder}
    command = {**facts, "kind": "command"}
    wrapped = ["holter", "run", "--", *argv]
    return [
        (bare, facts),
        (bare, {}),
        (bare, command),
        ({**bare, "argv": wrapped}, command),
        ({**bare, "seal": ""}, facts),
        ({**bare, "seal": None}, facts),
        ({**bare, "seal": "0" * 32}, facts),
        ({**bare, "seal": "\u00e9"}, facts),
        ({**genuine, "argv": argv}, {}),  # under the seal of a record that one may read
        ({**genuine, "argv": argv, "cwd": folder}, facts),
        ({**genuine, "cwd": folder}, facts),
        ({**genuine, "argv": wrapped}, command),
        (genuine, facts),
        (genuine, command),
    ]


def test_neither_the_watchdog_nor_a_person_starts_what_a_client_made_up(
    host: Host, tmp_path: Path, proof: Proof
) -> None:
    host.run(host.script(JOB))
    genuine = dict(host.store.processes(open_only=False)[0].header)
    assert genuine["seal"]
    trap = tmp_path / "owned"
    lies = forgeries(genuine, ["/usr/bin/touch", str(trap)], str(tmp_path))
    client = open_backend(host.backend, str(tmp_path / "client"))
    for number, (header, start) in enumerate(lies):
        client.append(f"forged{number}", 0, failed({**header, "journal": f"forged{number}"}, number, **start))
    client.close()
    with host.watching():
        documents = wait_until(lambda: _settled(host.store, len(lies)), "an answer to each")
    by_hand = range(0, len(lies), proof.of(5, 1))
    for number in by_hand:
        done = host.holter("rerun", f"0forged{number}")
        assert (done.code, trap.exists()) == (1, False), lies[number]
        assert "others sent starts nothing here" in done.err
    assert not trap.exists()
    refused = [each for each in documents if each["run_id"].startswith("0forged")]
    assert {each["state"] for each in refused} == {"failed"}
    assert all("starts nothing here" in each["reason"] for each in refused)
    proof.count(len(lies) + len(by_hand), "forged records")


def _settled(store: Backend, many: int) -> list[Any]:
    found = [held.value for _, held in store.list(KIND)]
    ended = [each for each in found if each["state"] == "failed" and each["run_id"].startswith("0forged")]
    return found if len(ended) == many else []


def test_what_a_host_recorded_itself_is_started_again_through_a_collector_too(host: Host) -> None:
    script = host.script(JOB)
    host.run(script)
    assert host.holter("rerun", "last:etl").code == 1
    with host.watching():
        wait_until(lambda: len(host.store.runs(RunQuery(job="etl"))) > 2, "the watchdog's rerun")


def test_a_key_that_another_could_read_or_put_there_seals_nothing(tmp_path: Path) -> None:
    home, key = str(tmp_path), tmp_path / host_seal.KEY
    header: dict[str, Any] = {"host": "h", "argv": ["true"], "cwd": "/"}
    seal = host_seal.seal_of(home, header)
    assert host_seal.is_sealed(home, {**header, "seal": seal})
    assert key.stat().st_mode & 0o777 == 0o600
    good = key.read_bytes()
    harms: list[Callable[[], object]] = [
        lambda: key.chmod(0o640),
        lambda: key.write_bytes(good[:-1]),
        lambda: (key.rename(tmp_path / "real"), key.symlink_to(tmp_path / "real")),
        lambda: (key.unlink(), os.mkfifo(key)),
        lambda: (key.unlink(), key.mkdir()),
    ]
    for harm in harms:
        harm()
        assert host_seal.seal_of(home, header) is None
        assert not host_seal.is_sealed(home, {**header, "seal": seal})


def test_every_member_of_a_header_that_says_what_ran_is_under_the_seal(tmp_path: Path) -> None:
    header: dict[str, Any] = dict.fromkeys(host_seal.SEALED, "x")
    seal = host_seal.seal_of(str(tmp_path), header)
    for name in host_seal.SEALED:
        assert not host_seal.is_sealed(str(tmp_path), {**header, name: "y", "seal": seal}), name
    assert host_seal.is_sealed(str(tmp_path), {**header, "seal": seal})


def test_planted_without_the_seal_a_forged_record_is_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_backend("memory:forged", "")
    argv = ["/usr/bin/touch", "owned"]
    store.append("j1", 0, failed({"host": hostname(), "argv": argv, "cwd": "/"}, 1))
    (run,) = store.runs(RunQuery())
    with pytest.raises(rerun.NotRerun, match="starts nothing here"):
        rerun.command_of(store, run, str(tmp_path))
    monkeypatch.setattr(rerun, "is_sealed", lambda home, header: True)
    assert rerun.command_of(store, run, str(tmp_path)) == (argv, "/")
