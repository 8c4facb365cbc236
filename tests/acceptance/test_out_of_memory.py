"""A process that the kernel kills for want of memory: in a real memory cgroup, and by a limit of its own."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

GROUPS = Path("/sys/fs/cgroup")
LIMIT = 64 * 2**20
HOLTER = [f"{sysconfig.get_path('scripts')}/holter"]
QUICK = {"HOLTER_HEARTBEAT": "0.2"}
SETTINGS = "    watchdog: {interval: 0.2}\n"
EATS = """
    import os, sys, time
    from holter import flow
    @flow(name="eats")
    def eats():
        while not os.path.exists("go"): time.sleep(0.01)
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1 << 20)))
    if len(sys.argv) > 1:
        open(sys.argv[1], "w").write(str(os.getpid()))
    eats()
"""


@pytest.fixture
def host(new_host: Any) -> Any:
    made = new_host()
    made.settings(SETTINGS)
    return made


@pytest.fixture
def group() -> Iterator[Path]:
    """A new memory cgroup beside all others, of 64 MiB; skips where this user may not make one."""
    first = (GROUPS / "memory").is_dir()  # cgroup v1
    folder = (GROUPS / "memory" if first else GROUPS) / f"holter-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here ({error.strerror}); run as root on a host with cgroups")
    try:
        limit = folder / ("memory.limit_in_bytes" if first else "memory.max")
        if not limit.exists():
            pytest.skip("the memory controller is not available to new cgroups here")
        limit.write_text(str(LIMIT))
        yield folder
    finally:
        with suppress(OSError):
            folder.rmdir()


def test_a_run_that_the_kernel_killed_for_want_of_memory_says_so(host: Any, group: Path, until: Any) -> None:
    process = host.start(host.script(EATS), str(group / "cgroup.procs"), **QUICK)
    with host.watching():
        until(lambda: host.seen(), "the run")
        until(lambda: host.store.list("host"), "the host's figures")
        (host.folder / "go").touch()
        assert process.wait(30) == -9
        until(lambda: host.seen()[0].ended, "the verdict")
        until(lambda: any(held.value["notes"] for _, held in host.store.list("host")), "the host's note")
    (run,) = host.seen()
    assert (run.state, run.reason) == ("CRASHED", "killed by the kernel: out of memory")
    (notes,) = [held.value["notes"] for _, held in host.store.list("host")]
    assert any("killed 1 process for want of memory" in note for note in notes)


def test_a_command_that_the_kernel_killed_for_want_of_memory_says_so_itself(host: Any, group: Path) -> None:
    (host.folder / "go").touch()
    script = host.script(
        EATS.replace("from holter import flow", "flow = lambda name: lambda function: function")
    )
    joins = f'echo $$ > {group}/cgroup.procs; exec "$0" "$@"'
    process = host.spawn(
        ["bash", "-c", joins, *HOLTER, "run", "--name", "eater", "--", sys.executable, str(script)]
    )
    assert process.wait(30) == 137
    run = host.one("eater")
    assert (run.state, run.signal, run.reason) == (
        "CRASHED",
        "SIGKILL",
        "killed by the kernel: out of memory",
    )


def test_a_run_that_was_killed_otherwise_does_not_blame_the_memory(host: Any, until: Any) -> None:
    process = host.start(host.script(EATS), **QUICK)
    with host.watching():
        until(lambda: host.seen(), "the run")
        process.kill()
        until(lambda: host.seen()[0].ended, "the verdict")
    assert host.seen()[0].reason.endswith("is gone without a word: killed, out of memory, or os._exit")


def test_a_run_that_reaches_its_own_limit_of_memory_fails_with_python_s_word_for_it(host: Any) -> None:
    script = host.script(EATS)
    (host.folder / "go").touch()
    limited = ["bash", "-c", 'ulimit -v 400000; exec "$0" "$@"', sys.executable, str(script)]
    process = host.spawn(limited)
    assert process.wait(30) == 1
    run = host.one("eats")
    assert run.state == "FAILED" and run.error["type"] == "MemoryError"
