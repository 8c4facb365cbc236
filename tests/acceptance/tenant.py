"""Works on a resource under a shared limit, again and again: `tenant.py AUDIT RESOURCE WRITES`.

AUDIT gets `<monotonic> + <pid> <number> <token>` once inside, `l` when told that the lease is lost, and `-` before
leaving. RESOURCE is a folder with one file per slot, which holds the greatest token that worked on it; a smaller one is
refused: `r` in the audit.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

from holter import concurrency
from holter.backends.errors import StorageError


def work(resource: str, number: int, token: int) -> bool:
    """One write that the resource takes, or refuses."""
    fd = os.open(f"{resource}/{number}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if token < int(os.pread(fd, 32, 0) or 0):
            return False
        os.pwrite(fd, f"{token:020d}".encode(), 0)
        return True
    finally:
        os.close(fd)


def main(path: str, resource: str, writes: str) -> None:
    audit = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    parent = os.getppid()

    def say(what: str, number: int, token: int) -> None:
        os.write(audit, f"{time.monotonic():.6f} {what} {os.getpid()} {number} {token}\n".encode())

    while os.getppid() == parent:
        try:
            with concurrency("gpu") as held:
                (number,), token = held.held[0].numbers, held.token
                assert token is not None
                say("+", number, token)
                told = False
                for _ in range(int(writes)):
                    if held.lost and not told:
                        say("l", number, token)
                        told = True
                    if not work(resource, number, token):
                        say("r", number, token)
                        break
                    time.sleep(0.01)
                say("-", number, token)
        except StorageError as error:
            sys.stderr.write(f"{error}\n")
        time.sleep(0.005)


if __name__ == "__main__":
    main(*sys.argv[1:])
