"""The benchmarks that are no part of the others still run: what they measure changes under them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = {
    "watchdog": ["--processes", "4", "--journals", "2", "--kill", "1", "--seconds", "1"],
    "deaths": ["--kills", "2", "--busy", "0"],
    "ingest": ["--events", "3000", "--clients", "20"],
    "history": ["--runs", "500"],
}


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_its_figures(name: str, tmp_path: Path) -> None:
    home = ["--home", str(tmp_path)] if name == "history" else []
    command = [sys.executable, "-m", f"bench.{name}", *SMALL[name], *home]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
