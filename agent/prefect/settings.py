"""Prefect's settings: its environment variables, read when asked for. Most mean nothing without a server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import results

HOME = "PREFECT_HOME"


class Setting:
    """`PREFECT_X.value()`: what the environment says, else the default."""

    def __init__(self, name: str) -> None:
        self.name = name

    def value(self) -> Any:
        given = os.environ.get(self.name)
        if self.name == HOME:
            return Path(given).expanduser() if given else results.place("")
        if self.name == "PREFECT_LOCAL_STORAGE_PATH":
            return Path(given).expanduser() if given else results.place("results")
        if given is not None and given.lower() in ("true", "false"):
            return given.lower() == "true"
        return given

    def __bool__(self) -> bool:
        return bool(self.value())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Setting) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.value()!r}>"


def get_current_settings() -> SimpleNamespace:
    """`home`, `api.url` and `api.key` (None), `logging.level`."""
    return SimpleNamespace(
        home=Setting(HOME).value(),
        api=SimpleNamespace(url=Setting("PREFECT_API_URL").value(), key=None),
        ui_url=None,
        logging=SimpleNamespace(level=os.environ.get("PREFECT_LOGGING_LEVEL", "INFO")),
    )


@contextmanager
def temporary_settings(updates: Mapping[Setting, Any] | None = None, **_: Any) -> Iterator[None]:
    """Settings that hold inside the block."""
    before = {setting.name: os.environ.get(setting.name) for setting in updates or ()}
    os.environ.update({setting.name: str(value) for setting, value in (updates or {}).items()})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def __getattr__(name: str) -> Any:
    if name.startswith("PREFECT_"):
        return Setting(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
