"""`holter demo` shows the product on real work, leaves nothing behind but what it names, and fails loudly."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend

BOUND = 20.0  # seconds, as promised
DEMO = [sys.executable, "-m", "holter", "demo"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A home, a working folder and a folder for temporary files of its own, to see what is left in them."""
    for name in ("tmp", "user", "work"):
        (tmp_path / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLTER_")}
    return {**kept, "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "user")}


def named_in(text: str) -> list[str]:
    """The processes that have this text in their command line or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if text in (process / "cmdline").read_text() or text in (process / "environ").read_text():
                found.append(process.name)
        except OSError:
            continue
    return found


def played(tmp_path: Path, environ: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], float]:
    began = time.monotonic()
    done = subprocess.run(
        DEMO, cwd=tmp_path / "work", env=environ, capture_output=True, text=True, timeout=120
    )
    return done, time.monotonic() - began


def test_the_demo_shows_a_death_an_alert_a_slot_and_a_report_within_20_seconds(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    done, took = played(tmp_path, environ)
    if took >= BOUND:  # other tests keep this machine busy: the better of two
        shutil.rmtree(*(tmp_path / "tmp").iterdir())
        done, took = played(tmp_path, environ)

    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout, "plain text where there is no terminal"
    assert re.search(r"line_counts\.csv written: [\d,]{6,} lines in \d+ modules, by \d+ tasks", done.stdout)
    assert re.search(r"kill -9 \d+: nightly_backup\.py dies at \d\d%", done.stdout)
    assert "nightly-backup is CRASHED" in done.stdout
    (latency,) = re.findall(r"alert 'crashed' received (\d+) ms after the kill", done.stdout)
    assert int(latency) < 2000
    assert re.search(r"the second index-symbols waited \d+\.\d s for its slot", done.stdout)
    assert re.search(r"\$ holter runs\n.*\$ holter report\n", done.stdout, re.DOTALL)
    assert took < BOUND

    (kept,) = (tmp_path / "tmp").iterdir()
    assert str(kept) in done.stdout
    assert list((tmp_path / "work").iterdir()) == list((tmp_path / "user").iterdir()) == []
    assert named_in(str(kept)) == []
    store = open_backend("sqlite:///holter.db", str(kept / "home"))
    states = sorted((run.name, run.state) for run in store.runs(RunQuery(roots=True)))
    store.close()
    assert states == [
        ("count-lines", "COMPLETED"),
        ("index-symbols", "COMPLETED"),
        ("index-symbols", "COMPLETED"),
        ("nightly-backup", "CRASHED"),
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_takes_its_processes_and_its_folder_along(
    tmp_path: Path, environ: dict[str, str], number: signal.Signals
) -> None:
    with subprocess.Popen(DEMO, env=environ, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "started" in line:
                break
        demo.send_signal(number)
        demo.stdout.read()
    assert demo.returncode == 128 + number
    assert list((tmp_path / "tmp").iterdir()) == []
    assert named_in(str(tmp_path / "tmp")) == []


def test_a_demo_whose_watchdog_cannot_work_says_what_did_not_happen(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """The watchdog is kept from starting by a module that fails wherever `holter watch` loads it."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import sys\nif 'watch' in sys.orig_argv: sys.exit('no watchdog today')\n"
    )
    environ["PYTHONPATH"] = str(broken)
    done = subprocess.run(DEMO, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    (kept,) = (tmp_path / "tmp").iterdir()
    failure = "holter: the demo failed: watch ended with 1 before the watchdog began to watch"
    assert done.stderr == f"{failure} (what its processes said is in {kept})\n"
    assert "no watchdog today" in (kept / "watch.txt").read_text()
    assert named_in(str(kept)) == []
