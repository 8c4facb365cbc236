"""What a run says of its surroundings, and what it never says."""

from __future__ import annotations

import sys
from json import loads
from pathlib import Path
from subprocess import run
from types import ModuleType

import pytest

from holter.agent import surroundings


def about(kind: str = "flow") -> dict[str, object]:
    text = surroundings.said(kind)
    return loads(f"{{{text[1:]}}}")["about"] if text else {}


def test_versions_of_what_is_imported_and_names_of_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("acme")
    module.__version__ = '1.4"0'  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "acme", module)
    monkeypatch.setenv("DB_PASSWORD", "canary-secret")
    told = about()
    assert told["packages"]["acme"] == '1.4"0'  # type: ignore[index]
    assert "holter" not in told["packages"]  # type: ignore[operator]
    assert "DB_PASSWORD" in told["environ"]  # type: ignore[operator]
    assert "canary-secret" not in surroundings.said("flow")
    assert about("command")["packages"] == {}


def test_what_reaches_a_store_is_not_taken_for_the_scripts_own(tmp_path: Path) -> None:
    script = """
from holter.backends import http, postgres
from holter.backends.urls import open_backend
for url in ("sqlite:///runs.db", "file:///runs"):
    open_backend(url, ".").close()
from holter.agent.surroundings import said
print(said("flow"))
"""
    printed = run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={}, check=True, cwd=tmp_path
    ).stdout
    assert printed.strip() == ""


def test_a_module_is_not_asked_for_what_it_would_have_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = ModuleType("lazy")

    def load(name: str) -> str:
        raise AssertionError("it was asked")

    lazy.__getattr__ = load  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    assert "lazy" not in about()["packages"]  # type: ignore[operator]


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        module = ModuleType(f"pack{number}")
        module.__version__ = "9" * 1000  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"pack{number}", module)
        monkeypatch.setenv(f"VARIABLE_{number}", "x")
    assert len(surroundings.said("flow")) < 20_000
