"""Count the lines of every module of Python's standard library into a CSV file: `python count_lines.py [OUT.csv]`."""

from __future__ import annotations

import csv
import os
import sys
import sysconfig
from pathlib import Path

from holter import artifact, flow, progress, task

STDLIB = Path(sysconfig.get_path("stdlib"))
COLUMNS = ("module", "files", "lines", "blank")


@task
def find(root: Path) -> dict[str, list[Path]]:
    """The source files of each top-level module; what pip installed is not part of the library."""
    modules: dict[str, list[Path]] = {}
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if parts[0] not in ("site-packages", "dist-packages"):
            modules.setdefault(parts[0], []).append(file)
    return modules


@task(task_run_name="count {module}", retries=2, retry_delay_seconds=[0.2, 1], retry_jitter_factor=0.5)
def count(module: str, files: list[Path]) -> dict[str, str | int]:
    """Lines of one module. A disk that hiccups (OSError) gets two more tries."""
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    blank = sum(not line.strip() for line in lines)
    return {"module": module, "files": len(files), "lines": len(lines), "blank": blank}


@task(retries=2, retry_delay_seconds=0.2)
def write(rows: list[dict[str, str | int]], out: Path) -> None:
    """The whole file or none of it: a reader never sees half a CSV."""
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    with draft.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    draft.replace(out)


@flow(name="count-lines", log_prints=True)
def count_lines(out: Path) -> int:
    modules = find(STDLIB)
    rows = [count(module, files) for module, files in progress(modules.items(), total=len(modules))]
    write(rows, out)
    largest = sorted(rows, key=lambda row: row["lines"], reverse=True)[:10]
    artifact("largest modules", table=largest)
    total = sum(int(row["lines"]) for row in rows)
    print(f"{total:,} lines in {len(rows)} modules: {out}")
    return total


if __name__ == "__main__":
    count_lines(Path(sys.argv[1] if len(sys.argv) > 1 else "line_counts.csv").absolute())
