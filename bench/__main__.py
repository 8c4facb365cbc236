"""`python -m bench [--json FILE] [--quick] [--no-peers]`: what Holter costs, beside the floor and the peers.

Whole scripts are timed in a fresh environment with nothing but Holter's wheel; peers in the one that runs this
(`pip install -e '.[bench]'`). Takes about four minutes with all peers, one without.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import install, peers
from bench.targets import lines
from bench.timing import machine, once, peak_mb, scripts, spread

HERE = pathlib.Path(__file__).parent
HELLO = str(HERE / "hello.py")
Figures = dict[str, Any]


def main() -> int:
    options = arguments()
    rounds = 5 if options.quick else 15
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        python = install.make(f"{folder}/fresh")
        figures: Figures = {
            "machine": machine(),
            "install": install.size(python),
            "peak_mb": peaks(python, folder),
            "milliseconds": whole_scripts(python, folder, rounds),
            "microseconds": child("bench.incall", f"{folder}/calls", python),
            "scale": child("bench.scale", f"{folder}/scale", python),
            "peers": {},
        }
        if not options.no_peers:
            for name in peers.installed():
                figures["peers"].update(child("bench.peers", f"{folder}/{name}", sys.executable, name))
            figures["milliseconds"].update(prefect_scripts(folder))
    figures["targets"] = [{**line._asdict(), "reached": line.reached} for line in lines(figures)]
    show(figures)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the figures there as JSON")
    parser.add_argument("--quick", action="store_true", help="a third of the rounds")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    return parser.parse_args()


def whole_scripts(python: str, folder: str, rounds: int) -> Figures:
    """Wall milliseconds from start to end, candidates in turn."""
    plain, configured = f"{folder}/home", f"{folder}/configured"
    os.makedirs(configured, mode=0o700)
    settings = (HERE / "data" / "fifty_lines.yaml").read_bytes()
    pathlib.Path(configured, "holter.yaml").write_bytes(settings)
    holter = f"{pathlib.Path(python).parent}/holter"
    return scripts(
        {
            "bare interpreter": [python, "-c", "pass"],
            "import logging": [python, "-c", "import logging"],
            "import holter, flow and task": [python, "-c", "from holter import flow, task"],
            "hello-world script": [python, HELLO],
            "hello world, 50 lines of YAML": ["/usr/bin/env", f"HOLTER_HOME={configured}", python, HELLO],
            "holter --help": [holter, "--help"],
            "holter runs": [holter, "runs"],
        },
        environment(plain),
        rounds=rounds,
    )


def peaks(python: str, folder: str) -> Figures:
    """Peak megabytes: of nothing, and of the hello-world script with all that it does at its end."""
    environ = environment(f"{folder}/peaks")
    hello = f"import runpy; runpy.run_path({HELLO!r}, run_name='__main__')"
    peak_mb(python, hello, environ)  # the very first run of a home makes the database
    return {"bare": peak_mb(python, "import runpy", environ), "hello": peak_mb(python, hello, environ)}


def prefect_scripts(folder: str) -> Figures:
    """The peer that Holter's scripts come from: import, and hello world with its embedded server on a migrated home."""
    if "prefect" not in peers.installed():
        return {}
    environ = {
        **environment(f"{folder}/x"),
        "PREFECT_HOME": f"{folder}/prefect",
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    argv = [sys.executable, str(HERE / "hello_prefect.py")]
    once(argv, environ)  # the first run of a home migrates its database, and is not counted
    return {
        **scripts(
            {
                "bare, beside peers": [sys.executable, "-c", "pass"],
                "import prefect": [sys.executable, "-c", "from prefect import flow, task"],
            },
            environ,
            rounds=3,
        ),
        "hello world, Prefect": spread([once(argv, environ) for _ in range(3)]),
    }


def child(module: str, home: str, python: str, *arguments: str) -> Figures:
    """Figures that a process of its own prints as its last line; {} where a peer fails, which is said."""
    environ = environment(home)
    folder = HERE.parent if python == sys.executable else HERE.parent / "bench"
    environ["PYTHONPATH"] = str(HERE.parent) if python == sys.executable else _only_bench(home)
    out = subprocess.run(
        [python, "-m", module, *arguments],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if out.returncode or not out.stdout.strip():
        sys.stderr.write(f"{module} {' '.join(arguments)} failed: {out.stderr.strip()[-300:]}\n")
        return {}
    figures: Figures = json.loads(out.stdout.strip().splitlines()[-1])
    return figures


def _only_bench(home: str) -> str:
    """A folder from which `bench` can be imported, and nothing else of the checkout: the wheel is what is measured."""
    path = pathlib.Path(f"{home}.path")
    path.mkdir(parents=True, exist_ok=True)
    if not (path / "bench").exists():
        (path / "bench").symlink_to(HERE)
    return str(path)


def environment(home: str) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HOLTER_")}
    return {**environ, "HOLTER_HOME": home}


def show(figures: Figures) -> None:
    console = Console(width=100)
    console.print(figures["machine"], highlight=False)
    for title, groups in (
        ("milliseconds", ["milliseconds"]),
        ("microseconds per call", ["microseconds", "peers"]),
    ):
        table = Table(title=title, title_justify="left")
        table.add_column("what")
        for name in ("median", "p95"):
            table.add_column(name, justify="right")
        for name, row in ((name, row) for group in groups for name, row in figures[group].items()):
            table.add_row(name, *(f"{row[key]:,.1f}" for key in ("median", "p95")))
        console.print(table)
    table = Table("promise", "is", "at most", "", title="promises", title_justify="left")
    for line in lines(figures):
        value = "not measured" if line.value is None else f"{line.value:.3g} {line.unit}"
        verdict = {True: "reached", False: "NOT REACHED", None: ""}[line.reached]
        table.add_row(line.what, value, f"{line.limit:.3g} {line.unit}", verdict)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
