"""What a collector is started with. Plain values: every worker process gets a copy."""

from __future__ import annotations

from attrs import frozen

MIB = 2**20


@frozen
class Options:
    """`backend` (URL) and `home` say where the store is. `trusting`: as long as no token was ever made, nobody is asked
    for one; only for a collector that is bound to loopback.

    `body_limit` bounds what one request may hold, in bytes: once as it is sent, and once inflated. `line_limit` bounds
    one line, `waiting_limit` the bytes of all bodies that arrive or wait for the store, `rate_limit` the bytes per
    second that one client address may send (twice that at once). `slow_seconds` is how long a client may take to send
    a request, `stop_seconds` how long requests under way may take when the collector ends. With a `key` it is the
    dashboard of one person only (`holter ui`): who knows the key sees everything, nobody else anything.
    """

    backend: str
    home: str
    trusting: bool = False
    body_limit: int = 4 * MIB
    line_limit: int = 1 * MIB
    waiting_limit: int = 32 * MIB
    rate_limit: int = 16 * MIB
    slow_seconds: float = 30.0
    stop_seconds: float = 10.0
    key: str | None = None
