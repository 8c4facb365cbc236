"""`concurrency()` over a shared limit: who is kept out, what is given back when, and what a lost lease does."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from holter.backends.records import Json
from holter.backends.urls import open_backend

Python = Callable[..., subprocess.CompletedProcess[str]]
HEAD = """
import asyncio, os, signal, sys, threading, time
from holter import concurrency, configure, flow
from holter.backends.errors import HolterError, LeaseLost, SlotReentry, SlotTimeout, StorageError
configure(limits={"gpu": {"slots": 1, "scope": "shared", "lease": 0.8, "on_lease_lost": "%s"}})
def cut():
    from holter.agent import lease_keeper
    class Away:
        def get(self, *key): raise StorageError("cut")
        def close(self): pass
    lease_keeper.keeper()._store = Away()
"""


@pytest.fixture
def job(python: Python) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(text: str, mode: str = "warn") -> subprocess.CompletedProcess[str]:
        return python(HEAD % mode + textwrap.dedent(text))

    return run


def limit(tmp_path: Path) -> Json:
    store = open_backend("sqlite:///holter.db", str(tmp_path / "home"))
    found = store.get("lease", "gpu")
    store.close()
    assert found is not None
    return found.value


def test_one_is_in_and_others_are_kept_out_and_a_token_is_never_given_twice(
    job: Python, tmp_path: Path
) -> None:
    done = job("""
        def other():
            for seconds in (0, 0.2):
                try:
                    concurrency("gpu", timeout_seconds=seconds).__enter__()
                except SlotTimeout as error:
                    print(type(error).__name__)
        with concurrency("gpu") as held:
            print(held.scope, held.token, held.held[0].numbers, held.lost)
            thread = threading.Thread(target=other); thread.start(); thread.join()
            try:
                concurrency("gpu").__enter__()
            except SlotReentry:
                print("re-entry")
            time.sleep(2)  # more than two leases: it is renewed
            print(held.lost)
        async def main():
            async with concurrency("gpu") as held:
                print(held.token)
        asyncio.run(main())
    """)
    assert done.stderr == ""
    assert done.stdout.split("\n") == [
        *("shared 1 (0,) False", "SlotTimeout", "SlotTimeout", "re-entry", "False", "2", ""),
    ]
    assert (limit(tmp_path)["holders"], limit(tmp_path)["queue"]) == ([], [])


@pytest.mark.parametrize(
    ("leave", "code"),
    [("sys.exit(3)", 3), ("1 / 0", 1), ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", -15)],
)
def test_it_is_given_back_however_the_script_ends(job: Python, tmp_path: Path, leave: str, code: int) -> None:
    assert job(f"concurrency('gpu').__enter__(); {leave}").returncode == code
    assert limit(tmp_path)["holders"] == []


def test_a_forked_child_neither_renews_nor_gives_back(job: Python, tmp_path: Path) -> None:
    done = job("""
        held = concurrency("gpu"); held.__enter__()
        if os.fork() == 0:
            held.__exit__(None, None, None)
            sys.exit(0)
        os.wait()
        time.sleep(1.5)
        print(held.lost)
        held.__exit__(None, None, None)
    """)
    assert done.stdout == "False\n"


def test_of_a_killed_holder_the_next_asker_of_its_host_has_the_proof(job: Python, tmp_path: Path) -> None:
    assert job("concurrency('gpu').__enter__(); os.kill(os.getpid(), 9)").returncode == -9
    assert len(limit(tmp_path)["holders"]) == 1
    assert job("print(concurrency('gpu', timeout_seconds=0).__enter__().token)").stdout == "2\n"


def test_a_lost_lease_is_said_once_and_the_block_goes_on(job: Python) -> None:
    done = job("""
        with concurrency("gpu") as held:
            cut(); time.sleep(1.5); print(held.lost)
    """)
    assert done.stdout == "True\n"
    assert done.stderr.count("could not be renewed in time") == 1


@pytest.mark.parametrize(
    ("where", "busy"),
    [("main", "time.sleep(9)"), ("main", "while True: pass"), ("thread", "while True: pass")],
)
def test_cancel_ends_a_block_as_a_time_out_does(job: Python, where: str, busy: str) -> None:
    call = "work()" if where == "main" else "t = threading.Thread(target=work); t.start(); t.join()"
    done = job(
        f"""
def work():
    began = time.monotonic()
    try:
        with concurrency("gpu"):
            cut()
            {busy}
    except LeaseLost as error:
        print("lost", time.monotonic() - began < 2, "token 1" in str(error))
{call}
""",
        "cancel",
    )
    assert done.stdout == "lost True True\n", done.stderr


def test_cancel_ends_a_task_and_a_flow_is_not_tried_again_without_its_limit(job: Python) -> None:
    done = job(
        """
        async def main():
            async with concurrency("gpu"):
                cut()
                await asyncio.sleep(9)
        try:
            asyncio.run(main())
        except LeaseLost:
            print("lost")
        time.sleep(1)
        @flow(limit="gpu", retries=2)
        def work():
            print("in"); cut(); time.sleep(9)
        from holter.agent import lease_keeper
        lease_keeper.keeper()._store = None
        try:
            work()
        except LeaseLost:
            print("lost")
        """,
        "cancel",
    )
    assert done.stdout == "lost\nin\nlost\n", done.stderr


def test_without_an_answer_nobody_goes_in(python: Python) -> None:
    done = python(
        HEAD % "warn" + "concurrency('gpu', timeout_seconds=0).__enter__()",
        HOLTER_BACKEND="http://127.0.0.1:9",
    )
    assert done.returncode == 1
    assert "StorageError" in done.stderr
    assert "nobody could be kept out" in done.stderr


def test_nothing_of_it_is_loaded_where_it_is_not_used() -> None:
    code = "import sys; from holter import concurrency; print([m for m in sys.modules if '.lease' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
