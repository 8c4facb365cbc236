"""A process whose n-th call to the file system goes wrong, and what it did until then.

The calls are counted by shim.c, which sits between the process and the C library: Python's own, SQLite's, and those of
everything else in the process. The n-th of some means the n-th by this count; the other threads of the process may
come in between, so that the same n need not be the same call twice. What it was is in the trace.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from holter.backends.lines import decode
from holter.backends.records import Json

BOUND = 30.0  # seconds: how long a process may take before a test gives up on it
KILLED = -9
FAULT_NAMES = {-1: "short write", **errno.errorcode}


class Fault(NamedTuple):
    """What is to go wrong: the `at`-th call `fail`s with the `kind`-th error that it can give, and with `stays` so does
    every later one that can; or the process is killed `before` or `after` it. Nothing where `at` is 0."""

    at: int = 0
    do: str = "fail"
    kind: int = 0
    stays: bool = False


NOTHING = Fault()


class Call(NamedTuple):
    """One call below the home. `errors` counts the errors that it can give, `did` is what was done to it, or ""."""

    number: int
    name: str
    result: int
    errno: int
    offset: int
    flags: int
    inode: int
    data: bytes
    errors: int
    did: str
    path: str
    other: str

    def __str__(self) -> str:
        did = FAULT_NAMES.get(int(self.did), self.did) if self.did.lstrip("-").isdigit() else self.did
        return f"{self.number}: {self.name} {self.path} {did or '=' + str(self.result)}"


class Done(NamedTuple):
    code: int
    out: str
    err: str
    calls: list[Call]

    def hit(self) -> list[Call]:
        return [call for call in self.calls if call.did]


def build(folder: Path) -> Path:
    """The shim as a library. Skips where there is no C compiler."""
    if shutil.which("gcc") is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler; install it: sudo apt-get install gcc libc6-dev")
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "fatal error" in done.stderr:
        pytest.skip(
            f"the C library's headers are missing; install them: sudo apt-get install libc6-dev\n{done.stderr}"
        )
    assert done.returncode == 0, done.stderr
    return library


class Breaker:
    """Starts processes under the shim. Everything is in `folder`; homes are made below it."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.library, self.folder = library, folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HOLTER_", "FAULTS_"))}
        self.env = {**kept, "PYTHONUNBUFFERED": "1"}
        self._homes = 0

    def new_home(self, template: Path | None = None) -> Path:
        self._homes += 1
        home = self.folder / f"home{self._homes}"
        if template is not None:
            shutil.copytree(template, home)
        return home

    def faults(self, home: Path, fault: Fault, trace: Path) -> dict[str, str]:
        """The environment of a process that this happens to."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAULTS_BELOW": str(home),
            "FAULTS_TRACE": str(trace),
            "FAULTS_AT": str(fault.at),
            "FAULTS_DO": fault.do,
            "FAULTS_KIND": str(fault.kind),
            **({"FAULTS_STICK": "1"} if fault.stays else {}),
        }

    def run(self, argv: list[str], home: Path, fault: Fault = NOTHING, **env: str) -> Done:
        trace = self.folder / "trace"
        trace.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, *argv],
            capture_output=True,
            text=True,
            timeout=BOUND,
            cwd=self.folder,
            env={**self.env, "HOLTER_HOME": str(home), **self.faults(home, fault, trace), **env},
        )
        return Done(done.returncode, done.stdout, done.stderr, read_trace(trace))


def read_trace(path: Path) -> list[Call]:
    data, calls, at = path.read_bytes() if path.exists() else b"", [], 0
    while at < len(data):
        end = data.index(b"\n", at)
        fields = os.fsdecode(data[at:end]).split("\t")
        number, name, result, error, offset, flags, inode, length, errors, did, where, other = fields
        said = data[end + 1 : end + 1 + int(length)]
        numbers = int(result), int(error), int(offset), int(flags), int(inode)
        calls.append(Call(int(number), name, *numbers, said, int(errors), did, where, other))
        at = end + 1 + int(length)
    return calls


# --- enumerating ---------------------------------------------------------------------------------------------


def each_call(step: int, whole: bool, way: str, run: Callable[[Fault], Done]) -> Iterator[Done]:
    """Run once for each fault of this `way` ("fails", "stays broken", "killed"), at every `step`-th call, until a run
    has fewer calls. `whole`: each error that the call can give; else one of them in turn. FAULTS_FIRST in the
    environment is the call to begin with, where a proof is to go on, or to be looked at again."""
    at = int(os.environ.get("FAULTS_FIRST") or 1)
    while True:
        errors = kind = 0
        turns = _turns(way, at // step, whole)
        for number, fault in enumerate(turns):
            done = run(fault._replace(at=at))
            reached = len(done.calls) >= at
            if not reached and not number:
                return
            yield done
            errors = done.calls[at - 1].errors if reached else errors
            kind = number + 1
            if way != "killed" and kind >= errors:
                break
        at += step


def _turns(way: str, turn: int, whole: bool) -> list[Fault]:
    if way == "killed":
        both = [Fault(do="before"), Fault(do="after")]
        return both if whole else [both[turn % 2]]
    kinds = range(6) if whole else [turn]
    return [Fault(kind=kind, stays=way == "stays broken") for kind in kinds]


# --- what was written ----------------------------------------------------------------------------------------


def journals(calls: list[Call]) -> dict[int, bytes]:
    """The bytes that the process appended to each journal, by inode, as far as the kernel took them."""
    found: dict[int, bytes] = {}
    for call in calls:
        if call.name == "write" and "/journals/" in call.path and call.data:
            found[call.inode] = found.get(call.inode, b"") + call.data
    return found


def events(calls: list[Call]) -> list[Json]:
    """Every event that was written whole."""
    lines = [event for data in journals(calls).values() for _, event in decode(data)]
    return [event for event in lines if event is not None]


def was_named(calls: list[Call]) -> bool:
    """Whether the process got as far as having a journal."""
    return any(call.name == "rename" and call.other.endswith(".jsonl") and call.result == 0 for call in calls)
