"""The seal of a home: by it a host knows what it recorded itself from what somebody else sent in its name.

Whoever may append to a store may write any host, folder and command line into a record. What a host starts again has
to be its own: each journal's header carries a keyed hash of who the process was and what it ran, and the key is a file
that only the home's owner can read.

Not guaranteed: that a sealed record tells the truth of how its run went; in a home that several users share, only what
its owner ran is sealed.
"""

from __future__ import annotations

import os
from json import dumps
from stat import S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEY = "host.key"
SEALED = ("host", "boot", "namespace", "pid", "start_ticks", "user", "argv", "cwd")
_BYTES = 32


def seal_of(home: str, header: dict[str, Any]) -> str | None:
    """The seal of this header under the key of `home`, which is made where there is none; None where that cannot be,
    or where the key is not ours alone."""
    try:
        key = _key(home) or _made(home)
    except OSError:
        return None
    return None if key is None else _hash(key, header)


def is_sealed(home: str, header: dict[str, Any]) -> bool:
    """Whether a process that recorded into this home wrote this header, and nobody changed it since."""
    from hmac import compare_digest

    said = header.get("seal")
    try:
        key = _key(home)
    except OSError:
        return False
    return (
        key is not None
        and isinstance(said, str)
        and compare_digest(said.encode("utf-8", "replace"), _hash(key, header).encode())
    )


def _hash(key: bytes, header: dict[str, Any]) -> str:
    """HMAC-SHA-256 (RFC 2104) of what is sealed: its first 16 bytes, as hex digits."""
    sha256 = _sha256()
    said = dumps([header.get(name) for name in SEALED]).encode()
    padded = key.ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in padded) + said).digest()
    return str(sha256(bytes(byte ^ 0x5C for byte in padded) + inner).hexdigest()[:32])


def _sha256() -> Any:
    """CPython's own: hashlib and hmac load OpenSSL, and every script would pay for it. (Its `_blake2` takes Python
    3.12.1 down where a sub-interpreter ends.)"""
    from importlib import import_module

    for name in ("_sha2", "_sha256", "hashlib"):  # of 3.12 and later, of 3.11, of others
        try:
            return import_module(name).sha256
        except ImportError:
            continue
    raise ImportError("this Python has no SHA-256")


def _key(home: str) -> bytes | None:
    """The key; None where there is none, or one that another user made, could read or could have changed."""
    try:
        fd = os.open(f"{home}/{KEY}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        held = os.fstat(fd)
        own = S_ISREG(held.st_mode) and held.st_uid == os.geteuid() and not held.st_mode & 0o077
        data = os.read(fd, _BYTES + 1) if own else b""
    finally:
        os.close(fd)
    return data if len(data) == _BYTES else None


def _made(home: str) -> bytes | None:
    """A new key, unless another process was faster: then that one's. It has its name only once it is whole."""
    draft = f"{home}/.{KEY}.{os.urandom(8).hex()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(os.urandom(_BYTES))
        os.link(draft, f"{home}/{KEY}")
    except FileExistsError:
        pass
    finally:
        os.unlink(draft)
    return _key(home)
