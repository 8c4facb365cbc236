"""The mutants that are known to survive, and why: survivors.txt.

A module's name stands after `#`, a reason at the start of a line, and below it, indented, the mutants.
"""

from __future__ import annotations

from pathlib import Path

SURVIVORS = Path(__file__).with_name("survivors.txt")


def explained() -> dict[str, dict[str, str]]:
    """The reasons, by module and mutant's line."""
    found: dict[str, dict[str, str]] = {}
    module = reason = ""
    for line in SURVIVORS.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            module = line[2:]
        elif line.startswith("    "):
            found.setdefault(module, {})[line.strip()] = reason
        elif line.strip():
            reason = line.strip()
    return found
