"""`Variable.get` and `.set`: small JSON values kept in Holter's store, for all who use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...backends.base import Backend
from ...backends.errors import HolterError
from ..knobs import knobs
from . import results
from .soon import either

KIND = "variable"
LONGEST = 5000  # characters of a value, as JSON


class Variable:
    """`name`, `value`, `tags`."""

    def __init__(self, name: str, value: Any = None, tags: list[str] | None = None) -> None:
        self.name, self.value, self.tags = name, value, tags or []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Variable) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Variable(name={self.name!r}, value={self.value!r}, tags={self.tags!r})"

    @classmethod
    def get(cls, name: str, default: Any = None, **_: Any) -> Any:
        """The value, or `default`. Raises StorageError where the store cannot be read."""
        return either(_get(name, default))

    @classmethod
    def set(cls, name: str, value: Any, tags: list[str] | None = None, overwrite: bool = False) -> Any:
        """Keep it. Raises ValueError for one that is there, unless `overwrite`, and for what is no short JSON."""
        return either(_set(cls(name, value, tags), overwrite))

    @classmethod
    def unset(cls, name: str) -> Any:
        """Forget it; whether there was one."""
        return either(_unset(name))

    @classmethod
    async def aget(cls, name: str, default: Any = None) -> Any:
        return _get(name, default)

    @classmethod
    async def aset(
        cls, name: str, value: Any, tags: list[str] | None = None, overwrite: bool = False
    ) -> Variable:
        return _set(cls(name, value, tags), overwrite)

    @classmethod
    async def aunset(cls, name: str) -> bool:
        return _unset(name)


def _get(name: str, default: Any) -> Any:
    with _store() as store:
        held = store.get(KIND, name)
    return default if held is None else held.value["value"]


def _set(new: Variable, overwrite: bool) -> Variable:
    if len(json.dumps(new.value)) > LONGEST:
        raise ValueError(f"the value of variable {new.name!r} has more than {LONGEST} characters")
    with _store() as store:
        while True:
            held = store.get(KIND, new.name)
            if held is not None and not overwrite:
                raise ValueError(f"Variable {new.name!r} already exists. Use `overwrite=True` to update it.")
            if store.put(KIND, new.name, vars(new), held.version if held else 0) is not None:
                return new


def _unset(name: str) -> bool:
    with _store() as store:
        held = store.get(KIND, name)
        return held is not None and store.delete(KIND, name, held.version)


@contextmanager
def _store() -> Iterator[Backend]:
    from ...backends.urls import open_backend

    settings = knobs()
    home = str(results.place("").absolute()) if results._elsewhere else settings.home
    url = "sqlite:///holter.db" if results._elsewhere else settings.backend
    if url.startswith("off:"):
        raise HolterError(
            "variables are kept in the store, and there is none", hint="set a backend, not off:"
        )
    store = open_backend(url, home)
    try:
        yield store
    finally:
        store.close()
