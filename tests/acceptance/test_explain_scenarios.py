"""`holter explain` on ten failures whose cause was planted, and on ten healthy runs: real scripts, really run."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

from .conftest import Host

FLOW = """
    import os, sys, time
    from holter import flow, task

    @task
    def fetch(day):
        {fetch}
        print("fetched", day, "in", time.time())

    @task
    def store(day, limit):
        {store}
        print("stored", limit, "rows of", day, "as", os.urandom(8).hex())

    @flow(name="etl", log_prints=True, {options})
    def etl(day, limit=100):
        fetch(day)
        store(day, limit)

    etl(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100)
"""


def flow(fetch: str = "pass", store: str = "pass", options: str = "") -> str:
    return FLOW.format(fetch=fetch, store=store, options=options)


def explained(host: Host, job: str = "etl") -> Any:
    return host.json("explain", f"last:{job}")


def succeed(host: Host, script: Path, *args: str, times: int = 2, **env: str) -> None:
    for number in range(times):
        done = host.run(script, f"2026-11-0{number + 1}", *args, **env)
        assert done.code == 0, done.err


def a_dependency_was_upgraded(host: Host) -> str:
    for version, signature in (("1.4.0", "rows"), ("2.0.0", "rows, schema")):
        folder = host.folder / version
        folder.mkdir()
        (folder / "acme.py").write_text(f"__version__ = {version!r}\ndef load({signature}): pass\n")
    script = host.script(flow(store="import acme; acme.load([])"))
    succeed(host, script, PYTHONPATH=str(host.folder / "1.4.0"))
    host.run(script, "2026-11-03", PYTHONPATH=str(host.folder / "2.0.0"))
    return "acme is 2.0.0, and was 1.4.0"


def a_parameter_was_changed(host: Host) -> str:
    script = host.script(flow(store="print(1000 // limit)"))
    succeed(host, script)
    host.run(script, "2026-11-03", "0")
    return "limit is 0, and was 100"


def an_input_is_missing(host: Host) -> str:
    (host.folder / "orders.csv").write_text("a,b\n")
    script = host.script(flow(fetch='open("orders.csv").read()'))
    succeed(host, script)
    (host.folder / "orders.csv").unlink()
    host.run(script, "2026-11-03")
    return "orders.csv"


def what_it_reads_from_became_slow(host: Host) -> str:
    script = host.script(flow(fetch='time.sleep(float(os.environ["SLOW"]))', options="timeout_seconds=2.5"))
    succeed(host, script, SLOW="0.05")
    host.run(script, "2026-11-03", SLOW="30")
    return "Step fetch took"


def the_disk_is_full(host: Host) -> str:
    script = host.script(flow(store='open(os.environ["OUT"], "w", buffering=1).write("x" * 100 + chr(10))'))
    succeed(host, script, OUT=str(host.folder / "out"))
    host.run(script, "2026-11-03", OUT="/dev/full")
    return "disk is full"


def the_network_is_flaky(host: Host) -> str:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        script = host.script(flow(fetch=f'import socket; socket.create_connection(("127.0.0.1", {port}), 2)'))
        succeed(host, script)
    host.run(script, "2026-11-03")
    with socket.create_server(("127.0.0.1", port)):
        succeed(host, script, times=1)
    host.run(script, "2026-11-04")
    assert "once before" in explained(host)["before"]
    return "network"


def the_code_was_changed(host: Host) -> str:
    succeed(host, host.script(flow()))
    host.run(host.script(flow(store='raise KeyError("customer")')), "2026-11-03")
    return "job.py was changed"


def it_ran_on_a_new_host(host: Host) -> str:
    script = host.script(flow(store='assert os.uname().nodename != "web-2", "no licence for this machine"'))
    succeed(host, script)
    named = ["unshare", "--uts", "sh", "-c", 'hostname web-2 && exec "$@"', "sh", sys.executable, str(script)]
    process = host.spawn([*named, "2026-11-03"])
    process.communicate()
    return "host is web-2"


def the_memory_ran_out(host: Host) -> str:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29)); "
    script = host.script(flow(store=f"{limit}x = bytearray(int(os.environ['EAT']))"))
    succeed(host, script, EAT="1000000")
    host.run(script, "2026-11-03", EAT="1000000000")
    return "memory ran out"


def the_time_zone_is_another(host: Host) -> str:
    script = host.script(flow(store='assert time.localtime().tm_gmtoff == 3600, "no rows of the last hour"'))
    succeed(host, script, TZ="Europe/Berlin" if winter() else "Etc/GMT-1")
    host.run(script, "2026-11-03", TZ="America/New_York")
    return "time zone is"


def winter() -> bool:
    import time
    from datetime import datetime
    from zoneinfo import ZoneInfo

    return datetime.fromtimestamp(time.time(), ZoneInfo("Europe/Berlin")).utcoffset().total_seconds() == 3600  # type: ignore[union-attr]


SCENARIOS = (
    a_dependency_was_upgraded,
    a_parameter_was_changed,
    an_input_is_missing,
    what_it_reads_from_became_slow,
    the_disk_is_full,
    the_network_is_flaky,
    the_code_was_changed,
    it_ran_on_a_new_host,
    the_memory_ran_out,
    the_time_zone_is_another,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_the_planted_cause_is_named_among_the_first_three(
    host: Host, scenario: Callable[[Host], str]
) -> None:
    if scenario is it_ran_on_a_new_host and shutil.which("unshare") is None:
        pytest.skip("no unshare: apt install util-linux")
    planted = scenario(host)
    told = explained(host)
    assert told["state"] in ("FAILED", "TIMED_OUT", "CRASHED"), told
    print(told["causes"][:3])
    assert any(planted in cause for cause in told["causes"][:3]), told["causes"]


@pytest.mark.parametrize("number", range(10))
def test_of_a_healthy_run_nothing_is_invented(host: Host, number: int) -> None:
    noise = f"time.sleep({number % 4} * 0.05 * (hash(day) % 3)); print('batch', time.time(), hash(day))"
    script = host.script(
        flow(fetch=noise, store="print('worker', os.getpid(), id(day))" * (number % 2) or "pass")
    )
    succeed(host, script, *(("50",) if number == 3 else ()))
    for day in range(3):
        assert host.run(script, f"2026-11-1{day}", str(100 + number * day)).code == 0
    told = explained(host)
    assert (told["state"], told["causes"], told["diverged"], told["before"]) == ("COMPLETED", [], None, None)


def test_explaining_as_markdown_and_asking_a_command_of_the_readers_choice(host: Host) -> None:
    the_code_was_changed(host)
    said = host.holter("explain", "last:etl", "--markdown").out
    assert said.startswith("# etl is FAILED")
    assert "\n## Why, probably\n\n1. " in said
    assert host.holter("explain", "last:etl", "--ask", "grep -c '^1. '").out == "1\n"
    failed = host.holter("explain", "last:etl", "--ask", "sh -c 'cat >/dev/null; exit 3'")
    assert (failed.code, "exit code 3" in failed.err) == (1, True)
    missing = host.holter("explain", "last:etl", "--ask", "no-such-command-here")
    assert (missing.code, "cannot start" in missing.err) == (1, True)
    assert host.holter("explain", "last:etl", "--ask", "'").code == 2
