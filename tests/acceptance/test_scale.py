"""A long history is asked as fast as a short one: the benchmark that makes it, and its bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def asked(url: str, runs: int, home: Path) -> Any:
    argv = [sys.executable, "-m", "bench.history", "--runs", str(runs), "--store", url, "--home", str(home)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def slow(figures: Any, runs: float, report: float) -> dict[str, float]:
    """What takes longer than its bound, in milliseconds."""
    medians = {name: each["median"] for name, each in figures["milliseconds"].items()}
    return {name: took for name, took in medians.items() if took > (report if "report" in name else runs)}


@pytest.mark.parametrize(
    "url", ["sqlite:///history.db", pytest.param("file:///history", marks=pytest.mark.long)]
)
def test_ten_thousand_runs_are_asked_at_once(tmp_path: Path, url: str) -> None:
    figures = asked(url, 10_000, tmp_path)
    assert figures["runs"] == 10_000
    assert slow(figures, 100, 500) == {}
    assert figures["bytes_per_run"] < 10_000


@pytest.mark.long
@pytest.mark.timeout(1600)
@pytest.mark.parametrize(
    ("url", "runs", "bound"), [("sqlite:///history.db", 1_000_000, 100), ("file:///history", 100_000, 200)]
)
def test_a_million_runs_are_asked_within_a_second(tmp_path: Path, url: str, runs: int, bound: float) -> None:
    figures = asked(url, runs, tmp_path)
    assert figures["runs"] == runs
    assert slow(figures, bound, 1000) == {}
