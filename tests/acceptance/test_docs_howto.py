"""The how-tos, as the other pages (`test_docs`): a file of their own, so that both are run at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest

from .pages import blocks, busy, follow, pages

ALL = {name: blocks(path) for name, path in pages().items() if "howto" in name}


@pytest.mark.parametrize("name", busy(ALL))
def test_what_a_page_shows_works_from_its_first_block_to_its_last(name: str, tmp_path: Path) -> None:
    follow(ALL[name], tmp_path)
