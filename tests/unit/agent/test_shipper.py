"""The shipper: bytes from an offset, any number of senders, a journal that is replaced, a store that is away."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HURRY = "import holter.agent.shipper as s; s.INTERVAL, s.REST = 0.001, 0"


def test_events_arrive_while_the_process_lives(python: Any, left: Any) -> None:
    done = python("""
        import os, time
        from holter import flow
        from holter.backends.urls import open_backend
        from holter.backends.queries import RunQuery
        @flow
        def main():
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                if os.path.exists(home + "/holter.db"):
                    store = open_backend("sqlite:///holter.db", home)
                    if store.runs(RunQuery()): return print(store.runs(RunQuery())[0].state)
                time.sleep(0.01)
        home = os.environ["HOLTER_HOME"]
        main()
    """)
    assert done.stdout == "RUNNING\n"
    assert left().run.state == "COMPLETED"


def test_the_lines_after_the_first_do_not_wait_for_what_it_took_to_open_the_store(python: Any) -> None:
    """0.3 s of a driver's import, which would be rested for during 30 s."""
    done = python("""
        import os, time
        import holter.agent.shipper as s
        from holter import flow
        from holter.backends.urls import open_backend
        s.REST = 100
        begin = s.Shipper.__init__
        def with_a_slow_driver(self, journal, heartbeat, open_store, carry):
            def opened():
                until = time.thread_time() + 0.3
                while time.thread_time() < until: pass
                return open_store()
            begin(self, journal, heartbeat, opened, carry)
        s.Shipper.__init__ = with_a_slow_driver
        def until(there):
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                if there(): return True
                time.sleep(0.01)
        @flow
        def main():
            home = os.environ["HOLTER_HOME"]
            until(lambda: os.path.exists(home + "/holter.db"))
            store = open_backend("sqlite:///holter.db", home)
            until(store.processes)
            offset = store.processes()[0].offset
            print("the second")
            return until(lambda: store.processes()[0].offset > offset)
        print(main())
    """)
    assert done.stdout == "the second\nTrue\n"


