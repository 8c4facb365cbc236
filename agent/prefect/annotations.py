"""Marks on arguments: how `map` and the resolution of futures treat them."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class BaseAnnotation(Generic[T]):
    """Holds `value`, with a note on how to treat it."""

    def __init__(self, value: T) -> None:
        self.value = value

    def unwrap(self) -> T:
        return self.value

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self), id(self.value)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class unmapped(BaseAnnotation[T]):
    """Every call of a `map` gets the whole value."""


class allow_failure(BaseAnnotation[T]):
    """A failed future is handed on as its exception, instead of keeping the task from running."""


class quote(BaseAnnotation[T]):
    """The value is handed on as it is: no futures are looked for in it."""

    def unquote(self) -> T:
        return self.value


class opaque(BaseAnnotation[T]):
    """A future is resolved, but not looked into."""


class freeze(BaseAnnotation[T]):
    """The value is a parameter that stays as it is."""

    def unfreeze(self) -> T:
        return self.value


class NotSet:
    """Stands for "nothing was given"."""


Quote = quote
