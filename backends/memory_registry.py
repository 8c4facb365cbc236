"""The documents of the store that forgets."""

from __future__ import annotations

import copy
import threading

from .records import Document, Json, Listing


class Documents:
    """What one name holds of them, and the lock of all that it holds."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.documents: dict[tuple[str, str], Document] = {}


class MemoryRegistry:
    """See `holter.backends.base.Registry` for the contract."""

    _space: Documents

    def get(self, kind: str, key: str) -> Document | None:
        with self._space.lock:
            return copy.deepcopy(self._space.documents.get((kind, key)))

    def put(self, kind: str, key: str, value: Json, expect_version: int) -> int | None:
        with self._space.lock:
            held = self._space.documents.get((kind, key))
            if (held.version if held else 0) != expect_version:
                return None
            self._space.documents[kind, key] = Document(copy.deepcopy(value), expect_version + 1)
            return expect_version + 1

    def list(self, kind: str) -> Listing:
        with self._space.lock:
            return [
                (key, copy.deepcopy(held))
                for (held_kind, key), held in sorted(self._space.documents.items())
                if held_kind == kind
            ]

    def delete(self, kind: str, key: str, expect_version: int) -> bool:
        with self._space.lock:
            held = self._space.documents.get((kind, key))
            if held is None or held.version != expect_version:
                return False
            del self._space.documents[kind, key]
            return True
