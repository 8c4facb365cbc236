"""Notebooks, in a real kernel that a real client drives: a cell is a run, and behaves as it would without."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

PAGE = Path(__file__).parents[2] / "docs" / "notebooks.md"
FLOWS = """
from holter import current_run, flow, task
from IPython.display import HTML, display

@task
def step(n):
    print("step", n)
    return n

@flow(name="<b>evil</b>", tags=["<i>"])
def bad():
    kept.append(current_run())
    raise ValueError("<script>alert(1)</script>")

kept = []
"""


class Cell:
    """What the client saw of an executed cell."""

    def __init__(self, cell: Any) -> None:
        self.outputs = cell.outputs
        self.printed = "".join(each.text for each in self.outputs if each.output_type == "stream")
        self.error = next((each for each in self.outputs if each.output_type == "error"), None)
        self.value = next(
            (each.data["text/plain"] for each in self.outputs if each.output_type == "execute_result"), None
        )
        self.cards = [
            each.data["text/html"]
            for each in self.outputs
            if each.output_type == "display_data" and "text/html" in each.data
        ]


Notebook = Callable[..., list[Cell]]


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """Executes cells in one kernel, a process of its own with a home of its own."""
    for name in [name for name in os.environ if name.startswith("HOLTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOLTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")

    def execute(*cells: str) -> list[Cell]:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
        NotebookClient(book, timeout=60, kernel_name="python3", allow_errors=True).execute()
        return [Cell(each) for each in book.cells]

    return execute


def recorded(tmp_path: Path) -> dict[str, Any]:
    """The runs that the kernel left, by name."""
    done = subprocess.run(
        [sys.executable, "-m", "holter", "runs", "--json", "--kind", "flow", "--kind", "task"],
        env={**os.environ, "HOLTER_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return {run["name"]: run for run in (found["runs"] if isinstance(found, dict) else found)}


@pytest.mark.filterwarnings("ignore")  # of the client's libraries
def test_a_cell_is_a_run_and_behaves_as_it_would_without(notebook: Notebook, tmp_path: Path) -> None:
    load, _, fine, silent, failed, after, wrong, odd = notebook(
        "%load_ext holter",
        FLOWS,
        "%%holter sums --tag notebook\ntotal = 0\nfor n in (1, 2):\n    total += step(n)\nprint('sum')\ntotal",
        "%%holter\nx = total + 1\nx;",
        "%%holter broken\nvalues = {}\nvalues['nothing']\nprint('never')",
        "(total, x, _)",
        "%%holter --tga x\n1",
        "%%holter sums\nbad()",
    )
    assert load.error is None
    assert (fine.printed, fine.value) == ("step 1\nstep 2\nsum\n", "3")
    assert "flow sums" in fine.cards[0] and "COMPLETED" in fine.cards[0] and "notebook" in fine.cards[0]
    assert silent.value is None and "flow cell" in silent.cards[0]
    assert failed.error.ename == "KeyError" and failed.printed == ""
    assert "values['nothing']" in re.sub(r"\x1b\[[\d;]*m", "", "\n".join(failed.error.traceback))
    assert "drivers.py" not in "".join(failed.error.traceback)  # it begins in the cell
    assert "FAILED" in failed.cards[0] and "KeyError" in failed.cards[0]
    assert after.value == "(3, 4, 3)"
    assert wrong.printed.startswith("UsageError: %%holter does not know --tga (")
    assert "<script>" not in odd.cards[0] and "&lt;script&gt;" in odd.cards[0]

    runs = recorded(tmp_path)
    assert runs["sums"]["kind"] == "flow" and runs["step"]["parent_id"] is not None
    assert runs["broken"]["state"] == "FAILED" and runs["broken"]["error"]["type"] == "KeyError"


@pytest.mark.filterwarnings("ignore")
def test_the_cells_of_the_documentation_work(notebook: Notebook) -> None:
    shown = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(shown) == 3
    before = (
        "from holter import flow\n"
        "class Frame(list):\n    def dropna(self): return len(self)\n"
        "def load(name): return Frame([1, 2])\n"
    )
    cells = notebook(before, *shown)
    assert [each.error for each in cells] == [None] * 4
    assert cells[2].printed == "2 rows\n" and cells[2].value == "2"


def test_the_extension_can_be_loaded_and_nothing_of_it_is_until_then() -> None:
    code = (
        "import sys, holter; holter.load_ipython_extension; sys.exit('holter.agent.notebook' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
