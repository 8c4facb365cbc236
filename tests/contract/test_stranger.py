"""A store of another package: the example of the documentation, tested as its author would test it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "one_file_store.py"
PAGE = ROOT / "docs" / "backends.md"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder as of an installed package: the example, what names it, and its two lines of tests."""
    page = PAGE.read_text()
    (tmp_path / "one_file_store.py").write_text(EXAMPLE.read_text())
    (info := tmp_path / "one_file_store-1.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: one-file-store\nVersion: 1\n")
    (info / "entry_points.txt").write_text(block(page, "```ini\n"))
    (tests := tmp_path / "tests").mkdir()
    (tests / "test_contract.py").write_text(block(page, "<!-- test_contract.py -->\n```python\n"))
    return tmp_path


def block(page: str, opening: str) -> str:
    return page.partition(opening)[2].partition("```\n")[0]


def in_a_package(package: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package), "HOLTER_HOME": str(package / "home")},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_the_page_shows_the_example_as_it_is() -> None:
    shown = block(PAGE.read_text(), "<!-- one_file_store.py -->\n```python\n")
    assert shown == EXAMPLE.read_text()


@pytest.mark.long
def test_the_example_holds_the_contract_in_two_lines_of_tests(package: Path) -> None:
    done = in_a_package(package, "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_store_that_breaks_the_contract_is_told_so(package: Path) -> None:
    module = package / "one_file_store.py"
    sound = module.read_text()
    module.write_text(sound.replace("self._catch_up()\n            at =", "at ="))
    assert module.read_text() != sound
    done = in_a_package(package, "pytest", "-q", "-p", "no:cacheprovider", "tests", "-k", "sending_twice")
    assert done.returncode == 1
    assert "DID NOT RAISE" in done.stdout


def test_scripts_and_verbs_use_it_by_its_url(package: Path) -> None:
    os.environ["HOLTER_BACKEND"] = "onefile:///history.json"
    try:
        assert in_a_package(package, "holter", "run", "--", "true").returncode == 0
        assert '"COMPLETED"' in in_a_package(package, "holter", "runs", "--json").stdout
    finally:
        del os.environ["HOLTER_BACKEND"]


def test_without_pytest_or_hypothesis_the_suite_says_what_to_install(package: Path) -> None:
    (package / "hypothesis.py").write_text("raise ModuleNotFoundError('none here', name='hypothesis')")
    done = in_a_package(package, "holter.testing.contract")
    assert "pip install 'holter[testing]'" in done.stderr
