"""Whatever is wrong with storage, the script is what it is without Holter.

Each script is run twice: with decorators that do nothing ("without"), and with Holter on broken storage. Result,
exception, exit code and standard output are compared; standard error may hold one line more, and all of it may take two
seconds longer.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holter.backends.errors import StorageError

from .conftest import Host

PLAIN = """
def flow(fn=None, **options):
    return fn if fn else lambda fn: fn
task = flow
class RunTimeout(Exception): pass
"""
BODIES = {
    "returns": """
        import sys
        @task(retries=2)
        def step(n):
            print("step", n)
            return n * n
        @flow(name="work", log_prints=True, tags=["a"])
        def main(day="monday"):
            return sum(step(n) for n in range(50))
        print(main())
    """,
    "raises": """
        @task
        def step(n):
            raise ValueError(f"no {n}")
        @flow(log_prints=True)
        def main():
            print("begin")
            step(7)
        main()
    """,
    "exits with 3": """
        import sys
        @task
        def step():
            print("before", flush=True)
            sys.exit(3)
        @flow
        def main():
            step()
        main()
    """,
    "exits with a text": """
        import sys
        @flow
        def main():
            sys.exit("nothing to do")
        main()
    """,
    "says a lot": """
        @flow(log_prints=True)
        def main():
            for n in range(2000):
                print("x" * 100, n)
        main()
        print("done")
    """,
    "works for a second": """
        import time
        @task
        def step(n):
            time.sleep(0.02)
            return n
        @flow
        def main():
            return sum(step(n) for n in range(50))
        print(main())
    """,
}


def without(host: Any, body: str, **env: str) -> Any:
    return host.run(host.script(PLAIN + textwrap.dedent(body), "without.py"), **env)


def tail(stderr: str) -> list[str]:
    """The traceback without our own frames: what it says, and where the user's code stood."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith(("File ", "Traceback", "^", "~"))][-1:]


def compare(host: Any, body: str, broken: Callable[[], Any], **env: str) -> float:
    """Run the script without Holter and on broken storage; return the seconds that the second took longer."""
    expected = without(host, body, **env)
    script = host.script("from holter import flow, task, RunTimeout\n" + textwrap.dedent(body))
    with broken():
        done = host.run(script, **env)
    assert (done.code, done.out) == (expected.code, expected.out), done.err
    ours = [line for line in done.err.splitlines() if line.startswith("holter:")]
    assert len(ours) <= 1, ours
    theirs = "\n".join(line for line in done.err.splitlines() if not line.startswith("holter:"))
    assert tail(theirs) == tail(expected.err)
    assert bool(theirs) == bool(expected.err)
    added = float(done.seconds - expected.seconds)
    assert added < 2.0
    return added


OFTEN = ("returns", "raises")


@pytest.fixture(
    params=[name if name in OFTEN else pytest.param(name, marks=pytest.mark.long) for name in BODIES]
)
def body(request: pytest.FixtureRequest) -> str:
    return BODIES[request.param]


@contextmanager
def nothing() -> Iterator[None]:
    yield


@pytest.mark.parametrize("name", BODIES)
def test_where_nothing_is_wrong(host: Any, name: str, figures: Any) -> None:
    added = compare(host, BODIES[name], nothing)
    figures(added_ms=round(added * 1000))


def test_another_process_holds_the_database(host: Any, body: str, figures: Any) -> None:
    host.run(host.script("from holter import flow\nflow(name='first')(lambda: None)()", "first.py"))

    @contextmanager
    def held() -> Iterator[None]:
        holder = sqlite3.connect(host.home / "holter.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")
        holder.close()

    added = compare(host, body, held)
    figures(added_ms=round(added * 1000))
    runs = host.runs()  # and nothing is lost: it waits in the journal
    assert {run.state for run in runs} <= {"COMPLETED", "FAILED"}
    assert len(runs) >= 2
    assert host.journals() == []


