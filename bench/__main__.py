"""`python -m bench [--json FILE] [--quick]`: a table of what Holter costs, beside the floor and what people use now."""

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

from bench.timing import machine, python, scripts

HERE = pathlib.Path(__file__).parent


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "HOLTER_HOME": home, "PYTHONPATH": str(HERE.parent)}
        environ.pop("HOLTER_BACKEND", None)
        whole = processes(environ, rounds=5 if options.quick else 15)
        inside = in_process(environ)
    figures = {"machine": machine(), "milliseconds": whole, "microseconds": inside, "ratios": ratios(whole, inside)}
    show(figures)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the figures there as JSON")
    parser.add_argument("--quick", action="store_true", help="a third of the rounds")
    return parser.parse_args()


def processes(environ: dict[str, str], rounds: int) -> dict[str, dict[str, float]]:
    """Whole processes, in milliseconds of wall time."""
    return scripts(
        {
            "bare interpreter": [python(), "-c", "pass"],
            "import logging": [python(), "-c", "import logging"],
            "import holter, flow and task": [python(), "-c", "from holter import flow, task"],
            "hello-world script": [python(), str(HERE / "hello.py")],
            "holter --help": [python(), "-m", "holter", "--help"],
            "holter runs": [python(), "-m", "holter", "runs"],
        },
        environ,
        rounds=rounds,
    )


def in_process(environ: dict[str, str]) -> dict[str, dict[str, float]]:
    """Single calls in a warm process, in microseconds."""
    out = subprocess.run(
        [python(), "-m", "bench.incall"], env=environ, check=True, stdout=subprocess.PIPE, cwd=HERE.parent
    )
    figures: dict[str, dict[str, float]] = json.loads(out.stdout)
    return figures


def ratios(whole: dict[str, Any], inside: dict[str, Any]) -> dict[str, float]:
    """What the promises are about: one figure against another of the same run."""

    def of(table: dict[str, Any], one: str, other: str) -> float:
        return round(float(table[one]["median"]) / float(table[other]["median"]), 2)

    return {
        "task call / log line": of(inside, "holter @task call", "logging.FileHandler line"),
        "task call / two writes": of(inside, "holter @task call", "two os.write of the same bytes"),
        "flow call / task call": of(inside, "holter @flow call", "holter @task call"),
        "hello world / bare interpreter": of(whole, "hello-world script", "bare interpreter"),
        "import over bare (ms)": round(
            whole["import holter, flow and task"]["median"] - whole["bare interpreter"]["median"], 1
        ),
    }


def show(figures: dict[str, Any]) -> None:
    console = Console()
    console.print(figures["machine"], highlight=False)
    for title in ("milliseconds", "microseconds"):
        table = Table(title=title, title_justify="left")
        table.add_column("what")
        for name in ("median", "p95", "peak_mb"):
            table.add_column(name, justify="right")
        for name, row in figures[title].items():
            table.add_row(name, *(f"{row[key]:.2f}" if key in row else "" for key in ("median", "p95", "peak_mb")))
        console.print(table)
    table = Table("ratio", "is", title="ratios", title_justify="left")
    for name, value in figures["ratios"].items():
        table.add_row(name, f"{value:.2f}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
