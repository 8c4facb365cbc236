"""`python -m tests.mutation [MODULE...]`: change the code in every small way, and count how often a test fails.

MODULE is a name such as `fold`; none: all. `--every N` tries only each N-th mutant. Survivors are listed with their
reasons in survivors.txt; those that are not are printed. Exits 1 where a module is below 85 %.
"""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table

from .figures import LEAST, Figures, survey
from .targets import TARGETS


def show(found: list[Figures]) -> None:
    table = Table("module", "mutants", "killed", "of these by time", "survived", "percent", "took")
    for one in found:
        numbers = (one.tried, one.killed, one.timeouts, len(one.survivors))
        table.add_row(
            one.target.module,
            *(f"{each:,}" for each in numbers),
            f"{one.percent:.1f}",
            f"{one.seconds:.0f} s",
        )
    for one in found:
        for mutant in one.unexplained:
            print(f"{one.target.module} has no reason for {mutant.line}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    names = [target.name for target in TARGETS]
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(names)}; none: all")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try each N-th mutant only")
    parser.add_argument("--function", metavar="NAME", help="try the mutants of one function only")
    parser.add_argument("--json", metavar="FILE", help="write what became of each mutant there")
    options = parser.parse_args()
    if unknown := set(options.modules) - set(names):
        parser.error(f"no module {min(unknown)!r}: there are {', '.join(names)}")
    chosen = [target for target in TARGETS if target.name in (options.modules or names)]
    found = [survey(target, options.every, options.function) for target in chosen]
    show(found)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({one.target.module: one.outcomes for one in found}, file, indent=1)
    return 0 if all(one.percent >= LEAST for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
