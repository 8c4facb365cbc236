"""Ports for servers that a test starts in a process of its own."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port that is free, below those from which the kernel gives one to whoever asks for any (32768 and above on
    Linux): a server that starts a second later would find one of these taken by somebody's connection, or, worse, be
    taken for another test's server that answers there."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
