"""A long history is asked as fast as a short one: the benchmark that makes it, and its bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def asked(url: str, runs: int, home: Path, *more: str) -> Any:
    argv = [sys.executable, "-m", "bench.history", "--runs", str(runs), "--store", url, "--home", str(home)]
    done = subprocess.run([*argv, *more], cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def slow(figures: Any, runs: float, report: float) -> dict[str, float]:
    """What takes longer than its bound, in milliseconds."""
    medians = {name: each["median"] for name, each in figures["milliseconds"].items()}
    return {name: took for name, took in medians.items() if took > (report if "report" in name else runs)}


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///history.db",
        *(pytest.param(url, marks=pytest.mark.long) for url in ("file:///history", "postgresql:")),
    ],
)
def test_ten_thousand_runs_are_asked_at_once(tmp_path: Path, url: str) -> None:
    figures = asked(url, 10_000, tmp_path)
    # Asks it for each of 250 names, by turns: that is about round trips, not about length.
    if url == "postgresql:":
        del figures["milliseconds"]["report of all kinds --since 30d"]
    assert figures["runs"] == 10_000
    assert slow(figures, 100, 500) == {}
    assert figures["bytes_per_run"] < 10_000


@pytest.mark.long
@pytest.mark.timeout(1600)
def test_a_hundred_thousand_runs_in_files_are_asked_within_a_second(tmp_path: Path) -> None:
    figures = asked("file:///history", 100_000, tmp_path)
    assert figures["runs"] == 100_000
    assert slow(figures, 200, 1000) == {}


@pytest.mark.long
@pytest.mark.timeout(1600)
def test_a_million_runs_are_asked_within_a_second(tmp_path: Path) -> None:
    figures = asked("sqlite:///history.db", 1_000_000, tmp_path)
    assert figures["runs"] == 1_000_000
    assert slow(figures, 100, 1000) == {}
