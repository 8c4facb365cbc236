"""How many mutants of a module its tests tell from the module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

from .planting import ROOT, Mutant, plant
from .survivors import explained
from .targets import Target

LEAST = 85.0  # percent of the mutants of a module that its tests have to kill


class Figures(NamedTuple):
    """`outcomes` are what trial.py says of each mutant, with its line. Whoever took too long counts as killed."""

    target: Target
    outcomes: list[dict[str, Any]]
    survivors: list[Mutant]
    seconds: float

    @property
    def tried(self) -> int:
        return len(self.outcomes)

    @property
    def killed(self) -> int:
        return self.tried - len(self.survivors)

    @property
    def timeouts(self) -> int:
        return sum(one["verdict"] == "timeout" for one in self.outcomes)

    @property
    def percent(self) -> float:
        return 100.0 * self.killed / max(1, self.tried)

    @property
    def unexplained(self) -> list[Mutant]:
        known = explained().get(self.target.module, {})
        return [mutant for mutant in self.survivors if mutant.line not in known]


def survey(target: Target, every: int = 1, function: str | None = None) -> Figures:
    """Try the mutants of a module, or each `every`-th of them, or those of one function."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="holter-mutants-") as folder:
        mutants = plant(target, Path(folder))
        chosen = [mutant for mutant in mutants if function in (None, mutant.function)][::every]
        outcomes = try_all(target, chosen, Path(folder))
    by_key = {mutant.key: mutant for mutant in chosen}
    survivors = [by_key[one["mutant"]] for one in outcomes if one["verdict"] == "survived"]
    told = [{**one, "line": by_key[one["mutant"]].line} for one in outcomes]
    return Figures(target, told, survivors, time.monotonic() - began)


def try_all(target: Target, mutants: list[Mutant], folder: Path) -> list[dict[str, Any]]:
    """Have the module's tests try the mutants, in a process that imports `holter` from the folder."""
    task = {
        "mutants": [mutant.key for mutant in mutants],
        "tests": [str(ROOT / "tests" / name) for name in target.tests],
        "pytest": ["--basetemp", str(folder / "tmp")],
    }
    outcomes: list[dict[str, Any]] = []
    with (folder / "printed").open("w+") as printed:
        with _trial(folder, printed) as trial:
            assert trial.stdin and trial.stdout
            trial.stdin.write(json.dumps(task))
            trial.stdin.close()
            for line in trial.stdout:
                outcomes.append(json.loads(line))
                _progress(target, len(outcomes), len(mutants))
        printed.seek(0)
        tail = "".join(printed.readlines()[-40:])
    if trial.returncode or len(outcomes) != len(mutants):
        raise RuntimeError(f"{target.module}: {len(outcomes)} of {len(mutants)} mutants were tried\n{tail}")
    return outcomes


def _trial(folder: Path, printed: IO[str]) -> subprocess.Popen[str]:
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("trial.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=printed,
        text=True,
        cwd=ROOT,
        env={**outer, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def _progress(target: Target, done: int, of: int) -> None:
    if sys.stderr.isatty() or done % 100 == 0:
        print(f"{target.name}: {done} of {of}", end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr)
