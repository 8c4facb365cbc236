"""Timing on a noisy machine: candidates take turns in short rounds, and each gets its median over the rounds."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence


def calls(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 40, number: int = 250
) -> dict[str, dict[str, float]]:
    """Microseconds per call of each candidate: median and p95 over `rounds` rounds of `number` calls, taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for act in candidates.values():
        act()
    for _ in range(rounds):
        for name, act in candidates.items():
            began = time.perf_counter()
            for _ in range(number):
                act()
            taken[name].append((time.perf_counter() - began) / number * 1e6)
    return {name: spread(values) for name, values in taken.items()}


def scripts(
    candidates: Mapping[str, Sequence[str]], env: Mapping[str, str], *, rounds: int = 15
) -> dict[str, dict[str, float]]:
    """Wall milliseconds of whole processes, candidates in turn; the first round is a warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, argv in candidates.items():
            millis = once(argv, env)
            if turn:
                taken[name].append(millis)
    return {name: spread(values) for name, values in taken.items()}


def once(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """Wall milliseconds of one process. Raises CalledProcessError where it fails."""
    began = time.perf_counter()
    out = subprocess.run(argv, env=dict(env), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    millis = (time.perf_counter() - began) * 1e3
    if out.returncode:
        raise subprocess.CalledProcessError(out.returncode, list(argv), stderr=out.stderr)
    return millis


PEAK = (
    "import atexit; atexit.register(lambda: print(*(line.split()[1] for line in open('/proc/self/status')"
    " if line.startswith('VmHWM'))))\n"  # registered first, so it runs last
)


def peak_mb(python: str, code: str, env: Mapping[str, str]) -> float:
    """Peak resident megabytes of a script. (`ru_maxrss` would count the parent's pages before the exec as well.)"""
    argv = [python, "-c", PEAK + code]
    out = subprocess.run(argv, env=dict(env), capture_output=True, text=True, check=True)
    return round(int(out.stdout.split()[-1]) / 1024, 1)


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], 3),
    }


def machine() -> str:
    """One line that says what was measured on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"CPython {platform.python_version()}, load {load:.1f}"
    )


def own_peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def python() -> str:
    return sys.executable


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []
