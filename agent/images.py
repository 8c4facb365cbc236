"""Image artifacts: copied into HOLTER_HOME/artifacts under the hash of their bytes."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Any

from .knobs import home
from .tape import harmless

SIZE_LIMIT = 10 * 2**20  # bytes
_KINDS = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")


def load(path: str) -> bytes:
    """The picture's bytes. Raises OSError where it cannot be read, ValueError where it is no image or too large."""
    if _kind(path) not in _KINDS:
        raise ValueError(f"{path} is no image (known endings: {', '.join(_KINDS)})")
    with open(path, "rb") as file:
        data = file.read(SIZE_LIMIT + 1)
    if len(data) > SIZE_LIMIT:
        raise ValueError(f"{path} is larger than 10 MB")
    return data


@harmless
def keep(path: str, data: bytes) -> dict[str, Any]:
    """Write the copy and return `{"file", "bytes", "name"}`, `file` relative to HOLTER_HOME."""
    name = f"artifacts/{blake2b(data, digest_size=16).hexdigest()}{_kind(path)}"
    target = os.path.join(home(), name)
    if not os.path.exists(target):
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        draft = f"{target}.{os.getpid()}"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as out:
            out.write(data)
        os.replace(draft, target)
    return {"file": name, "bytes": len(data), "name": os.path.basename(path)}


def _kind(path: str) -> str:
    return os.path.splitext(path)[1].lower()
