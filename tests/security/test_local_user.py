"""Another local user, a real one: nothing in a private home can be read, changed, swapped, linked, locked or added to.

Homes of several users are attacked in tests/acceptance/test_system_wide.py.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prove import Proof

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="only root can make a second user: sudo python -m tests.prove"
    ),
]

JOB = """
    import os, sys
    os.umask(0)
    from holter import artifact, concurrency, flow
    @flow(log_prints=True)
    def etl(password="hunter2-hunter2"):
        print("canary")
        artifact("picture", image="p.png")
        with concurrency("database", occupy=1):
            if sys.argv[1:]:
                os.kill(os.getpid(), 9)
    etl()
"""
ATTACK = """
    import fcntl, json, os, sys
    def tried(what, act):
        try:
            act()
        except OSError:
            return []
        return [what]
    home, mine, uid, gid, *paths = json.load(sys.stdin)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)  # for good: the interpreter itself may lie where this user cannot go
    done, count = [], 0
    for path in paths:
        ways = {
            "list": lambda: os.listdir(path),
            "look": lambda: os.stat(path),
            "read": lambda: open(path, "rb").read(1),
            "write": lambda: open(path, "ab").write(b"x"),
            "lock": lambda: fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB),
            "modes": lambda: os.chmod(path, 0o777),
            "hard link": lambda: os.link(path, f"{mine}/{len(done)}"),
            "symlink beside": lambda: os.symlink(mine, f"{path}.swap"),
            "symlink inside": lambda: os.symlink(mine, f"{path}/swap"),
            "file inside": lambda: os.open(f"{path}/evil.jsonl", os.O_CREAT | os.O_WRONLY),
            "fifo inside": lambda: os.mkfifo(f"{path}/evil.fifo"),
            "swap": lambda: os.rename(path, f"{path}.gone"),
            "remove": lambda: os.unlink(path),
        }
        for what, act in ways.items():
            count += 1
            if path == home and what == "look":
                continue  # its parent is public
            done += [f"{what} {each}" for each in tried(path, act)]
    print(json.dumps([count, done]))
"""


@pytest.fixture
def mallory() -> Iterator[str]:
    name = f"holter-m{os.getpid() % 100_000}"
    useradd = shutil.which("useradd", path=f"{os.environ['PATH']}:/usr/sbin")
    if useradd is None:
        pytest.skip("no useradd: apt install passwd")
    subprocess.run([useradd, "--system", "--no-create-home", name], check=True)
    yield name
    subprocess.run([useradd.replace("useradd", "userdel"), name], check=True, capture_output=True)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter, as /home is; pytest's own are closed."""
    place = Path(tempfile.mkdtemp(prefix="holter-public-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def recorded(public: Path) -> Path:
    """A home with a bit of everything in it, made by a job that takes no care of its files."""
    home = public / "home"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLTER_")}
    environ = {**kept, "HOLTER_HOME": str(home)}
    (public / "p.png").write_bytes(b"picture")
    for words, code in (([], 0), (["die"], -signal.SIGKILL)):
        command = [sys.executable, "-c", textwrap.dedent(JOB), *words]
        assert subprocess.run(command, env=environ, cwd=public, check=False).returncode == code
    return home


def attack(home: Path, user: str) -> tuple[int, list[str]]:
    """How many ways were tried, and those that led somewhere."""
    paths = [str(home), *(str(path) for path in home.rglob("*"))]
    with tempfile.TemporaryDirectory() as mine:
        shutil.chown(mine, user)
        who = pwd.getpwnam(user)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(ATTACK)],
            input=json.dumps([str(home), mine, who.pw_uid, who.pw_gid, *paths]),
            cwd="/",
            text=True,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    count, ways = json.loads(done.stdout)
    return count, ways


def test_another_user_gets_at_nothing_in_a_private_home(mallory: str, public: Path, proof: Proof) -> None:
    home = recorded(public)
    names = {path.name for path in home.rglob("*")}
    assert {"journals", "holter.db", "host.key", "artifacts", "slots"} <= names
    assert not [path for path in [home, *home.rglob("*")] if path.lstat().st_mode & 0o077]
    count, ways = attack(home, mallory)
    assert ways == []
    proof.count(count, "tries of another user")


def test_planted_a_home_with_open_modes_is_noticed(mallory: str, public: Path) -> None:
    home = recorded(public)
    home.chmod(0o777)
    (home / "journals").chmod(0o777)
    _, ways = attack(home, mallory)
    assert {way.split(" /")[0] for way in ways} >= {"list", "symlink inside", "file inside", "swap"}
