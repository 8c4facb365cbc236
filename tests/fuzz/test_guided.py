"""Whatever a coverage-guided fuzzer finds, a parser answers, or refuses with an error of Holter's, within seconds.

What it has found to reach new code is thrown away: each run begins with the seeds of guided.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.planting import Defect, planted
from tests.prove import Proof

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not here: pip install atheris"),
]

SCRIPT = Path(__file__).with_name("guided.py")
TARGETS = ("journal", "settings", "cron", "url", "cron_file", "terminal")
PLANTED = {
    "journal": Defect("backends/lines.py", "except (ValueError, RecursionError):", "except RecursionError:"),
    "url": Defect("backends/urls.py", "{place.rpartition('@')[2]}", "{place}"),
    "terminal": Defect("agent/terminal/text.py", r"\x7f-\x9f", r"\x7f-\x8f"),
}


def fuzz(target: str, folder: Path, *options: str, **environ: str) -> tuple[int, int, str]:
    """Exit code, executions, and what was said."""
    (folder / "corpus").mkdir()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), target, str(folder), *options],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
        env={**os.environ, **environ},
    )
    count = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    return done.returncode, int(count[1]) if count else 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_that_reaches_new_code_breaks_a_parser(target: str, tmp_path: Path, proof: Proof) -> None:
    """The short form tries as much on a fast machine as on a slow one; the full form goes another way each time."""
    options = proof.of(("-seed=1", "-runs=20000"), ("-seed=0", "-max_total_time=300"))
    code, count, said = fuzz(target, tmp_path, *options, PYTHONHASHSEED=proof.of("1", "random"))
    assert code == 0, said
    assert count > 100, said
    proof.count(count, "guided executions")


@pytest.mark.parametrize("target", PLANTED)
def test_a_planted_defect_is_found(target: str, tmp_path: Path, proof: Proof) -> None:
    code, _, said = fuzz(
        target, tmp_path, "-seed=1", "-max_total_time=60", PYTHONPATH=planted(PLANTED[target], tmp_path)
    )
    assert code != 0 and ("ERROR: libFuzzer" in said or "Uncaught Python exception" in said), said
    proof.count(1, "planted defects found")
