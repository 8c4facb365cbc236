"""Deaths of a watchdog, at any of its calls."""

from __future__ import annotations

from typing import Any

from holter.backends.base import Backend


class Killed(BaseException):
    """The process dies here."""


class Dying:
    """A handle on a store whose process dies at the n-th call, before or after the call took effect."""

    def __init__(self, backend: Backend, at: int, after: bool) -> None:
        self._backend, self._left, self._after = backend, at, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._backend, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Killed
            result = method(*args, **kwargs)
            if self._left == 0:
                raise Killed
            return result

        return call

    @property
    def died(self) -> bool:
        return self._left <= 0
