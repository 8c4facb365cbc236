"""A home of two real users: each records into it, and neither can touch, read, forge or stop what the other records.

What a user may try is done by processes of that user; what a user could write is put there in that user's name.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holter.agent import identity
from holter.backends.base import Backend
from holter.backends.clock import new_id
from holter.backends.lines import encode
from holter.backends.queries import RunQuery
from holter.backends.records import Run
from holter.backends.urls import open_backend

from .conftest import BOUND, HOLTER, wait_until
from .people import Readable, can_be_others

SETTINGS = "limits: {one: 1}\n"
CAPABILITIES = "-all,+dac_override,+fowner,+kill"  # what the unit of `holter install systemd` leaves to root
LONG_JOB = """
import sys, time
from holter import flow, get_run_logger

@flow
def job():
    get_run_logger().info("the secret of " + sys.argv[1])
    time.sleep(float(sys.argv[2]))

job()
"""


class Box:
    """A machine with a system-wide home, a group, and two users in it."""

    def __init__(self, folder: Path, users: dict[str, int], gid: int) -> None:
        self.folder, self.home, self.users, self.gid = folder, folder / "holter", users, gid
        self.readable = Readable(folder / "bin")
        self.env = {**os.environ, "HOLTER_HOME": str(self.home)}
        self.job = folder / "job.py"
        self.job.write_text(LONG_JOB)
        self.started: list[subprocess.Popen[str]] = []

    def holter(self, *args: str) -> subprocess.CompletedProcess[str]:
        """As root."""
        return subprocess.run(
            [*HOLTER, *args], env=self.env, capture_output=True, text=True, timeout=60, check=False
        )

    def command(self, user: str, words: list[str]) -> list[str]:
        return self.readable.command(self.users[user], self.users[user], words, groups=str(self.gid))

    def start(self, user: str, *words: str, **env: str) -> subprocess.Popen[str]:
        """A Python command line of a user."""
        told = {"HOLTER_HOME": str(self.home), **env}
        command = self.command(user, [self.readable.python, *words])
        self.started.append(self.readable.start(command, self.readable.env(**told)))
        return self.started[-1]

    def does(self, user: str, *words: str, **env: str) -> tuple[int, str, str]:
        process = self.start(user, *words, **env)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    @contextmanager
    def watching(self) -> Iterator[Path]:
        """`holter watch` by root with no more rights than its unit gives; yields its log."""
        log = self.folder / "watch.log"
        with log.open("a") as file:
            command = ["setpriv", f"--bounding-set={CAPABILITIES}", "--inh-caps=-all", *HOLTER, "watch"]
            dog = subprocess.Popen(command, env=self.env, stdout=file, stderr=file)
        try:
            wait_until((self.home / "holter.db").exists, "the watchdog's store")
            yield log
        finally:
            dog.terminate()
            dog.wait(BOUND)

    @property
    def store(self) -> Backend:
        return open_backend("sqlite:///holter.db", str(self.home))

    def runs(self) -> list[Run]:
        store = self.store
        try:
            return store.runs(RunQuery(limit=None))
        finally:
            store.close()

    def run_of(self, user: str, state: str, name: str = "job") -> Run:
        def found() -> Run | None:
            return next((r for r in self.runs() if (r.user, r.state, r.name) == (user, state, name)), None)

        run = wait_until(found, f"a {state} run of {user}")
        assert isinstance(run, Run)
        return run

    def journals(self, user: str) -> list[Path]:
        return [p for p in (self.home / "journals").glob("*.jsonl") if p.stat().st_uid == self.users[user]]

    def plant(self, owner: str, *events: dict[str, Any], name: str = "", **header: Any) -> Path:
        """A journal that a user could write by hand; its process is gone."""
        journal = new_id()
        said = {**identity.me(), "pid": 2**22 - 1, "start_ticks": 1, "user": owner, "project": owner}
        said |= {
            "event": "process",
            "journal": journal,
            "format": 1,
            "store": "sqlite:///holter.db",
            **header,
        }
        path = self.home / "journals" / f"{name or journal}.jsonl"
        draft = path.with_name(f".{new_id()}")
        draft.write_bytes(b"".join(encode(event) for event in (said, *events)))
        os.chown(draft, self.users[owner], self.gid)
        draft.rename(path)
        return path


@pytest.fixture(scope="module")
def people() -> Iterator[tuple[dict[str, int], int, str]]:
    if why := can_be_others():
        pytest.skip(why)
    tag = f"{os.getpid() % 100000}"
    group, users = f"holter{tag}", {}
    made: list[list[str]] = []
    try:
        subprocess.run(["groupadd", "--system", group], check=True)
        made.append(["groupdel", group])
        for name in (f"ha{tag}", f"hb{tag}"):
            subprocess.run(["useradd", "--system", "--no-create-home", "--user-group", name], check=True)
            made.append(["userdel", name])
            users[name] = int(subprocess.run(["id", "-u", name], capture_output=True, check=True).stdout)
        gid = int(
            subprocess.run(["getent", "group", group], capture_output=True, check=True).stdout.split(b":")[2]
        )
        yield users, gid, group
    finally:
        for command in reversed(made):
            subprocess.run(command, check=False)


@pytest.fixture
def box(people: tuple[dict[str, int], int, str]) -> Iterator[Box]:
    users, gid, group = people
    folder = Path(tempfile.mkdtemp(prefix="holter-system-"))
    folder.chmod(0o755)
    made = Box(folder, users, gid)
    done = made.holter("init", "--system", "--group", group)
    assert done.returncode == 0, done.stderr
    (made.home / "holter.yaml").write_text(SETTINGS)
    yield made
    for each in made.started:
        each.kill()
        with each:  # closes its pipes
            continue
    shutil.rmtree(folder)


@pytest.fixture
def ann(box: Box) -> str:
    return next(iter(box.users))


@pytest.fixture
def ben(box: Box) -> str:
    return list(box.users)[1]


# --- recording -----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_what_each_records_arrives_while_it_runs_and_in_a_project_of_its_own(
    box: Box, ann: str, ben: str
) -> None:
    with box.watching():
        jobs = [box.start(user, str(box.job), user, "600") for user in (ann, ben)]
        runs = [box.run_of(user, "RUNNING") for user in (ann, ben)]
        assert [run.project for run in runs] == [ann, ben]
        shown = wait_until(
            lambda: "the secret" in (out := box.holter("logs", runs[0].id).stdout) and out,
            "a line of a live run",
        )
        assert f"the secret of {ann}" in shown
        jobs[0].send_signal(signal.SIGKILL)
        jobs[1].send_signal(signal.SIGTERM)
        assert "gone without a word" in (box.run_of(ann, "CRASHED").reason or "")
        assert box.run_of(ben, "CRASHED")
        for job in jobs:
            job.communicate(timeout=BOUND)
        assert box.does(ann, str(box.job), ann, "0") == (0, "", "")
        assert box.does(ben, "-m", "holter", "run", "--name", "cmd", "--", "sh", "-c", "exit 3") == (
            3,
            "",
            "",
        )
        assert box.run_of(ann, "COMPLETED")
        assert box.run_of(ben, "FAILED", "cmd").exit_code == 3
        wait_until(lambda: not box.journals(ann) + box.journals(ben), "all journals to be taken in")


@pytest.mark.long
def test_a_journal_waits_for_a_watchdog_that_is_not_there_and_a_user_is_told_who_reads(
    box: Box, ann: str
) -> None:
    assert box.does(ann, str(box.job), ann, "0") == (0, "", "")
    assert len(box.journals(ann)) == 1
    code, out, err = box.does(ann, "-m", "holter", "runs")
    assert (code, out) == (1, "")
    assert "only its owner reads them all" in err and "Traceback" not in err
    assert box.holter("watch", "--once").returncode == 0
    assert box.run_of(ann, "COMPLETED") and box.journals(ann) == []


# --- what a user's process can do to the home ----------------------------------------------------------------

TRY = """
import fcntl, json, os, sys
home, theirs = sys.argv[1], sys.argv[2]
tried = {}

