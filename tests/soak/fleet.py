"""The processes of the soak: watchdogs that can be killed, and writers, each started again when it has ended."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ..acceptance.collecting import Daemon
from ..acceptance.conftest import HOLTER, Host, wait_until

WRITER = Path(__file__).with_name("writer.py")
BOUND = 30.0
KILLED = -9
LOOPS, LIVES = (12, 0), (20, 1)  # steps and rounds: of a process with many runs, and of one with one run


class Watch(Daemon):
    """`holter watch` of one host."""

    def __init__(self, host: Host, name: str) -> None:
        self.host, self.name = host, name
        self.log = host.folder / "watch.log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*HOLTER, "watch"], env=self.host.env, stdout=log, stderr=log)

    def ready(self) -> None:
        """Wait until this very process says that it watches."""
        wait_until(self._beats, f"{self.name} to watch: {self.log.read_text()[-2000:]}", BOUND)

    def _beats(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()
        return any(held.value["pid"] == self.process.pid for _, held in self.host.store.list("pulse"))


class Writer:
    """One of the scripts: `steps` and `rounds` as writer.py has them. Each of its lives has a file of truth."""

    def __init__(self, host: Host, number: int, folder: Path, shape: tuple[int, int]) -> None:
        self.host, self.number, self.folder = host, number, folder
        self.steps, self.rounds = shape
        self.lives = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.lives += 1
        truth = self.folder / f"{self.number}-{self.lives}.truth"
        argv = [f"writer-{self.number}", truth, self.folder / "stop", self.steps, self.rounds]
        with (self.folder / f"{self.number}.err").open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(WRITER), *map(str, argv)],
                env=self.host.env,
                cwd=self.host.folder,
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
            )


class Fleet:
    """Writers on all hosts: of `each` host four fifths go on for ever, the others are started again and again; the
    first, a `veteran`, is never killed. `killed` are the processes that were; `ends` counts how the others ended."""

    def __init__(self, hosts: list[Host], folder: Path, each: int, seed: int = 1) -> None:
        folder.mkdir()
        self.folder, self._chance = folder, random.Random(seed)
        self.killed: set[int] = set()
        self.ends: Counter[int] = Counter()
        shapes = [LIVES if number % 5 == 4 else LOOPS for number in range(each)]
        self.writers = [
            Writer(host, each * at + number, folder, shape)
            for at, host in enumerate(hosts)
            for number, shape in enumerate(shapes)
        ]
        self.veterans = self.writers[::each]

    @property
    def lives(self) -> int:
        return sum(writer.lives for writer in self.writers)

    def pids(self) -> Mapping[str, int]:
        """Of the veterans."""
        return {f"writer {each.number}": each.process.pid for each in self.veterans if each.process}

    def tend(self) -> None:
        """Start whoever has ended, or was never started."""
        for writer in self.writers:
            process = writer.process
            if process is None or process.poll() is not None:
                self._note(process)
                writer.start()

    def _note(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None and process.pid not in self.killed:
            self.ends[process.returncode] += 1

    def kill_one(self) -> None:
        mortals = [each.process for each in self.writers if each not in self.veterans]
        victim = self._chance.choice([each for each in mortals if each and each.poll() is None])
        victim.kill()
        if victim.wait(BOUND) == KILLED:
            self.killed.add(victim.pid)

    def stop(self) -> None:
        """All come to their end by themselves."""
        (self.folder / "stop").touch()
        deadline = time.monotonic() + BOUND
        for writer in self.writers:
            assert writer.process is not None
            writer.process.wait(max(0.1, deadline - time.monotonic()))
            self._note(writer.process)

    def complaints(self) -> set[str]:
        """What Holter said on stderr, other than that the store is away."""
        lines = [line for path in self.folder.glob("*.err") for line in path.read_text().splitlines()]
        said = {line for line in lines if line.startswith("holter:")}
        return {line for line in said if not line.startswith("holter: the store is away")}

    def close(self) -> None:
        for writer in self.writers:
            if writer.process is not None and writer.process.poll() is None:
                writer.process.kill()
                writer.process.wait(BOUND)


def hosts_of(made: list[Host], settings: str) -> list[Host]:
    """Each with a name and a boot of its own."""
    for number, host in enumerate(made):
        host.settings(settings)
        host.env.update(HOLTER_TEST_HOST=f"host-{number}", HOLTER_TEST_BOOT=f"boot-{number}")
    return made


def is_linux() -> bool:
    return os.path.isdir("/proc/self/fd")
