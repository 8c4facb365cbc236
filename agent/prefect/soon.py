"""Answers that may be awaited: Prefect's functions of two colours give something to await in a coroutine."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any


class Ready:
    """A value that is there already; `await` gives it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from ()
        return self.value


def either(value: Any) -> Any:
    """The value; where an event loop runs in this thread, something to await that gives it."""
    asyncio = sys.modules.get("asyncio")
    return value if asyncio is None or asyncio._get_running_loop() is None else Ready(value)