def attempt(name, act):
    try:
        act()
        tried[name] = "done"
    except OSError as error:
        tried[name] = type(error).__name__

def write(path):
    os.close(os.open(path, os.O_WRONLY))

def make(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

slots = home + "/slots/one"
attempt("list the journals", lambda: os.listdir(home + "/journals"))
attempt("read another's journal", lambda: open(theirs).read())
attempt("write another's journal", lambda: write(theirs))
attempt("change another's journal's mode", lambda: os.chmod(theirs, 0o666))
attempt("remove another's journal", lambda: os.unlink(theirs))
attempt("rename another's journal", lambda: os.rename(theirs, theirs + ".x"))
attempt("put a file in its place", lambda: make(theirs))
attempt("link another's journal", lambda: os.link(theirs, theirs + ".x"))
attempt("replace it by rename", lambda: (make(home + "/journals/.mine"), os.rename(home + "/journals/.mine", theirs)))
attempt("take the journals folder away", lambda: os.rename(home + "/journals", home + "/gone"))
attempt("change the folder's mode", lambda: os.chmod(home + "/journals", 0o777))
attempt("read the store", lambda: open(home + "/holter.db", "rb").read())
attempt("write the store", lambda: write(home + "/holter.db"))
attempt("open the store's gate", lambda: os.open(home + "/holter.db.gate", os.O_RDONLY))
attempt("open the watchdog's lock", lambda: os.open(home + "/watchdog.lock", os.O_RDONLY))
attempt("add to the home", lambda: make(home + "/x"))
attempt("write the settings", lambda: write(home + "/holter.yaml"))
attempt("write the cache", lambda: make(home + "/cache/knobs.json.x"))
attempt("make a limit", lambda: os.mkdir(home + "/slots/mine"))
attempt("remove a slot", lambda: os.unlink(slots + "/slot-000"))
attempt("change a slot's mode", lambda: os.chmod(slots + "/slot-000", 0o600))
attempt("add a slot", lambda: make(slots + "/slot-001"))
attempt("remove the queue", lambda: os.rename(slots + "/queue", slots + "/gone"))
print(json.dumps(tried))
"""


def test_a_user_can_neither_read_nor_change_nor_remove_nor_block_anything_of_another(
    box: Box, ann: str, ben: str
) -> None:
    with box.watching():
        job = box.start(ben, str(box.job), ben, "600")
        run = box.run_of(ben, "RUNNING")
        (theirs,) = box.journals(ben)
        code, out, err = box.does(ann, "-c", TRY, str(box.home), str(theirs))
        assert code == 0, err
        tried = json.loads(out)
        assert len(tried) == 23
        assert {name: what for name, what in tried.items() if what == "done"} == {}
        job.send_signal(signal.SIGTERM)
        job.communicate(timeout=BOUND)
        assert box.run_of(ben, "CRASHED").id == run.id


@pytest.mark.long
def test_somebody_outside_of_the_group_cannot_even_enter_and_the_job_goes_on(box: Box) -> None:
    command = box.readable.command(65534, 65534, [box.readable.python, str(box.job), "nobody", "0"])
    process = box.readable.start(command, box.readable.env(HOLTER_HOME=str(box.home)))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "not recording" in err


# --- what a user could write ---------------------------------------------------------------------------------


def events_of(box: Box, run: Run) -> list[Any]:
    store = box.store
    try:
        return store.events(run.id)
    finally:
        store.close()


def test_no_journal_speaks_of_another_users_run(box: Box, ann: str, ben: str) -> None:
    with box.watching():
        job = box.start(ben, str(box.job), ben, "600")
        run = box.run_of(ben, "RUNNING")
        before, now = events_of(box, run), time.time()
        own, child = new_id(), f"{run.id}.{new_id()}"
        forged = [
            {"event": "end", "run": run.id, "at": now, "state": "COMPLETED"},
            {"event": "judge", "run": run.id, "at": now, "state": "CRASHED", "by": "mark"},
            {"event": "log", "run": run.id, "at": now, "level": "INFO", "text": "forged"},
            {"event": "progress", "run": run.id, "at": now, "done": 1, "total": 1},
            {"event": "start", "run": run.id, "at": now, "kind": "flow", "name": "job"},
            {"event": "start", "run": child, "at": now, "kind": "task", "name": "forged"},
            {
                "event": "start",
                "run": new_id(),
                "at": now,
                "kind": "flow",
                "name": "forged",
                "parent": run.id,
            },
            {"event": "start", "run": new_id(), "at": now, "kind": "flow", "name": "forged", "project": ben},
            {
                "event": "start",
                "run": new_id(),
                "at": now,
                "kind": "flow",
                "name": "forged",
                "journal": run.journal,
            },
            {"event": "transition", "run": run.id, "at": now, "from": "RUNNING", "to": "FAILED"},
            {"event": "process", "journal": run.journal, "user": ben, "project": ben, "host": "forged"},
            {"event": "carry", "runs": [run.id], "after": run.journal},
            {"event": "start", "run": own, "at": now, "kind": "flow", "name": "honest"},
            {"event": "end", "run": own, "at": now, "state": "COMPLETED"},
        ]
        path = box.plant(ann, *forged)
        assert box.run_of(ann, "COMPLETED", "honest").id == own  # what was in order is taken
        wait_until(lambda: not path.exists(), "the journal to be taken in")
        assert box.run_of(ben, "RUNNING").id == run.id
        assert events_of(box, run) == before
        assert [each.name for each in box.runs() if each.name == "forged"] == []
        job.send_signal(signal.SIGTERM)
        job.communicate(timeout=BOUND)
        assert box.run_of(ben, "CRASHED").id == run.id


@pytest.mark.long
def test_a_header_that_says_what_is_not_so_is_not_taken_and_is_named(box: Box, ann: str, ben: str) -> None:
    assert box.does(ben, str(box.job), ben, "0") == (0, "", "")
    (old,) = box.journals(ben)
    with box.watching() as log:
        box.run_of(ben, "COMPLETED")
        wait_until(lambda: not old.exists(), "the journal to be taken in")
        start = {"event": "start", "run": new_id(), "at": time.time(), "kind": "flow", "name": "forged"}
        liars = [
            box.plant(ann, start, user=ben, project=ben),
            box.plant(ann, start, project=ben),
            box.plant(ann, start, project="default"),
            box.plant(ann, start, copy_of="x"),
            box.plant(ann, start, name=new_id()),
            box.plant(ann, start, name=old.stem, journal=old.stem),
        ]
        wait_until(lambda: all(str(path) in log.read_text() for path in liars), "all of them to be named")
        assert all(path.exists() for path in liars)
    assert {run.name for run in box.runs()} == {"job"}


@pytest.mark.long
def test_what_is_no_journal_at_all_stops_nobody(box: Box, ann: str, ben: str) -> None:
    folder = box.home / "journals"
    os.mkfifo(folder / f"{new_id()}.jsonl")
    (folder / f"{new_id()}.jsonl").symlink_to("/etc/shadow")
    (folder / "a\x1b[31m\nb.jsonl").write_text("not a line")
    (folder / f"{new_id()}.jsonl").mkdir()
    endless = folder / f"{new_id()}.jsonl"
    with endless.open("wb") as file:
        file.truncate(2**31)  # zeros without an end of line
    for path in folder.iterdir():
        os.chown(path, box.users[ann], box.gid, follow_symlinks=False)
    shadow = Path("/etc/shadow").read_bytes()
    with box.watching() as log:
        assert box.does(ben, str(box.job), ben, "0") == (0, "", "")
        assert box.run_of(ben, "COMPLETED")
        assert "\x1b" not in log.read_text()
    assert Path("/etc/shadow").read_bytes() == shadow


# --- ending and starting in another's name -------------------------------------------------------------------


@pytest.mark.long
def test_roots_watchdog_ends_a_users_own_overdue_job_and_nobody_elses_that_a_header_names(
    box: Box, ann: str, ben: str
) -> None:
    check = {"max_duration": 0.5, "on_overdue": "kill"}
    with box.watching():
        victim = box.start(ben, str(box.job), ben, "600")
        theirs = box.run_of(ben, "RUNNING")
        process = {"pid": victim.pid, "start_ticks": identity.start_ticks(victim.pid)}
        start = {"event": "start", "at": time.time() - 60, "kind": "flow", "name": "lure", "check": check}
        box.plant(ann, {**start, "run": new_id()}, **process)
        lure = box.run_of(ann, "RUNNING", "lure")
        box.holter(
            "checks", "add", "job", "--project", ann, "--max-duration", "500ms", "--on-overdue", "kill"
        )
        mine = box.start(ann, str(box.job), ann, "600")
        assert mine.wait(BOUND * 2) != 0
        mine.communicate()
        assert box.run_of(ann, "TIMED_OUT").name == "job"
        cancel = box.holter("cancel", lure.id)
        assert victim.poll() is None, cancel.stderr
        assert box.run_of(ben, "RUNNING").id == theirs.id
        victim.send_signal(signal.SIGTERM)
        victim.communicate(timeout=BOUND)


@pytest.mark.long
def test_root_does_not_start_a_users_command_again(box: Box, ann: str) -> None:
    assert box.does(ann, str(box.job), ann, "0") == (0, "", "")
    assert box.holter("watch", "--once").returncode == 0
    done = box.holter("rerun", box.run_of(ann, "COMPLETED").id)
    assert done.returncode == 1 and f"ran as {ann}, and this is root" in done.stderr


# --- limits --------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from holter import concurrency, flow

@flow
def job():
    with concurrency("one"):
        print("in", flush=True)
        sys.stdin.readline()

job()
"""


@pytest.mark.long
def test_users_take_turns_at_a_limit_of_the_settings_and_a_dead_holders_place_is_free(
    box: Box, ann: str, ben: str
) -> None:
    script = box.folder / "hold.py"
    script.write_text(HOLD)
    with box.watching():
        wait_until((box.home / "slots/one/slot-000").exists, "the limit's slot")
        holders = []
        for user in (ann, ben):
            command = box.command(user, [box.readable.python, str(script)])
            env = box.readable.env(HOLTER_HOME=str(box.home))
            holders.append(box.readable.start(command, env, stdin=subprocess.PIPE))
            box.started.append(holders[-1])
            if user == ann:
                assert holders[0].stdout and holders[0].stdout.readline() == "in\n"
        wait_until(lambda: list((box.home / "slots/one/queue").iterdir()), "the second to wait")
        second = holders[1].stdout
        shown = json.loads((box.home / "slots/one/slot-000").read_text().partition("\n")[0])
        assert shown["pid"] and shown["run_id"] is shown["run_name"] is None
        assert second and not select.select([second], [], [], 0.5)[0]
        holders[0].send_signal(signal.SIGKILL)
        assert select.select([second], [], [], BOUND)[0] and second.readline() == "in\n"
        for each in holders:
            each.communicate("\n", timeout=BOUND) if each.poll() is None else each.communicate()
        assert holders[1].returncode == 0


@pytest.mark.long
def test_a_limit_that_the_settings_do_not_name_is_refused_to_a_user(box: Box, ann: str) -> None:
    code, _, err = box.does(ann, "-m", "holter", "run", "--limit", "mine:3", "--", "true")
    assert code == 125 and "no limit of this system-wide home's settings" in err


# --- making one ----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_home_has_the_modes_that_all_this_rests_on_and_is_made_again_without_harm(
    box: Box, people: tuple[dict[str, int], int, str]
) -> None:
    (box.home / "holter.yaml").write_text("limits: {one: 2}\n")
    assert box.holter("init", "--system", "--group", people[2]).returncode == 0
    with box.watching():
        wait_until((box.home / "slots/one/slot-001").exists, "the limit's slots")
    modes = {
        name: oct((box.home / name).stat().st_mode & 0o7777)
        for name in (".", "journals", "cache", "slots", "slots/one", "slots/one/queue", "slots/one/slot-001")
    }
    assert modes == {
        ".": "0o2750",
        "journals": "0o3730",
        "cache": "0o2750",
        "slots": "0o2750",
        "slots/one": "0o2750",
        "slots/one/queue": "0o3770",
        "slots/one/slot-001": "0o660",
    }
    assert (box.home / "holter.yaml").read_text() == "limits: {one: 2}\n"
    for name in ("holter.db", "watchdog.lock", "holter.db.gate"):
        assert (box.home / name).stat().st_mode & 0o077 == 0, name
    for path in (box.home / "cache" / "knobs.json", box.home / "holter.yaml"):
        assert (path.stat().st_mode & 0o777, path.stat().st_gid) == (0o640, box.gid)


def test_what_cannot_be_a_system_wide_home_is_refused(
    box: Box, ann: str, people: tuple[dict[str, int], int, str]
) -> None:
    code, _, err = box.does(ann, "-m", "holter", "init", "--system")
    assert code == 1 and "a system-wide home is root's" in err
    assert "no group" in box.holter("init", "--system", "--group", "no-such-group").stderr
    loose = box.folder / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    box.env["HOLTER_HOME"] = str(loose / "holter")
    refused = box.holter("init", "--system", "--group", people[2])
    assert refused.returncode == 1 and "anybody may write into it" in refused.stderr
