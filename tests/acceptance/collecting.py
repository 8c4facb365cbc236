"""A collector as its operator runs it, and a network that misbehaves between it and everybody else."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sysconfig
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

from tests.network.relay import TO_SERVER, Relay, Wire
from tests.ports import free_port

HOLTER = str(Path(sysconfig.get_path("scripts")) / "holter")
BOUND = 30.0


class Daemon:
    """A process that goes on until it is told to end; `process` once it was started."""

    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """None while it does not live."""
        return None if self.process is None or self.process.poll() is not None else self.process.pid

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(BOUND)

    def stop(self) -> int:
        """End it in order; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(BOUND)

    def close(self) -> None:
        if self.pid is not None:
            self.kill()


class Collector(Daemon):
    """`holter serve` on a port of its own, with a home of its own. `log` is what it says on stderr."""

    def __init__(self, folder: Path, *options: str, backend: str = "sqlite:///collector.db") -> None:
        self.home = folder / "collector"
        self.backend, self.options = backend, options
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "collector.log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HOLTER_")}
        self.env = {**kept, "HOLTER_HOME": str(self.home)}

    def start(self, *, over_tls: bool = False) -> Collector:
        with self.log.open("ab") as log:
            argv = [HOLTER, "serve", "--port", str(self.port), "--backend", self.backend, *self.options]
            self.process = subprocess.Popen(argv, env=self.env, stdout=log, stderr=log)
        deadline = time.monotonic() + BOUND
        while not (self._listens() if over_tls else self.answers()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return self

    def answers(self, path: str = "/readyz") -> bool:
        with suppress(OSError), urlopen(f"{self.url}{path}", timeout=2) as answer:  # noqa: S310 - our own
            return bool(answer.status == 200)
        return False

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2):
            return True
        return False


class Proxy(Relay):
    """Forwards to a collector; as long as it is `bad` it loses, delays, cuts off and repeats what goes through, and
    between `cut()` and `mend()` nothing does. `did` counts what became of each piece."""

    def __init__(self, port: int, seed: int = 1) -> None:
        self.bad, self._to, self._chance = False, port, random.Random(seed)
        self._cut = False
        self.did: Counter[str] = Counter()
        super().__init__(lambda: socket.create_connection(("127.0.0.1", port), 5))
        self.url = f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        self._cut = True
        self.break_all()

    def mend(self) -> None:
        self._cut = False

    def greet(self, wire: Wire) -> bool:
        return not self._cut

    def carry(self, wire: Wire, way: str, data: bytes) -> None:
        fate = self._chance.choice(FATES) if self.bad else "pass"
        self.did[fate] += 1
        if fate == "truncate":
            self.pass_on(wire, way, data[: self._chance.randrange(len(data))])
        if fate in ("drop", "truncate"):
            raise ConnectionAbortedError
        if fate == "delay":
            time.sleep(self._chance.uniform(0.05, 0.5))
        if fate == "duplicate" and way == TO_SERVER:
            self._again(data)
        self.pass_on(wire, way, data)

    def _again(self, data: bytes) -> None:
        """The same bytes once more, by another way; nobody cares for the answer."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._to), 1) as there:
            there.sendall(data)
            there.recv(65_536)


FATES = ("pass", "pass", "pass", "drop", "delay", "truncate", "duplicate")
