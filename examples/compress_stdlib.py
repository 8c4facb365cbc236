"""How small does each package of Python's standard library get? One task for each, on the executor that is asked for:
`python compress_stdlib.py [threads|processes|loky|dask]`."""

from __future__ import annotations

import sys
import sysconfig
import zlib
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from holter import allow_failure, artifact, flow, progress, task

STDLIB = Path(sysconfig.get_path("stdlib"))


@task(task_run_name="compress {package.name}", retries=1)
def compress(package: Path, level: int) -> tuple[str, int, int]:
    """Its name, and the bytes of its sources before and after."""
    sources = b"".join(path.read_bytes() for path in sorted(package.rglob("*.py")))
    return package.name, len(sources), len(zlib.compress(sources, level))


@task
def summary(sizes: list[Any]) -> str:
    """A line for people; a package that could not be read is counted, not fatal."""
    good = [size for size in sizes if not isinstance(size, Exception)]
    before, after = sum(size[1] for size in good), sum(size[2] for size in good)
    return f"{len(good)} packages of {len(sizes)}: {before / 1e6:.1f} MB become {after / 1e6:.1f} MB"


@flow(log_prints=True)
def compress_stdlib(level: int = 6) -> str:
    packages = sorted({path.parent for path in STDLIB.glob("*/__init__.py")})
    sizes = compress.map(packages, level=level)
    for _ in progress(as_completed(sizes), total=len(sizes)):
        pass  # a bar in `holter top`
    line = str(summary.submit([allow_failure(size) for size in sizes]).result())
    smallest = sorted((size.result() for size in sizes if not size.exception()), key=lambda size: size[2])
    artifact("smallest", table=[dict(zip(("package", "bytes", "compressed"), size)) for size in smallest[:5]])
    print(line)
    return line


def loky() -> Executor:
    from loky import get_reusable_executor

    executor: Executor = get_reusable_executor()
    return executor


EXECUTORS: dict[str, Any] = {"threads": None, "processes": ProcessPoolExecutor, "loky": loky}


def main(chosen: str) -> None:
    if chosen == "dask":
        from distributed import Client

        # A cluster on this machine; one of many is Client("scheduler.example.org:8786").
        with Client(dashboard_address=None, n_workers=2) as client:  # type: ignore[no-untyped-call]
            compress_stdlib.with_options(executor=client.get_executor())()
    elif chosen in EXECUTORS:
        compress_stdlib.with_options(executor=EXECUTORS[chosen])()
    else:
        sys.exit(f"{chosen!r} is none of {', '.join(EXECUTORS)}, dask")


if __name__ == "__main__":
    main(*sys.argv[1:] or ["processes"])
