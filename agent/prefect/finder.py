"""`import prefect...` served by this package: one table of Prefect's module paths, and a finder that looks into it.

A served module is the same object under both names, so that classes and context are the same too. What needs a server
imports as well, so that a script which only mentions it runs; using it raises PrefectOnly, with what to do instead.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

from .refusals import ADVICE, advice, stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HERE = "holter.agent.prefect"
SERVED = {  # Prefect's module to ours; after a colon the object in it
    "prefect": "",
    "prefect.artifacts": "artifacts",
    "prefect.assets": "assets",
    "prefect.assets.core": "assets",
    "prefect.assets.materialize": "assets",
    "prefect.cache_policies": "cache_policies",
    "prefect.client.schemas.objects": "runs",
    "prefect.concurrency.asyncio": "limits_asyncio",
    "prefect.concurrency.sync": "limits",
    "prefect.context": "context",
    "prefect.events": "events",
    "prefect.exceptions": "exceptions",
    "prefect.flows": "flows",
    "prefect.futures": "futures",
    "prefect.locking.filesystem": "locking",
    "prefect.locking.memory": "locking",
    "prefect.logging": "loggers",
    "prefect.logging.loggers": "loggers",
    "prefect.results": "results",
    "prefect.runtime": "runtime",
    "prefect.runtime.deployment": "runtime:deployment",
    "prefect.runtime.flow_run": "runtime:flow_run",
    "prefect.runtime.task_run": "runtime:task_run",
    "prefect.settings": "settings",
    "prefect.states": "states",
    "prefect.task_runners": "task_runners",
    "prefect.tasks": "tasks",
    "prefect.testing.utilities": "testing",
    "prefect.transactions": "transactions",
    "prefect.utilities.annotations": "annotations",
    "prefect.variables": "variables",
    "prefect_dask": "far",
    "prefect_dask.task_runners": "far",
}


class Finder:
    """Stands before all other finders, so that an installed Prefect is not asked."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in SERVED and not name.startswith("prefect."):
            return None
        return ModuleSpec(name, _loader(name), is_package=True)


def _loader(name: str) -> Any:
    if name in SERVED:
        return Served(SERVED[name])
    if any(each.startswith(f"{name}.") for each in SERVED):
        return Folder()
    if advice(name) is not None:
        return Refusing()
    raise ModuleNotFoundError(
        f"No module named {name!r} in Holter's mapping of Prefect (docs/prefect.md lists what there is)",
        name=name,
    )


class Served:
    """Gives our module its second name."""

    def __init__(self, home: str) -> None:
        self.module, _, self.object = home.partition(":")

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"{HERE}.{self.module}" if self.module else HERE)
        self._found: Any = getattr(module, self.object) if self.object else module
        self._spec = self._found.__spec__
        return self._found

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the second name's there, and `-m` and pickle look.
        module.__spec__ = self._spec


class Folder:
    """A package that holds nothing but others, such as `prefect.utilities`."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        """What it holds is loaded when it is asked for; anything else is refused, or not there."""
        here = module.__name__

        def inside(name: str) -> Any:
            if (found := home_of(f"{here}.{name}")) is not None:
                return import_module(found)
            if advice(here) is not None and not name.startswith("__"):
                return stand_in(name, here)
            raise AttributeError(f"module {here!r} has no attribute {name!r}")

        module.__getattr__ = inside  # type: ignore[method-assign]


class Refusing(Folder):
    """A module of which every name is there, and none works."""

    def exec_module(self, module: ModuleType) -> None:
        def missing(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return stand_in(name, module.__name__)

        module.__getattr__ = missing  # type: ignore[method-assign]


def home_of(name: str) -> str | None:
    """What to import for the module `name` of Prefect, also where `prefect` is not served; None: there is none."""
    if SERVED.get(name):
        return f"{HERE}.{SERVED[name]}"
    known = name in ADVICE or any(each.startswith(f"{name}.") for each in SERVED)
    return name if known and Finder in sys.meta_path else None


def install() -> None:
    """Serve `prefect` in this process. Twice is once."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
