"""`holter rerun`: what ran is started again as it was, and says why it runs; where that cannot be, it says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holter.agent.identity import host as hostname
from holter.backends.lines import encode
from tests.acceptance.conftest import Host

Hosts = Callable[[], Host]
ETL = """
    import os, sys
    from holter import flow
    @flow
    def etl():
        print("in", os.path.basename(os.getcwd()), sys.argv[1:], os.environ.get("KEPT"), os.environ.get("LEFT"))
        sys.exit(3)
    etl()
"""


def test_a_script_runs_again_where_and_as_it_ran_and_names_its_cause(new_host: Hosts) -> None:
    host = new_host()
    host.settings('rerun: {env: ["PATH", "KEP*"]}')
    first = host.run(host.script(ETL), "one", "two words")
    again = host.holter("rerun", "last:etl", KEPT="yes", LEFT="no")
    assert (first.code, again.code) == (3, 3)
    assert again.out == "in host0 ['one', 'two words'] yes None\n"
    old, new = host.runs()
    user = old.user
    assert (old.cause, new.cause) == (None, {"rerun_of": old.id, "by": user})
    (shown,) = [each for each in host.json("runs") if each["id"] == new.id]
    assert shown["cause"] == {"rerun_of": old.id, "by": user}
    assert f"rerun of {old.id} by {user}" in host.holter("show", new.id).out


def test_a_command_runs_again_under_its_name_with_its_options(new_host: Hosts) -> None:
    host = new_host()
    host.holter("run", "--name", "sync", "--retries", "1", "--tag", "nightly", "--", "sh", "-c", "kill -9 $$")
    assert host.holter("rerun", "last:sync").code == 137
    old, new = host.runs()
    assert (new.name, new.tags, new.attempt, new.argv) == (old.name, ("nightly",), 2, old.argv)
    assert new.cause is not None and new.cause["rerun_of"] == old.id


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"argv": ["load", "--token=***"]}, "holds a secret"),
        ({"argv": ["python3"]}, "has no script"),
        ({"argv": []}, "was not recorded"),
        ({"argv": ["load", "..."]}, "too long to be recorded whole"),
        ({"argv": ["load"], "cwd": "/nowhere/at/all"}, "folder of 0abc is gone"),
        ({"argv": ["load"], "parent": "0xyz"}, "ran inside"),
    ],
)
def test_what_is_not_known_whole_is_refused_with_what_to_do(
    new_host: Hosts, fields: dict[str, str], why: str
) -> None:
    host = new_host()
    host.home.mkdir(mode=0o700)
    start = {
        "event": "start",
        "run": "0abc",
        "at": 1.8e9,
        "kind": "flow",
        "name": "load",
        "cwd": "/",
        **fields,
    }
    process = {"event": "process", "at": 1.8e9, "host": hostname()}
    end = {"event": "end", "run": "0abc", "at": 1.8e9 + 1, "state": "FAILED"}
    host.store.append("j1", 0, b"".join(map(encode, (process, start, end))))
    done = host.holter("rerun", "0abc")
    assert done.code == 1
    assert why in done.err
    assert len(host.runs()) == 1


def test_a_run_of_another_host_and_one_that_goes_on_are_refused(new_host: Hosts) -> None:
    host = new_host()
    host.home.mkdir(mode=0o700)
    start = {"event": "start", "run": "0abc", "at": 1.8e9, "kind": "flow", "name": "load", "argv": ["load"]}
    process = {"event": "process", "at": 1.8e9, "host": "elsewhere-9"}
    written = host.store.append("j1", 0, b"".join(map(encode, (process, start))))
    assert "0abc is RUNNING" in host.holter("rerun", "0abc").err
    host.store.append(
        "j1", written, encode({"event": "end", "run": "0abc", "at": 1.8e9 + 1, "state": "FAILED"})
    )
    assert "type it on elsewhere-9" in host.holter("rerun", "0abc").err
