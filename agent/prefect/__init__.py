"""Prefect's public names on Holter, for scripts that say `from prefect import flow, task`.

`holter run --as-prefect script.py` serves this package under the name `prefect`; docs/prefect.md says what maps and
what is refused. Every name is loaded on first use.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "3.0.0+holter"  # the interface that is served

_HOMES = {
    "annotations": ("allow_failure", "unmapped"),
    "context": ("tags",),
    "flows": ("Flow", "deploy", "flow", "serve"),
    "loggers": ("get_run_logger",),
    "states": ("State",),
    "tasks": ("Task", "task"),
    "transactions": ("Transaction",),
}
_REFUSED = {
    "Manifest": "prefect.deployments",
    "aget_client": "prefect.client",
    "apause_flow_run": "prefect.flow_runs",
    "aresume_flow_run": "prefect.flow_runs",
    "asuspend_flow_run": "prefect.flow_runs",
    "get_client": "prefect.client",
    "pause_flow_run": "prefect.flow_runs",
    "resume_flow_run": "prefect.flow_runs",
    "suspend_flow_run": "prefect.flow_runs",
}
__all__ = [
    "Flow",
    "State",
    "Task",
    "Transaction",
    "allow_failure",
    "deploy",
    "flow",
    "get_run_logger",
    "serve",
    "tags",
    "task",
    "unmapped",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _REFUSED:
        from .refusals import stand_in

        return stand_in(name, _REFUSED[name])
    for module, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
            return value
    if not name.startswith("_"):
        from .finder import home_of

        if (home := home_of(f"prefect.{name}")) is not None:
            return import_module(home)
    raise AttributeError(f"module 'prefect' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
