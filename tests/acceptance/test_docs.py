"""Every block of README and of the documentation is run, page by page, as by a reader who begins with an empty home."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from .pages import HOW, ROOT, RUNS, Reader, blocks, fits, pages

PAGES = pages()
ALL = {name: blocks(path) for name, path in PAGES.items()}
BUSY = [name for name, found in ALL.items() if any(each.language != "text" for each in found)]


@pytest.mark.parametrize("name", BUSY)
def test_what_a_page_shows_works_from_its_first_block_to_its_last(name: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        reader.follow(ALL[name])
    finally:
        reader.close()


def test_every_block_says_what_it_is() -> None:
    assert [block.place for found in ALL.values() for block in found if block.language not in HOW] == []


def test_what_is_not_run_has_its_reason_and_is_the_smaller_part() -> None:
    doing = [block for found in ALL.values() for block in found if block.language in RUNS]
    left = [block for block in doing if block.not_run is not None]
    for block in left:
        print(f"not run: {block.place}: {block.not_run}")
    assert all(len(block.not_run or "") > 10 for block in left)
    assert len(left) <= len(doing) // 4, Counter(block.page for block in left)


def test_comments_about_blocks_stand_right_before_one() -> None:
    """A comment that is about nothing would be a block that somebody believes to be left out."""
    for name, path in PAGES.items():
        said = len(re.findall(r"^\s*<!-- (?:not run:|goes on)", path.read_text(), re.MULTILINE))
        heard = sum(block.not_run is not None or block.goes_on for block in ALL[name])
        assert said == heard, name


# --- the reader itself -------------------------------------------------------------------------------------------


def read(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    (tmp_path / "reader").mkdir()
    reader = Reader(tmp_path / "reader")
    try:
        reader.follow(blocks(page))
    finally:
        reader.close()


@pytest.mark.parametrize(
    "wrong",
    [
        "```sh\nfalse\ntrue\n```\n",
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ false\n```\n",
        "```python\nraise SystemExit(3)\n```\n",
        "```yaml\nchanels: {}\n```\n",
        "```sh\nholter runs --jbo x\n```\n",
        "```console\n$ holter runz\nno such command\n```\n",
        "<!-- not run: it needs a moon -->\n```sh\nholter watch --twice\n```\n",
        "<!-- not run: it needs a moon -->\n```sh\nif then\n```\n",
        "<!-- goes on -->\n```sh\ntrue\n```\n",
        "```json\n{\n```\n",
        "```crontab\n* * * * * holter run --nme x -- true\n```\n",
    ],
)
def test_a_block_that_is_wrong_fails_its_page(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - each in its own way
        read(tmp_path, wrong)


def test_blocks_of_a_page_share_folder_variables_and_files(tmp_path: Path) -> None:
    read(
        tmp_path,
        "```python\n# hello.py\nimport os\nprint('hello', os.environ['WHO'])\n```\n"
        "```sh\nmkdir deeper\ncd deeper\nexport WHO=world\n```\n"
        "<!-- goes on -->\n```sh\nsleep 60\n```\n"
        "```console\n$ python ../hello.py\nhello ...\n$ cat <<E\n> one\n> two\n> E\none\n...\n```\n",
    )


def test_what_varies_is_left_out_of_the_comparison() -> None:
    assert fits("took 12ms, pid 77\n", "took 340ms, pid 1\n")
    assert fits("a\nb\nc\n", "a\n...\n") and fits("a\nb\nc\n", "...\nc\n") and fits("a\nc\n", "a\n...\nc\n")
    assert not fits("a\nb\n", "a\n") and not fits("ab\n", "a\n") and not fits("", "a\n")


def test_relative_links_of_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []
