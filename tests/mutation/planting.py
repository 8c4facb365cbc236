"""A copy of the package in which one module holds all of its mutants at once.

mutmut's operators make them, and its trampolines choose one of them at run time by the variable MUTANT_UNDER_TEST, in
this process and in those that it starts. mutmut itself is not run: it takes a module's name from its path, and here the
root of the repository is the package; and it starts pytest anew for each mutant, which takes longer than the tests.
"""

from __future__ import annotations

import shutil
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents

from .targets import Target

ROOT = Path(__file__).parents[2]
IN_PACKAGE = ("agent", "backends", "examples", "testing")


class Mutant(NamedTuple):
    """`key` is how a trampoline knows it, `function` where it is; `was` and `becomes` are the lines that differ."""

    key: str
    function: str
    was: str
    becomes: str

    @property
    def line(self) -> str:
        """As it is named in the list of survivors."""
        return f"{self.function}: {self.was} => {self.becomes}"


def plant(target: Target, folder: Path) -> list[Mutant]:
    """Copy the package to `folder`/holter, with the target's mutants in it."""
    copy = folder / "holter"
    copy.mkdir()
    for file in (*ROOT.glob("*.py"), ROOT / "py.typed"):
        shutil.copy(file, copy)
    for name in IN_PACKAGE:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    made = mutate_file_contents(target.module, (ROOT / target.module).read_text())
    (copy / target.module).write_text(made.code)
    module = "holter." + target.module.removesuffix(".py").replace("/", ".")
    return [_mutant(module, name, made) for name in made.mutant_names]


def _mutant(module: str, name: str, made: MutatedFile) -> Mutant:
    original = name.rpartition("_")[0] + "_orig"
    was, becomes = _differing(_body(made, original), _body(made, name))
    return Mutant(f"{module}.{name}", function_of(name), was, becomes)


def function_of(name: str) -> str:
    """The function's own name: `Slots.collect` of `xǁSlotsǁcollect__mutmut_3`."""
    bare = name.partition("__mutmut")[0]
    return bare[2:].replace("ǁ", ".") if bare.startswith("xǁ") else bare.removeprefix("x_")


def _body(made: MutatedFile, name: str) -> list[str]:
    span = made.line_span_by_function_name[name]
    lines = made.code.splitlines()[span.start - 1 : span.end]
    return [line.strip().replace(name, "") for line in lines]


def _differing(before: list[str], after: list[str]) -> tuple[str, str]:
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    changed = [block for block in blocks if block[0] != "equal"]
    was = [line for _, start, end, _, _ in changed for line in before[start:end]]
    becomes = [line for _, _, _, start, end in changed for line in after[start:end]]
    return " ".join(was), " ".join(becomes)
