"""Holter: a Holter monitor for scripts. Every name is loaded on first use; importing this starts nothing.

PYTEST_DONT_REWRITE: pytest would warn of it where this is loaded before it, as by `holter run --as-prefect -m pytest`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .agent.capture import get_run_logger
    from .agent.concurrency import concurrency
    from .agent.context import artifact, current_run, progress, tags
    from .agent.flows import flow, task
    from .agent.futures import allow_failure, unmapped
    from .agent.knobs import configure
    from .backends.errors import (
        FarError,
        HolterError,
        LimitBusy,
        NeedsUnmet,
        NotPicklable,
        RunTimeout,
        SlotTimeout,
        UnknownLimit,
    )

__version__ = "0.1.0"

__all__ = [
    "FarError",
    "HolterError",
    "LimitBusy",
    "NeedsUnmet",
    "NotPicklable",
    "RunTimeout",
    "SlotTimeout",
    "UnknownLimit",
    "allow_failure",
    "artifact",
    "concurrency",
    "configure",
    "current_run",
    "flow",
    "get_run_logger",
    "progress",
    "tags",
    "task",
    "unmapped",
]

_HOMES = {
    "agent.capture": ("get_run_logger",),
    "agent.concurrency": ("concurrency",),
    "agent.context": ("artifact", "current_run", "progress", "tags"),
    "agent.flows": ("flow", "task"),
    "agent.futures": ("allow_failure", "unmapped"),
    "agent.knobs": ("configure",),
    "backends.errors": (
        "FarError",
        "HolterError",
        "LimitBusy",
        "NeedsUnmet",
        "NotPicklable",
        "RunTimeout",
        "SlotTimeout",
        "UnknownLimit",
    ),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext holter` in a notebook: registers the cell magic `%%holter`."""
    from .agent.notebook import install

    install(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
