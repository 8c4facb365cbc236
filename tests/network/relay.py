"""A wire between a client and a server that something happens to, at a moment that can be chosen."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from select import select
from typing import NamedTuple

PIECE = 65_536  # bytes that are carried at once, at most
DELAY = 1.5  # seconds: more than a script has to ship its last records in
TO_SERVER, TO_CLIENT = "to the server", "to the client"


class Wire:
    """One connection: `here` is the client's end, `there` the server's. It stays open while it is `dead`, but carries
    nothing any more: both ends wait for each other."""

    def __init__(self, here: socket.socket, there: socket.socket) -> None:
        self.here, self.there, self.dead = here, there, False

    def end(self) -> None:
        for each in (self.here, self.there):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Both ends get a RST (a Unix socket has none, and is closed)."""
        for each in (self.here, self.there):
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()


class Relay:
    """Listens on a port of its own and carries everything to a server and back. Those that derive from it say what
    happens on the way: `carry` is given each piece, `greet` each connection."""

    def __init__(self, dial: Callable[[], socket.socket]) -> None:
        self.dial = dial
        self.over = False  # nothing is carried any more
        self._wires: set[Wire] = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.over = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.break_all()

    def break_all(self) -> None:
        for each in tuple(self._wires):
            each.dead = False
            each.end()

    def greet(self, wire: Wire) -> bool:
        """A client connected. False: it is turned away."""
        return True

    def carry(self, wire: Wire, way: str, data: bytes) -> None:
        """A piece arrived, and is to go on."""
        self.pass_on(wire, way, data)

    @staticmethod
    def pass_on(wire: Wire, way: str, data: bytes) -> None:
        (wire.there if way == TO_SERVER else wire.here).sendall(data)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here = self._listening.accept()[0]
                threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        with here, suppress(OSError), self.dial() as there:
            there.settimeout(None)
            wire = Wire(here, there)
            self._wires.add(wire)
            try:
                if not self.over and self.greet(wire):
                    self._pump(wire)
            finally:
                self._wires.discard(wire)
                wire.end()

    def _pump(self, wire: Wire) -> None:
        ends = {wire.here: TO_SERVER, wire.there: TO_CLIENT}
        while not self.over:
            if wire.dead:
                time.sleep(0.02)
                continue
            for ready in select(list(ends), [], [])[0]:
                data = ready.recv(PIECE)
                if not data:
                    return
                self.carry(wire, ends[ready], data)
                if wire.dead:
                    break


# --- one fault -----------------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """What is to go wrong with the `at`-th piece that goes this `way`; `stays`: and with every one after it, whichever
    way it goes, and with every new connection. `way` CONNECTION: the `at`-th connection. Nothing where `at` is 0."""

    do: str = ""
    way: str = TO_SERVER
    at: int = 0
    stays: bool = False


CONNECTION = "connection"
NOTHING = Fault()


class Faulty(Relay):
    """A relay with one fault. `pieces` counts what came, by way; `hit` says whether the fault was reached."""

    def __init__(self, dial: Callable[[], socket.socket], fault: Fault) -> None:
        self.fault, self.hit = fault, False
        self.pieces = {TO_SERVER: 0, TO_CLIENT: 0, CONNECTION: 0}
        self.late: list[bytes] = []  # what is to arrive once more when all is over
        self._turn = threading.Lock()
        super().__init__(dial)

    def greet(self, wire: Wire) -> bool:
        do = self._what_happens(CONNECTION)
        if do == "reset":
            wire.reset()
        wire.dead = do == "silent"
        return do not in ("dropped", "truncated", "reset")

    def carry(self, wire: Wire, way: str, data: bytes) -> None:
        do = self._what_happens(way)
        if do == "truncated":
            self.pass_on(wire, way, data[: len(data) // 2])
        if do in ("dropped", "truncated"):
            raise ConnectionAbortedError
        if do == "reset":
            wire.reset()
            raise ConnectionAbortedError
        if do == "delayed":
            time.sleep(DELAY)
        if do == "silent":
            wire.dead = True
            return
        self.pass_on(wire, way, data)

    def at_the_end(self) -> None:
        """All is over: what was held back arrives."""

    def _what_happens(self, way: str) -> str:
        with self._turn:
            self.pieces[way] += 1
            again = self.hit and self.fault.stays
            if not again and (self.fault.way != way or self.pieces[way] != self.fault.at):
                return ""
            self.hit = True
            return self.fault.do
