"""Every block of README and of the documentation is run, page by page, as by a reader who begins with an empty home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from click.testing import CliRunner

from holter.cli import cli

from .pages import HOW, ROOT, RUNS, blocks, busy, fits, follow, pages

PAGES = pages()
ALL = {name: blocks(path) for name, path in PAGES.items()}
BUSY = busy(ALL)


@pytest.mark.parametrize("name", [name for name in BUSY if "howto" not in name])
def test_what_a_page_shows_works_from_its_first_block_to_its_last(name: str, tmp_path: Path) -> None:
    follow(ALL[name], tmp_path)


def test_every_block_says_what_it_is() -> None:
    assert [block.place for found in ALL.values() for block in found if block.language not in HOW] == []


def test_what_is_not_run_has_its_reason_and_hardly_any_is_run_nowhere() -> None:
    """A reason that names a test says where the block is run instead."""
    doing = [block for found in ALL.values() for block in found if block.language in RUNS]
    left = [block for block in doing if block.not_run is not None]
    nowhere = [block for block in left if not re.search(r"tests/|\.ci/run", block.not_run or "")]
    for block in left:
        print(f"not run: {block.place}: {block.not_run}")
    assert all(len(block.not_run or "") > 10 for block in left)
    named = {path for block in left for path in re.findall(r"[\w/.]*tests/[\w/]+\.py", block.not_run or "")}
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert len(nowhere) <= len(doing) // 10, nowhere
    assert len(left) <= len(doing) // 3, left


def test_comments_about_blocks_stand_right_before_one() -> None:
    """A comment that is about nothing would be a block that somebody believes to be left out."""
    for name, path in PAGES.items():
        said = len(re.findall(r"^\s*<!-- (?:not run:|goes on)", path.read_text(), re.MULTILINE))
        heard = sum(block.not_run is not None or block.goes_on for block in ALL[name])
        assert said == heard, name


# --- the site ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """docs/hooks.py, as mkdocs loads it."""
    spec = spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_commands_is_what_help_says(hooks: ModuleType) -> None:
    runner = CliRunner()
    shown = hooks.on_page_markdown((ROOT / "docs/reference/cli.md").read_text())
    names = re.findall(r"^## `holter ?(.*)`$", shown, re.MULTILINE)
    assert {name.split()[0] for name in names if name} == {
        name for name, command in cli.commands.items() if not command.hidden
    }
    for name in names:
        text = runner.invoke(
            cli, [*name.split(), "--help"], prog_name="holter", terminal_width=hooks.WIDTH
        ).output
        assert text.startswith("Usage: holter") and f"```text\n{text.rstrip()}\n```" in shown, name


def test_help_of_a_real_process_is_the_same(hooks: ModuleType) -> None:
    command = [sys.executable, "-m", "holter", "checks", "add", "--help"]
    said = subprocess.run(
        command, env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True, check=True
    )
    wanted = dict(hooks.helps(cli, "holter"))["holter checks add"]
    assert said.stdout.split() == wanted.split()


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page(hooks: ModuleType) -> None:
    """A page that mkdocs.yml does not name comes under "More"; so it can be found, until it has its place."""
    text = (ROOT / "mkdocs.yml").read_text()
    nav = yaml.safe_load(text[text.index("\nnav:") :])["nav"]
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    named = list(hooks._named(nav))
    assert set(hooks._named(hooks.with_all_pages(nav))) == pages
    assert len(named) == len(set(named)) and set(named) <= pages


def test_relative_links_lead_somewhere() -> None:
    links = [
        (path.parent / link, f"{name}: {link}")
        for name, path in PAGES.items()
        for link in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", path.read_text())
    ]
    assert len(links) > 100
    assert [text for target, text in links if not target.exists()] == []


def test_tests_that_pages_name_are_there() -> None:
    mine = ("test_etl.py", "test_contract.py")  # of the pages themselves
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")} | set(mine)
    named = {name for path in PAGES.values() for name in re.findall(r"\btest_\w+\.py\b", path.read_text())}
    assert len(named) > 15
    assert named <= there, named - there


# --- the reader itself -------------------------------------------------------------------------------------------


def read(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    (tmp_path / "reader").mkdir()
    follow(blocks(page), tmp_path / "reader")


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
