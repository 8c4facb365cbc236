"""A collector as its operator runs it, and a network that misbehaves between it and everybody else."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sysconfig
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

HOLTER = str(Path(sysconfig.get_path("scripts")) / "holter")
BOUND = 30.0


class Collector:
    """`holter serve` on a port of its own, with a home of its own. `log` is what it says on stderr."""

    def __init__(self, folder: Path, *options: str, backend: str = "sqlite:///collector.db") -> None:
        self.home = folder / "collector"
        self.backend, self.options = backend, options
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "collector.log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HOLTER_")}
        self.env = {**kept, "HOLTER_HOME": str(self.home)}
        self.process: subprocess.Popen[bytes] | None = None

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
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Proxy:
    """Forwards to a collector; as long as it is `bad` it loses, delays, cuts off and repeats what goes through, and
    between `cut()` and `mend()` nothing does. `did` counts what became of each piece."""

    def __init__(self, port: int, seed: int = 1) -> None:
        self.bad, self._to, self._chance = False, port, random.Random(seed)
        self._cut = False
        self.did: Counter[str] = Counter()
        self._sockets: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()
        for each in tuple(self._sockets):
            _end(each)

    def cut(self) -> None:
        self._cut = True
        for each in tuple(self._sockets):
            _end(each)

    def mend(self) -> None:
        self._cut = False

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here = self._listening.accept()[0]
                if self._cut:
                    here.close()
                    continue
                threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        with here, suppress(OSError), socket.create_connection(("127.0.0.1", self._to), 5) as there:
            there.settimeout(None)
            self._sockets |= {here, there}
            if self._cut:  # just now
                return
            back = threading.Thread(target=self._pump, args=(there, here, False), daemon=True)
            back.start()
            self._pump(here, there, True)
            back.join()
            self._sockets -= {here, there}

    def _pump(self, source: socket.socket, sink: socket.socket, requests: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                fate = self._chance.choice(FATES) if self.bad else "pass"
                self.did[fate] += 1
                if fate == "drop":
                    break
                if fate == "truncate":
                    sink.sendall(data[: self._chance.randrange(len(data))])
                    break
                if fate == "delay":
                    time.sleep(self._chance.uniform(0.05, 0.5))
                if fate == "duplicate" and requests:
                    self._again(data)
                sink.sendall(data)
        _end(source)
        _end(sink)

    def _again(self, data: bytes) -> None:
        """The same bytes once more, by another way; nobody cares for the answer."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._to), 1) as there:
            there.sendall(data)
            there.recv(65_536)


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


FATES = ("pass", "pass", "pass", "drop", "delay", "truncate", "duplicate")