@pytest.mark.long
def test_another_process_holds_the_database_for_half_a_minute_and_the_script_lasts_longer(
    host: Any, figures: Any, until: Any
) -> None:
    import time

    host.run(host.script("from holter import flow\nflow(name='first')(lambda: None)()", "first.py"))
    script = host.script("""
        import time
        from holter import flow, task
        @task
        def step(n): time.sleep(0.05); return n
        @flow(name="long")
        def main(): return sum(step(n) for n in range(680))
        began = time.perf_counter()
        print(main())
        print(time.perf_counter() - began)
    """)
    holder = sqlite3.connect(host.home / "holter.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    process = host.start(script)
    time.sleep(30)
    holder.execute("ROLLBACK")
    holder.close()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.splitlines()[0] == str(sum(range(680)))
    assert err.count("\n") <= 1
    assert float(out.splitlines()[1]) < 680 * 0.05 + 4
    assert len([run for run in host.runs() if run.state == "COMPLETED"]) == 682
    figures(locked_seconds=30, runs=681)


def test_the_home_is_a_file(host: Any, body: str) -> None:
    host.home.write_text("not a folder")
    compare(host, body, nothing)


def test_the_home_cannot_be_made(host: Any, body: str) -> None:
    compare(host, body, nothing, HOLTER_HOME="/proc/no/such/place")


def test_the_home_is_missing_and_so_is_its_parent(host: Any, body: str) -> None:
    compare(host, body, nothing, HOLTER_HOME=str(host.folder / "a" / "b" / "c"))
    assert (host.folder / "a" / "b" / "c" / "holter.db").exists()


def test_the_home_is_read_only(host: Any, body: str, small_disk: Any) -> None:
    place = small_disk("1M")
    mount("ro", place)
    compare(host, body, nothing, HOLTER_HOME=str(place))
    compare(host, body, nothing, HOLTER_HOME=str(place / "home"))


@pytest.mark.parametrize("size", ["4k", "16k", "64k", "128k", "1M"])
def test_the_disk_is_full_or_becomes_full(host: Any, body: str, size: str, small_disk: Any) -> None:
    place = small_disk(size)
    if size == "64k":
        (place / "ballast").write_bytes(b"x" * 56 * 1024)
    compare(host, body, nothing, HOLTER_HOME=str(place))


def test_a_disk_that_was_full_for_a_while_costs_lines_and_no_endings(host: Any, small_disk: Any) -> None:
    """State events wait in memory; once there is room again they are written, in order."""
    place = small_disk("1M")
    script = host.script("""
        import os
        from holter import flow, task
        ballast = os.environ["HOLTER_HOME"] + "/ballast"
        @task
        def step(n): return n
        @flow
        def main():
            step(0)
            file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
            try:
                while True: os.write(file, b"x" * 4096)
            except OSError: os.close(file)
            for n in range(1, 100): step(n)
            os.unlink(ballast)
            step(100)
        main()
    """)
    done = host.run(script, HOLTER_HOME=str(place))
    assert (done.code, done.err.count("\n")) == (0, 1)
    host.home = place
    steps = [run for run in host.runs() if run.name == "step"]
    assert [run.parameters["n"] for run in steps] == list(range(101))
    assert {run.state for run in host.runs()} == {"COMPLETED"}


@pytest.mark.parametrize(
    ("last", "code", "state"), [("return 1", 0, "COMPLETED"), ("raise ValueError", 1, "FAILED")]
)
def test_a_script_that_ended_in_order_on_a_full_disk_is_not_called_crashed(
    host: Any, small_disk: Any, last: str, code: int, state: str
) -> None:
    """It could not write its ending down; the mode of its journal, which needs no room, says that it was one."""
    place = small_disk("1M")
    script = host.script(f"""
        import os
        from holter import flow, current_run
        @flow
        def main():
            file = os.open(os.environ["HOLTER_HOME"] + "/ballast", os.O_WRONLY | os.O_CREAT)
            try:
                while True: os.write(file, b"x" * 4096)
            except OSError: pass
            for _ in range(200): current_run().log("what is left of the journal's last page")
            {last}
        main()
    """)
    assert host.run(script, HOLTER_HOME=str(place)).code == code
    (place / "ballast").unlink()
    host.home = place
    run = host.one("main")
    assert (run.state, "disk was full" in run.reason) == (state, True)


@pytest.mark.parametrize(
    "text",
    [
        "project: [unclosed",
        "projekt: x",
        "heartbeat: soon",
        "\x00\x01",
        "- a\n- list",
        "limits: {db: many}",
        "&a [*a]",
    ],
    ids=["no YAML", "unknown key", "bad value", "binary", "a list", "bad limit", "recursive"],
)
def test_the_settings_are_broken(host: Any, body: str, text: str) -> None:
    host.settings(text)
    compare(host, body, nothing)
    assert len(host.runs()) >= 1


@pytest.mark.parametrize("kind", ["missing", "a folder", "unreadable"])
def test_the_settings_file_is_no_file(host: Any, kind: str) -> None:
    path: Path = host.folder / "settings.yaml"
    if kind == "a folder":
        path.mkdir()
    elif kind == "unreadable":
        os.symlink("/proc/self/mem", path)
    compare(host, BODIES["returns"], nothing, HOLTER_CONFIG=str(path))


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite:",
        "mysql://u:p@h/d",
        "sqlite:////proc/no.db",
        "file:////proc/no",
        "sqlite:///holter.yaml",
    ],
)
def test_the_backend_is_broken(host: Any, body: str, url: str) -> None:
    host.settings("project: x\n")
    compare(host, body, nothing, HOLTER_BACKEND=url)


