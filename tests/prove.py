"""`python -m tests.prove --short | --full [--json FILE] [FAMILY...]`: break it on purpose, and say how often.

Each family is a folder of tests marked `proof`. They take their size from the fixture `proof`, and count with it what
they tried; the table is the sum. Exits 1 if a promise did not hold. docs/testing.md says what each family is about.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.table import Table

HERE = pathlib.Path(__file__).parent
T = TypeVar("T")


class Family(NamedTuple):
    """Tests of one kind of attack: `folder` below tests/, and the promises of the design that it attacks. `workers` are
    how many at once, None as many as there are processors; 0: one after the other. `beside`: it takes long and little
    of the machine, so that it runs beside the other families, which run in turn."""

    folder: str
    promises: str
    attack: str
    workers: int | None = None
    beside: bool = False


WAITING = 4  # workers for tests that mostly wait, on two processors


FAMILIES = (
    Family("faults", "1 2 3", "the n-th system call fails or kills, for every n"),
    Family(
        "network",
        "1 2",
        "the n-th piece on the wire is lost, cut, late, repeated; servers that are half there",
        WAITING,
    ),
    Family(
        "clocks", "1 3", "clocks are set, zones changed, hosts sleep, under scripts and watchdogs", WAITING
    ),
    Family("pauses", "1 2 3", "scripts, collectors and watchdogs are stopped, and go on", WAITING, True),
    Family("power", "2", "power loss: only what was synced is kept"),
    Family("corruption", "2 6", "every byte flipped, every length cut, random bytes"),
    Family("fuzz", "1 6", "parsers, settings, URLs, the collector's whole surface"),
    Family("security", "4 5", "another local user, a hostile client, a hostile page"),
    Family("upgrades", "2 6", "journals, stores and wire of every version; of the future"),
    Family("hours", "3", "eight hours of work for two watchdogs, simulated: does anything grow?"),
    Family(
        "soak", "1 2 3", "an hour of load: kills, restarts, rotation, retention; does anything grow?", 0, True
    ),
    Family("mutation", "2 3 6", "the code itself, changed in every small way: does a test fail?"),
)


class Proof:
    """The size of a proof ("short" or "full"), and its counts, which end in the table."""

    def __init__(self, size: str, record: Callable[[str, object], None]) -> None:
        self.size = size
        self._record = record

    def of(self, short: T, full: T) -> T:
        """What fits this size."""
        return full if self.size == "full" else short

    def count(self, cases: int, what: str = "cases") -> None:
        """So many were tried, and held."""
        self._record(f"proof:{what}", cases)


class Outcome(NamedTuple):
    family: Family
    seconds: float
    passed: int
    failed: int
    skipped: list[str]
    counts: dict[str, int]

    @property
    def held(self) -> bool:
        return self.passed > 0 and not self.failed


def prove(family: Family, size: str) -> Outcome:
    """Run one family's tests; what they print goes to the terminal."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder, "report.xml")
        command = [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-q",
            "-m",
            "proof",
            "--prove",
            size,
            "--dist=worksteal",
            *(() if family.workers is None else (f"-n{family.workers}",)),
        ]
        command += [f"--junitxml={report}", "-o", "junit_family=xunit1"]  # the newer one knows no properties
        subprocess.run([*command, str(HERE / family.folder)], cwd=HERE.parent)
        return _outcome(family, time.monotonic() - began, report)


def prove_all(families: Sequence[Family], size: str) -> list[Outcome]:
    with ThreadPoolExecutor() as pool:
        beside = {each: pool.submit(prove, each, size) for each in families if each.beside}
        found = {each: prove(each, size) for each in families if each not in beside}
        return [found[each] if each in found else beside[each].result() for each in families]


def _outcome(family: Family, seconds: float, report: pathlib.Path) -> Outcome:
    cases = list(ET.parse(report).iter("testcase")) if report.exists() else []  # noqa: S314 - pytest wrote it
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    skipped = [each.get("message") or "" for case in cases for each in case.iter("skipped")]
    counts: Counter[str] = Counter()
    for each in (found for case in cases for found in case.iter("property")):
        name = each.get("name") or ""
        if name.startswith("proof:"):
            counts[name.removeprefix("proof:")] += int(each.get("value") or 0)
    return Outcome(family, seconds, len(cases) - failed - len(skipped), failed, skipped, dict(counts))


def show(outcomes: Iterable[Outcome]) -> None:
    table = Table("family", "promises", "attack", "tried", "tests", "took", "", title="broken on purpose")
    for one in outcomes:
        tried = "\n".join(f"{number:,} {what}" for what, number in one.counts.items())
        tests = f"{one.passed} held" + (f"\n{one.failed} FAILED" if one.failed else "")
        tests += f"\n{len(one.skipped)} skipped" if one.skipped else ""
        verdict = "held" if one.held else "NOT HELD"
        family = one.family
        table.add_row(
            family.folder, family.promises, family.attack, tried, tests, f"{one.seconds:.0f} s", verdict
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def to_json(one: Outcome) -> dict[str, Any]:
    shape = one._asdict()
    return {**shape, "family": one.family.folder, "seconds": round(one.seconds, 1), "held": one.held}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--short", dest="size", action="store_const", const="short", help="some ten minutes")
    size.add_argument("--full", dest="size", action="store_const", const="full", help="hours")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    names = [family.folder for family in FAMILIES]
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(names)}; none: all")
    options = parser.parse_args()
    if unknown := set(options.families) - set(names):
        parser.error(f"no family {min(unknown)!r}: there are {', '.join(names)}")
    chosen = [family for family in FAMILIES if family.folder in (options.families or names)]
    outcomes = prove_all(chosen, options.size)
    show(outcomes)
    if options.json:
        text = json.dumps([to_json(one) for one in outcomes], indent=2) + "\n"
        pathlib.Path(options.json).write_text(text, encoding="utf-8")
    return 0 if all(one.held for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
