"""What ruff's security rules are told to overlook has a reason beside it. Cheap, so it runs with every `pytest`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "cli.py", *(path for name in ("agent", "backends") for path in (ROOT / name).rglob("*.py"))]
OVERLOOKED = re.compile(r"# noqa: [A-Z0-9, ]*\bS\d{3}\b(?P<rest>.*)")


def unreasoned(lines: list[str]) -> list[str]:
    found = ((OVERLOOKED.search(line), line) for line in lines)
    return [line for match, line in found if match and not re.match(r"[A-Z0-9, ]* - \w", match["rest"])]


def test_every_security_rule_is_on_and_every_exception_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    assert lint["select"] == ["ALL"]
    for rule in (each for each in lint["ignore"] if re.fullmatch(r"S\d*", each)):
        assert re.search(rf'"{rule}", +# \w', text), rule
    assert not [line for path in SOURCES for line in unreasoned(path.read_text().splitlines())]
    assert unreasoned(["eval(x)  # noqa: S307", "x  # noqa: S310 - our own"]) == ["eval(x)  # noqa: S307"]