def test_the_database_is_damaged(host: Any, body: str) -> None:
    host.home.mkdir()
    (host.home / "holter.db").write_bytes(b"this is no database" * 500)
    compare(host, body, nothing)


def test_the_heartbeat_setting_is_nonsense(host: Any) -> None:
    compare(host, BODIES["returns"], nothing, HOLTER_HEARTBEAT="often")


def test_standard_streams_may_be_closed(host: Any) -> None:
    import subprocess
    import sys

    script = host.script("from holter import flow, task\n" + textwrap.dedent(BODIES["returns"]))
    for env in (host.env, {**host.env, "HOLTER_HOME": "/proc/no"}):
        done = subprocess.run(
            ["sh", "-c", f"exec '{sys.executable}' '{script}' >&- 2>&- <&-"],
            env=env,
            cwd=host.folder,
            timeout=60,
        )
        assert done.returncode == 0


@pytest.mark.parametrize("what", ["the store", "the home"])
def test_what_was_deleted_under_a_watchdog_and_begun_anew_is_watched_like_the_old_one(
    host: Any, hook: Any, until: Any, what: str
) -> None:
    settings = f"""
        channels: {{hook: {{webhook: "{hook.url}"}}}}
        alerts: [{{on: [failed, crashed], to: [hook]}}]
        watchdog: {{interval: 0.2, digest: 0}}
    """

    def told(job: str) -> bool:
        return any(each["alert"]["job"] == job for each in hook.taken)

    host.settings(settings)
    with host.watching():
        host.holter("run", "--name", "before", "--", "false")
        until(lambda: told("before"), "the first alert")
        if what == "the home":
            shutil.rmtree(host.home)
            host.settings(settings)
        for name in ("", "-wal", "-shm"):  # the watchdog may be faster with those
            Path(f"{host.home}/holter.db{name}").unlink(missing_ok=True)
        for job in ("after", "later"):
            host.holter("run", "--name", job, "--", "false")
            until(lambda job=job: told(job), f"the alert of {job}")


@pytest.mark.parametrize("log", [True, False], ids=["with a log of writes", "without"])
def test_on_a_file_system_that_became_read_only_all_that_is_there_can_be_read(
    small_disk: Any, log: bool
) -> None:
    """As after an error of the disk. When it can be written again, it is."""
    host = Host(small_disk("8M"))
    host.holter("run", "--name", "job", "--", "sh", "-c", "echo said; exit 3")
    last_words = "os.kill(os.getpid(), 9)" if log else "store.close()"
    host.run(
        host.script(f"""
            import os
            from holter.backends.urls import open_backend
            store = open_backend("sqlite:///holter.db", os.environ["HOLTER_HOME"])
            store.put("test", "key", {{"in": "the log of writes"}}, 0)
            {last_words}
        """)
    )
    assert (host.home / "holter.db-wal").exists() == log
    mount("ro", host.folder)
    (run,) = host.json("runs")
    assert (run["name"], run["state"]) == ("job", "FAILED")
    for verb, says in {
        "show last": "exit code 3",
        "logs last": "said",
        "status": "job",
        "report": "job",
        "alerts": "",
        "explain last": "job",
        "doctor": "fail  home",
    }.items():
        done = host.holter(*verb.split())
        assert "Traceback" not in done.err and says in done.out + done.err, (verb, done)
    assert host.store.get("test", "key") is not None
    with pytest.raises(StorageError, match="read-only"):
        host.store.put("test", "other", {}, 0)
    refused = host.holter("alerts", "snooze", "job", "2h")
    assert (refused.code, refused.err.count("read-only file system")) == (1, 1)
    mount("rw", host.folder)
    assert host.store.put("test", "other", {}, 0) == 1
    host.store.close()


def mount(how: str, place: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)
