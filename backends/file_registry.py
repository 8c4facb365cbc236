"""Small documents in the file store: one JSON file each, replaced whole, changed by compare-and-set under the lock."""

from __future__ import annotations

import os

from .file_format import document_file, escaped, read_json, remove, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .file_folder import Folder
    from .records import Document, Json, Listing


class FileRegistry:
    """The Registry half of `FileBackend`, which brings folder and lock. Reading takes no lock."""

    _folder: Folder

    def get(self, kind: str, key: str) -> Document | None:
        from .records import Document

        with self._folder.told():
            held = self._held(kind, key)
        return Document(held["value"], held["version"]) if held else None

    def put(self, kind: str, key: str, value: Json, expect_version: int) -> int | None:
        with self._folder.locked():
            if self._version(kind, key) != expect_version:
                return None
            path = f"{self._folder.path}/{document_file(kind, key)}"
            replace(path, {"key": key, "version": expect_version + 1, "value": value})
            return expect_version + 1

    def list(self, kind: str) -> Listing:
        from .records import Document

        folder = f"{self._folder.path}/registry/{escaped(kind)}"
        with self._folder.told():
            names = os.listdir(folder) if os.path.isdir(folder) else []
            found = [read_json(f"{folder}/{name}") for name in names if name.endswith(".json")]
        held = sorted((each for each in found if each), key=lambda each: str(each["key"]))
        return [(each["key"], Document(each["value"], each["version"])) for each in held]

    def delete(self, kind: str, key: str, expect_version: int) -> bool:
        with self._folder.locked():
            if not expect_version or self._version(kind, key) != expect_version:
                return False
            return remove(f"{self._folder.path}/{document_file(kind, key)}")

    def _held(self, kind: str, key: str) -> Json | None:
        return read_json(f"{self._folder.path}/{document_file(kind, key)}")

    def _version(self, kind: str, key: str) -> int:
        held = self._held(kind, key)
        return int(held["version"]) if held else 0
