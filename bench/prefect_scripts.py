"""Prefect-style scripts under Holter's mapping and, where a Python with the real Prefect is named, under Prefect.

    python -m bench.prefect_scripts FOLDER [--prefect /path/to/python] [--jobs 2] [--out results.json]

Each script of FOLDER runs in an empty folder of its own; those that are called test_*.py run under pytest. Compared are
the exit code (0, or not), what it printed to stdout, and what it said through run loggers (which is where printed lines
go with `log_prints=True`); times, random numbers and made-up names are masked.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TIMEOUT = 120  # seconds for one script
SAID = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} \| (\w+) *\| (?:Flow|Task) run '(.*?)' - (.*)$")
OF_PREFECT = re.compile(
    r"Finished in state|Beginning (?:sub)?flow run|View at |Created |Encountered exception|Task run failed|Retry \d|"
    r"Running hook|Hook '|Rolling back|Error encountered|Executing|Received |Retries are exhausted|Running on_|"
    r"Unexpected|Crash detected|(?:Flow|Task) run .*(?:exceeded|encountered)|Process|Running rollback|Running commit|"
    r"An error was encountered|Validation of flow parameters|Concurrency limits|[Rr]ollback hook|[Cc]ommit hook"
)
MASKS = (
    (r"\d+\.\d{3,}", "#.#"),
    (r"\b[a-z]+-[a-z]+\b(?= \w*$|$)", "NAME"),
    (r"(\w+)-[0-9a-f]{3}\b", r"\1-XXX"),
)


def environment(**more: str) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("HOLTER_", "PREFECT_", "PYTHONPATH"))}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def started(command: list[str], environ: dict[str, str], folder: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            command, env=environ, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"code": 124, "stdout": "", "stderr": "timed out"}
    return {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def under_holter(script: Path) -> dict[str, Any]:
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if script.name.startswith("test_") else []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "holter", "run", "--as-prefect", *words, str(script.absolute())]
        return started(command, environment(HOLTER_HOME=f"{folder}/home"), folder)


def under_prefect(python: str, script: Path, api: str | None = None) -> dict[str, Any]:
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if script.name.startswith("test_") else []
    with tempfile.TemporaryDirectory() as folder:
        environ = environment(
            PREFECT_HOME=f"{folder}/home", PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1"
        )
        environ |= {"PREFECT_API_URL": api} if api else {}
        return started(["nice", "-n", "10", python, *words, str(script.absolute())], environ, folder)


def said(outcome: dict[str, Any]) -> list[str]:
    """What the script said through run loggers: the text, without the engine's own lines."""
    found = [SAID.match(line) for line in outcome["stderr"].splitlines()]
    return [each[3] for each in found if each and not OF_PREFECT.search(each[3])]


def masked(text: str) -> str:
    for pattern, instead in MASKS:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """What threads print at a time may come in any order, and in pieces: then only the signs are compared."""
    if (ours["code"] == 0) != (theirs["code"] == 0):
        return False
    return all(
        sorted(masked(a).splitlines()) == sorted(masked(b).splitlines())
        or sorted("".join(masked(a).split())) == sorted("".join(masked(b).split()))
        for a, b in (
            (ours["stdout"], theirs["stdout"]),
            ("\n".join(said(ours)), "\n".join(said(theirs))),
        )
    )


def refused(outcome: dict[str, Any]) -> str:
    """The line that says what needs a server; "" where there is none."""
    lines = [
        line for line in outcome["stderr"].splitlines() if "means nothing without a Prefect server" in line
    ]
    return lines[0] if lines else ""


def examine(script: Path, prefect: str | None, api: str | None) -> dict[str, Any]:
    ours = under_holter(script)
    row = {"script": script.stem, "holter": ours, "refused": refused(ours)}
    if prefect is not None:
        theirs = under_prefect(prefect, script, api)
        row |= {"prefect": theirs, "same": same(ours, theirs)}
    sys.stdout.write(line_of(row) + "\n")
    sys.stdout.flush()
    return row


def line_of(row: dict[str, Any]) -> str:
    shown = {True: "same", False: "DIFFERS", None: ""}[row.get("same")]
    code = f"{row['holter']['code']}" + (f" / {row['prefect']['code']}" if "prefect" in row else "")
    return f"{row['script']:28}  exit {code:9}  {shown:8}  {row['refused']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prefect", metavar="PYTHON", help="a Python that has the real Prefect")
    parser.add_argument(
        "--api", metavar="URL", help="of a Prefect server that runs already (else each script starts one)"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write everything there, as JSON")
    given = parser.parse_args()
    scripts = sorted(given.folder.glob("*.py"))
    with ThreadPoolExecutor(given.jobs) as pool:
        rows = list(pool.map(lambda script: examine(script, given.prefect, given.api), scripts))
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1))
    differing = [row["script"] for row in rows if row.get("same") is False]
    sys.stdout.write(f"{len(rows)} scripts, {len(differing)} differ\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
