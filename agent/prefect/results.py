"""Results that outlive their task: what caches and committed transactions rest on.

A record is a JSON file under HOLTER_HOME/prefect/results, mode 0600, named by the hash of its key. Nothing is pickled:
a result that JSON (with tuples, sets, dates and bytes) cannot give back as it was is kept in this process only.
"""

from __future__ import annotations

import base64
import json
import os
import time
from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..knobs import home
from ..tape import harmless
from .locking import MemoryLockManager

_kept: dict[str, tuple[Any, float | None]] = {}  # by path: what no file can hold


class ResultStore:
    """`storage` is a folder (default: in HOLTER_HOME), `lock_manager` what makes transactions take turns."""

    def __init__(self, lock_manager: Any = None, result_storage: Any = None, **_: Any) -> None:
        self.lock_manager = lock_manager
        given = getattr(result_storage, "basepath", result_storage)
        self._folder = None if given is None else Path(given).expanduser()

    @property
    def folder(self) -> Path:
        return self._folder or place("results")

    def _path(self, key: str) -> Path:
        return self.folder / f"{sha256(key.encode()).hexdigest()}.json"

    def exists(self, key: str) -> bool:
        """Whether there is a record that has not expired."""
        return self._record(key) is not None

    def read(self, key: str) -> Any:
        record = self._record(key)
        return None if record is None else record[0]

    def _record(self, key: str) -> tuple[Any, float | None] | None:
        path = self._path(key)
        found = _kept.get(str(path))
        if found is None:
            try:
                read = json.loads(path.read_text())
                found = (_decoded(read["value"]), read["expires"])
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return None if found[1] is not None and found[1] <= time.time() else found

    @harmless
    def write(self, key: str, value: Any, expires_in: timedelta | None = None) -> None:
        """Keep it, whole or not at all. Where the disk refuses, the next run works it out once more."""
        expires = None if expires_in is None else time.time() + expires_in.total_seconds()
        path = self._path(key)
        try:
            text = json.dumps({"key": key, "value": _encoded(value), "expires": expires})
        except (TypeError, ValueError):
            _kept[str(path)] = (value, expires)
            return
        _kept.pop(str(path), None)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, path)


def place(name: str) -> Path:
    """A folder of this mapping in HOLTER_HOME (or where `prefect_test_harness` says)."""
    return Path(_elsewhere[-1] if _elsewhere else f"{home()}/prefect") / name


_elsewhere: list[str] = []
_default = ResultStore(MemoryLockManager())


def get_result_store() -> ResultStore:
    return _default


def _encoded(value: Any) -> Any:
    """As JSON that `_decoded` gives back exactly. Raises TypeError for what it cannot."""
    kind = type(value)
    if kind in (str, int, float, bool, type(None)):
        return value
    if kind is list:
        return [_encoded(each) for each in value]
    if kind is dict and all(type(key) is str and not key.startswith("$") for key in value):
        return {key: _encoded(each) for key, each in value.items()}
    if kind in (tuple, set, frozenset):
        return {f"${kind.__name__}": [_encoded(each) for each in value]}
    if kind in (datetime, date):
        return {f"${kind.__name__}": value.isoformat()}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(f"{kind.__name__} is not kept as JSON")


_BACK = {
    "$tuple": lambda v: tuple(map(_decoded, v)),
    "$set": lambda v: set(map(_decoded, v)),
    "$frozenset": lambda v: frozenset(map(_decoded, v)),
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$bytes": base64.b64decode,
}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if isinstance(value, dict):
        if len(value) == 1 and (back := _BACK.get(next(iter(value)))):
            return back(next(iter(value.values())))
        return {key: _decoded(each) for key, each in value.items()}
    return value


__all__ = ["ResultStore", "get_result_store", "place"]
