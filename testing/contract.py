"""The contract suite for anybody's store: the tests that hold every backend to the same answers.

In a test module of your own, with pytest and hypothesis installed (`pip install 'holter[testing]'`):

    from holter.testing import *

    SITES = {"mine": Site("mine:///store")}

All tests of the contract are collected there, once for each of the `SITES`; `Site` tells how a store is set up.
"""

import sys

try:
    import hypothesis  # noqa: F401
    import pytest
except ImportError as _error:  # pragma: no cover
    raise ImportError(
        f"the contract suite needs {_error.name}: pip install 'holter[testing]'", name=_error.name
    ) from None

_TESTS = ("append", "figures", "handles", "machine", "prune", "reads", "registry", "tapes", "testimony")
pytest.register_assert_rewrite(  # a failed assert prints both sides; pytest warns of what was loaded before
    *(name for each in _TESTS if (name := f"{__package__}.{each}") not in sys.modules)
)

from .append import *  # noqa: E402, F403
from .figures import *  # noqa: E402, F403
from .fixtures import *  # noqa: E402, F403
from .handles import *  # noqa: E402, F403
from .machine import *  # noqa: E402, F403
from .places import SITES, HandClock, Place, Site  # noqa: E402, F401
from .prune import *  # noqa: E402, F403
from .reads import *  # noqa: E402, F403
from .registry import *  # noqa: E402, F403
from .testimony import *  # noqa: E402, F403

_FIXTURES = "pytest_generate_tests", "place", "shared", "local", "store", "rival", "history"
__all__ = ["Site", *_FIXTURES, *sorted(each for each in globals() if each.startswith("test_"))]  # noqa: PLE0604
