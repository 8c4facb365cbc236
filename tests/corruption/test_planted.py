"""Readers that do not look: the checks of this family find each of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holter.backends import file_registry, lines
from holter.backends.file import FileBackend
from tests.prove import Proof

from .test_damage import (
    test_a_damaged_document_is_as_if_it_were_not_there_and_is_reported as documents,
)
from .test_damage import (
    test_a_damaged_file_of_a_run_loses_no_more_than_its_batch_and_is_reported as run_files,
)
from .test_damage import (
    test_a_damaged_journal_is_read_but_for_the_lines_that_are_damaged as journals,
)

pytestmark = pytest.mark.proof
UNCOUNTED = Proof("short", lambda name, value: None)


def test_a_reader_that_compares_no_checksum_of_lines(monkeypatch: pytest.MonkeyPatch, proof: Proof) -> None:
    parse = lines._parse

    def unchecked(line: bytes, escaped: bool) -> Any:
        return parse(lines.seal(line[: -lines._SEAL])[:-1], escaped)

    monkeypatch.setattr(lines, "_parse", unchecked)
    with pytest.raises(AssertionError):
        journals(UNCOUNTED)
    proof.count(1, "planted defects found")


def test_a_reader_that_compares_no_checksum_of_documents(
    folder: Path, monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    def unchecked(path: str) -> Any:
        try:
            found = json.loads(Path(path).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and {"key", "version", "value"} <= set(found) else None

    monkeypatch.setattr(file_registry, "read_json", unchecked)
    with pytest.raises(AssertionError):
        documents(folder, UNCOUNTED)
    proof.count(1, "planted defects found")


def test_damage_of_which_nothing_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch, proof: Proof) -> None:
    monkeypatch.setattr(FileBackend, "check", lambda self: {"ok": True, "detail": "fine"})
    with pytest.raises(AssertionError):
        run_files(folder, UNCOUNTED)
    proof.count(1, "planted defects found")
