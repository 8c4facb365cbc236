"""Loaded by every Python that starts with this folder first on its PYTHONPATH, child processes included: from then on
`import prefect` finds Holter's mapping. Then the next `sitecustomize` on the path has its turn, as without us."""

import os
import sys


def _serve() -> None:
    if "holter" not in sys.modules and not _found("holter"):
        _load(
            "holter",
            os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))),
        )
    from holter.agent.prefect.finder import install

    install()


def _found(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def _load(name: str, folder: str) -> None:
    """A Python that has no Holter installed (another virtual environment) uses the one that started it."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, f"{folder}/__init__.py", submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)


def _next() -> None:
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(os.path.abspath(__file__))
    rest = [each for each in sys.path if os.path.abspath(each or ".") != here]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


if sys.version_info >= (3, 11):  # noqa: UP036 - any Python that a script starts loads this file
    _serve()
_next()
