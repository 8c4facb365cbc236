"""`prefect.runtime`: facts about the current run. Never raises: what is not known is None.

`PREFECT__RUNTIME__FLOW_RUN__NAME=x` and the like stand in for a fact, for tests.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from . import context


class _Facts(ModuleType):
    """Importable, as `prefect.runtime.flow_run`, and an attribute of `prefect.runtime`."""

    def __init__(self, name: str, facts: dict[str, Any]) -> None:
        super().__init__(f"{__name__}.{name}")
        self.__dict__["_facts"] = facts
        self.__dict__["_prefix"] = f"PREFECT__RUNTIME__{name.upper()}__"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        given = os.environ.get(self._prefix + name.upper())
        if name not in self._facts:
            if given is not None:
                return given
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        found = self._facts[name]()
        if given is None:
            return found
        return type(found)(given) if isinstance(found, int | float) and not isinstance(found, bool) else given

    def __dir__(self) -> list[str]:
        return sorted(self._facts)


def _flow(field: str, default: Any = None) -> Any:
    def fact() -> Any:
        call = context.current_call()
        run = call and call.flow_call and call.flow_call.run
        return getattr(run, field, default) if run else _copy(default)

    return fact


def _task(field: str, default: Any = None) -> Any:
    def fact() -> Any:
        call = context.current_call()
        if call is None or call.what.kind != "task":
            return _copy(default)
        return getattr(call.run, field, default)

    return fact


def _copy(default: Any) -> Any:
    return type(default)(default) if isinstance(default, list | dict) else default


def _nothing() -> None:
    return None


flow_run = _Facts(
    "flow_run",
    {
        "id": _flow("id"),
        "name": _flow("name"),
        "tags": _flow("tags", []),
        "parameters": _flow("parameters", {}),
        "flow_name": _flow("flow_name"),
        "flow_version": _flow("flow_version"),
        "run_count": _flow("run_count", 0),
        "scheduled_start_time": _flow("expected_start_time"),
        "parent_flow_run_id": _flow("parent_flow_run_id"),
        "root_flow_run_id": _flow("root_flow_run_id"),
        "parent_deployment_id": _nothing,
        "job_variables": _nothing,
        "api_url": _nothing,
        "ui_url": _nothing,
    },
)
task_run = _Facts(
    "task_run",
    {
        "id": _task("id"),
        "name": _task("name"),
        "tags": _task("tags", []),
        "parameters": _task("parameters", {}),
        "task_name": _task("task_name"),
        "run_count": _task("run_count", 0),
        "api_url": _nothing,
        "ui_url": _nothing,
    },
)
deployment = _Facts(
    "deployment",
    {
        "id": _nothing,
        "name": _nothing,
        "parameters": dict,
        "version": _nothing,
        "flow_run_id": _flow("id"),
    },
)
