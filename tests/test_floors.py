"""The shape of the package: floors that import downwards only, small functions, and an import that does nothing.

Ground: `backends`. First floor, inside the user's process: `agent/*.py`. Second: the watchdog and what reads for
people. Top: the command line.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import holter

ROOT = Path(__file__).parents[1]
FLOORS = (  # the first pattern that fits
    ("backends/*", 0),
    ("agent/watchdog/*", 2),
    ("agent/reports.py", 2),
    ("agent/lookup.py", 2),
    ("agent/copying.py", 2),
    ("agent/explain.py", 2),
    ("agent/why.py", 2),
    ("agent/causes.py", 2),
    ("agent/changes.py", 2),
    ("agent/masks.py", 2),
    ("agent/drawings.py", 2),
    ("agent/exposition.py", 2),
    ("agent/sharing.py", 2),
    ("agent/tally.py", 2),
    ("agent/terminal/*", 3),
    ("agent/web/*", 3),
    ("agent/*", 1),
    ("testing/*", 3),
    ("__init__.py", 1),
    ("cli.py", 3),
    ("__main__.py", 3),
)


def module_of(path: Path) -> str:
    parts = ("holter", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> Iterator[Path]:
    yield from ROOT.glob("*.py")
    for folder in ("agent", "backends", "testing"):
        yield from ROOT.joinpath(folder).rglob("*.py")


FILES = {module_of(path): path for path in sources()}
TREES = {module: ast.parse(path.read_bytes()) for module, path in FILES.items()}


def floor(module: str) -> int:
    path = FILES[module].relative_to(ROOT).as_posix()
    return next(number for pattern, number in FLOORS if fnmatchcase(path, pattern))


def imported(module: str, node: ast.AST) -> Iterator[str]:
    """Modules of this package that an import statement names."""
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        package = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
        above = package[: len(package) + 1 - node.level] if node.level else []
        base = ".".join([*above, *filter(None, [node.module])])
        names = [full if (full := f"{base}.{alias.name}") in FILES else base for alias in node.names]
    return (name for name in names if name.partition(".")[0] == "holter")


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from (other, *at_import(other))
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import(child)


def test_every_import_names_a_module_that_is_there_and_none_goes_up() -> None:
    wrong = []
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            for name in imported(module, node):
                if name not in FILES or floor(name) > floor(module):
                    wrong.append(f"{module}:{node.lineno} imports {name}")  # type: ignore[attr-defined]
    assert wrong == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        module: {name for node in at_import(tree) for name in imported(module, node)}
        for module, tree in TREES.items()
    }
    assert sum(map(len, graph.values())) > 100
    TopologicalSorter(graph).prepare()  # CycleError names the circle


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
    return lines


def test_functions_are_short() -> None:
    lengths = sorted(
        (length(node), f"{module}.{node.name}")
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert len(lengths) > 500
    assert lengths[len(lengths) * 90 // 100][0] <= 25
    assert lengths[-1][0] <= 60, lengths[-1]


# --- the public names ----------------------------------------------------------------------------------------


def test_the_public_names_are_those_that_load_and_those_that_type_checkers_see() -> None:
    names = holter.__all__
    assert names == sorted(names)
    assert sorted(name for home in holter._HOMES.values() for name in home) == names
    assert set(names) <= set(dir(holter))
    assert all(callable(getattr(holter, name)) for name in names)
    [types] = [node for node in TREES["holter"].body if isinstance(node, ast.If)]
    seen = [
        (f"{node.module}", alias.name)
        for node in types.body
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    ]
    assert sorted(seen) == sorted((home, name) for home, held in holter._HOMES.items() for name in held)


def test_any_other_name_is_missing_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'flows_'"):
        _ = holter.flows_


# --- what an import does -------------------------------------------------------------------------------------

HEAVY = {
    *("attr", "attrs", "cattrs", "click", "loguru", "rich", "sqlite_utils", "yaml"),
    *("asyncio", "dataclasses", "inspect", "json", "logging", "multiprocessing", "pathlib", "re", "socket"),
    *("sqlite3", "subprocess", "tempfile", "threading", "traceback", "typing", "urllib"),
}
WATCHED = """
import sys, os
sys.path.insert(0, sys.argv[1])
seen = []
def hook(event, args):
    if event.startswith(("socket.", "subprocess.", "os.", "sqlite3.", "_thread.")) or event == "open":
        if event not in ("os.listdir", "os.register_at_fork") and not str(args[0]).endswith((".py", ".pyc", ".so")):
            seen.append(event + " " + str(args[0]))
def now():
    fds = sorted(os.listdir("/dev/fd"))
    return fds, len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
modules, before = set(sys.modules), now()
sys.addaudithook(hook)
import holter
from holter import flow, task
after, did, loaded = now(), list(seen), sorted(set(sys.modules) - modules)
import json
print(json.dumps({"before": before, "after": after, "did": did, "loaded": loaded}))
"""


@pytest.fixture
def bare(tmp_path: Path) -> list[str]:
    """An interpreter without site-packages, where nothing is loaded but by us; -B: it writes no caches."""
    tmp_path.joinpath("path").mkdir()
    tmp_path.joinpath("path", "holter").symlink_to(ROOT)
    return [sys.executable, "-I", "-S", "-B"]


def test_importing_starts_nothing_opens_nothing_and_loads_nothing_heavy(
    bare: list[str], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [*bare, "-c", WATCHED, str(tmp_path / "path")],
        cwd=empty,
        env={"HOME": str(empty)},
        check=True,
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout)
    assert "holter.agent.flows" in told["loaded"]
    assert HEAVY & set(told["loaded"]) == set()
    assert {name.partition(".")[0] for name in told["loaded"]} <= {"holter", *sys.stdlib_module_names}
    assert told["did"] == []
    assert told["before"] == told["after"]
    assert list(empty.iterdir()) == []
    assert done.stderr == ""