@pytest.mark.parametrize("threads", [1, 4])
def test_nothing_is_lost_or_doubled_where_the_journal_is_replaced_under_many_writers(
    python: Any, left: Any, tmp_path: Path, threads: int
) -> None:
    done = python(
        f"""
        {HURRY}; s.ROTATE_AT = 4000
        import sys, threading, time
        from holter import flow, task, current_run
        sys.setswitchinterval(1e-5)
        @task
        def step(n): current_run().log(str(n)), time.sleep(0.002)
        @flow
        def main():
            def work(k):
                for n in range(150): step(n + 1000 * k)
            crew = [threading.Thread(target=work, args=(k,)) for k in range({threads})]
            [thread.start() for thread in crew]
            [thread.join() for thread in crew]
        for _ in range(4): main()
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "home" / "journals").iterdir()) == []
    found = left()
    steps = [run for run in found.runs if run.name == "step"]
    assert Counter(run.state for run in found.runs) == {"COMPLETED": 4 * (150 * threads + 1)}
    assert Counter(run.parameters["n"] for run in steps) == {
        n + 1000 * k: 4 for n in range(150) for k in range(threads)
    }
    lines = [line for run in found.runs if run.parent_id is None for line in found.lines(run, tree=True)]
    assert len(lines) == 4 * 150 * threads
    assert len(found._store.processes(open_only=False)) > 3  # it was replaced indeed


def test_runs_that_are_open_when_the_journal_is_replaced_are_found_crashed_after_a_kill(
    python: Any, left: Any, tmp_path: Path
) -> None:
    done = python(
        f"""
        {HURRY}; s.ROTATE_AT = 4000
        import os, signal, time
        from holter import flow, task, current_run
        @task
        def inner():
            run = current_run()
            begun = os.listdir(os.environ["HOLTER_HOME"] + "/journals")
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                run.log("x" * 500)
                time.sleep(0.001)
                now = os.listdir(os.environ["HOLTER_HOME"] + "/journals")
                if len(now) == 1 and not set(now) & set(begun): break
            os.kill(os.getpid(), signal.SIGKILL)
        @task
        def before(): ...
        @flow
        def main(): before(); inner()
        main()
        """
    )
    assert done.returncode == -9
    assert left().states == {"main": "CRASHED", "before": "COMPLETED", "inner": "CRASHED"}


def test_the_rest_of_a_journal_that_was_replaced_just_when_the_store_went_away_is_sent_before_the_new_one(
    python: Any, left: Any, tmp_path: Path
) -> None:
    """It stayed until the process ended, with its descriptor: the store had later events, and not these."""
    done = python(
        f"""
        {HURRY}; s.ROTATE_AT, s.RETRY_AT_MOST = 4000, 0.01
        import os, time
        from holter import flow, task, current_run
        from holter.backends.errors import StorageError
        begin, arrived = s.Shipper.__init__, []
        class SometimesAway:
            def __init__(self, store, shipper):
                self.store, self.shipper, self.refusals = store, shipper, 3
            def append(self, journal, offset, data):
                if journal != self.shipper.journal.id and self.refusals:
                    self.refusals -= 1
                    raise StorageError("away")
                if journal not in arrived: arrived.append(journal)
                assert journal == arrived[-1], "the old one after the new one"
                return self.store.append(journal, offset, data)
            def close(self): self.store.close()
        def with_such_a_store(self, journal, heartbeat, open_store, carry):
            begin(self, journal, heartbeat, lambda: SometimesAway(open_store(), self), carry)
        s.Shipper.__init__ = with_such_a_store
        @task
        def step(n): current_run().log("x" * 500)
        @flow
        def main():
            deadline, n = time.monotonic() + 20, 0
            while len(arrived) < 3 and time.monotonic() < deadline:
                step(n)
                n += 1
                time.sleep(0.002)
            while len(os.listdir(journals)) > 1 and time.monotonic() < deadline: time.sleep(0.002)
            fds = ["/dev/fd/" + fd for fd in os.listdir("/dev/fd")]
            print(len(os.listdir(journals)), sum("jsonl" in os.readlink(fd) for fd in fds if os.path.exists(fd)))
            return n
        journals = os.environ["HOLTER_HOME"] + "/journals"
        main()
        """
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "1 1\n", 1), done
    assert list((tmp_path / "home" / "journals").iterdir()) == []
    found = left()
    steps = [run for run in found.runs if run.name == "step"]
    assert Counter(run.parameters["n"] for run in steps) == Counter(range(len(steps)))


def test_a_store_that_is_away_is_said_once_and_found_again(python: Any, left: Any, tmp_path: Path) -> None:
    done = python(
        f"""
        {HURRY}; s.RETRY_AT_MOST = 0.01
        import os, time
        from holter import flow, task
        home = os.environ["HOLTER_HOME"]
        os.makedirs(home + "/holter.db")  # a folder where the database should be
        @task
        def step(n): time.sleep(0.002)
        @flow
        def main():
            for n in range(50): step(n)
            os.rmdir(home + "/holter.db")
            for n in range(50): step(n)
        main()
        """
    )
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert len(left().runs) == 101
    assert list((tmp_path / "home" / "journals").iterdir()) == []


def test_what_waits_past_the_cap_loses_lines_and_says_how_many_but_no_states(
    python: Any, left: Any, tmp_path: Path
) -> None:
    done = python(
        f"""
        {HURRY}; s.CAP = 20_000; s.RETRY_AT_MOST = 0.01
        import os, time
        from holter import flow, task, current_run
        home = os.environ["HOLTER_HOME"]
        os.makedirs(home + "/holter.db")
        @task
        def step(n): current_run().log("x" * 100); time.sleep(0.001)
        @flow
        def main():
            for n in range(300): step(n)
            os.rmdir(home + "/holter.db")
        main()
        """
    )
    assert done.returncode == 0
    found = left()
    steps = [run for run in found.runs if run.name == "step"]
    assert (len(steps), {run.state for run in steps}) == (300, {"COMPLETED"})
    kept = len(found.lines(found.named("main"), tree=True))
    dropped = sum(run.dropped["lines"] for run in steps if run.dropped)
    assert kept + dropped == 300
    assert kept > 0 and dropped > 0


def test_the_store_may_be_emptied_while_the_process_runs(python: Any, left: Any, tmp_path: Path) -> None:
    done = python(
        f"""
        {HURRY}
        import os, time
        from holter import flow, task
        home = os.environ["HOLTER_HOME"]
        @task
        def step(n): time.sleep(0.002)
        @flow
        def main():
            for n in range(50): step(n)
            for name in os.listdir(home):
                if name.startswith("holter.db"): os.unlink(home + "/" + name)
            for n in range(50): step(n)
        main()
        """
    )
    assert done.returncode == 0
    assert done.stderr.count("\n") <= 1


def test_a_beat_comes_with_every_heartbeat_and_does_not_wait_for_the_store(
    python: Any, left: Any, tmp_path: Path
) -> None:
    done = python(
        """
        import json, os, sqlite3, time
        from holter import flow
        home = os.environ["HOLTER_HOME"]
        flow(name="first")(lambda: None)
        os.makedirs(home)
        from holter.backends.urls import open_backend
        open_backend("sqlite:///holter.db", home).close()
        holder = sqlite3.connect(home + "/holter.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        @flow
        def main():
            time.sleep(1.5)
            (name,) = [name for name in os.listdir(home + "/journals") if name.endswith(".jsonl")]
            print(open(home + "/journals/" + name).read().count('"beat"'))
            holder.execute("ROLLBACK")
        main()
        """,
        HOLTER_HEARTBEAT="0.1",
    )
    assert int(done.stdout) >= 8, done.stderr


def test_the_exit_waits_for_a_hanging_store_no_longer_than_a_second(python: Any, tmp_path: Path) -> None:
    began = time.monotonic()
    done = python("""
        import os, sqlite3
        from holter import flow
        from holter.backends.urls import open_backend
        home = os.environ["HOLTER_HOME"]
        os.makedirs(home)
        open_backend("sqlite:///holter.db", home).close()
        holder = sqlite3.connect(home + "/holter.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        flow(name="x")(lambda: None)()
    """)
    assert done.returncode == 0
    assert time.monotonic() - began < 3
    assert len(list((tmp_path / "home" / "journals").iterdir())) == 1
