"""What stands before a collector and thinks: a gateway that sends a request once more, or answers in its place."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable

from .relay import TO_CLIENT, TO_SERVER, Fault, Faulty, Wire

REQUEST = "request"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<p>no</p>"
REPLAYS = ("sent twice, first answer lost", "sent twice", "sent again at the end", "done, and 502 said")


class Gateway(Faulty):
    """Counts requests, whole, over all connections; the fault's `at`-th is one of `REPLAYS`."""

    def __init__(self, dial: Callable[[], socket.socket], fault: Fault) -> None:
        self._parts: dict[Wire, bytes] = {}
        super().__init__(dial, fault)
        self.pieces[REQUEST] = 0

    def carry(self, wire: Wire, way: str, data: bytes) -> None:
        if way == TO_CLIENT:
            return super().carry(wire, way, data)
        held = self._parts.pop(wire, b"") + data
        while size := _whole(held):
            request, held = held[:size], held[size:]
            self._send(wire, request, self._what_happens(REQUEST))
        self._parts[wire] = held

    def _send(self, wire: Wire, request: bytes, do: str) -> None:
        if do in ("sent twice, first answer lost", "done, and 502 said"):
            self.send_alone(request)
        if do == "done, and 502 said":
            return self.pass_on(wire, TO_CLIENT, BAD_GATEWAY)
        self.pass_on(wire, TO_SERVER, request)
        if do == "sent twice":
            threading.Thread(target=self.send_alone, args=(request,), daemon=True).start()
        if do == "sent again at the end":
            self.late.append(request)

    def at_the_end(self) -> None:
        for request in self.late:
            self.send_alone(request)

    def send_alone(self, request: bytes) -> None:
        """By a connection of its own, until it is answered."""
        with self.dial() as there:
            there.sendall(request)
            assert there.recv(65_536).startswith(b"HTTP/1.1 ")


def _whole(data: bytes) -> int:
    """How many bytes the first request in it has; 0 where it is not whole yet."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return 0
    said = LENGTH.search(data, 0, head + 2)
    size = head + 4 + (int(said[1]) if said else 0)
    return size if len(data) >= size else 0
