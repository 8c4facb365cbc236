"""For tests: the contract suite for stores (`contract`), and what tests of flows need (`plugin`, loaded by pytest).

The suite is loaded when a name of it is asked for, as `from holter.testing import *` does: the plugin is in everybody's
pytest, and must not load hypothesis there.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .contract import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(".contract", __name__), name)
