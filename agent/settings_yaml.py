"""A settings file as it is written: from YAML to plain values, with an error that says which line is wrong."""

from __future__ import annotations

import os
import re
from typing import Any

from ..backends.errors import SettingsError
from .setting_types import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SIZE_LIMIT = 2**20  # bytes of a settings file
DEPTH_LIMIT = 50


def read(path: str, *, required: bool) -> Settings | None:
    """The settings that the file holds; None where there is none and none is `required`. Raises SettingsError."""
    raw = _read(path, required=required)
    if raw is None:
        return None
    # Here, since it loads cattrs: a third of what `holter runs` takes to start, and most homes have no such file.
    from .settings_form import structured

    return structured(raw, path)


def _read(path: str, *, required: bool) -> Any:
    """The file's content, {} for an empty one, None where there is none."""
    try:
        with open(path, "rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        if required:
            raise SettingsError(f"there is no settings file {path}", hint="HOLTER_CONFIG names it") from None
        return None
    except OSError as error:
        if required or os.path.exists(path):
            raise SettingsError(f"cannot read {path}: {error.strerror}") from None
        return None
    if len(data) > SIZE_LIMIT:
        raise SettingsError(f"{path} is larger than 1 MiB")
    return _parse(data, path)


def _parse(data: bytes, path: str) -> Any:
    import yaml

    try:
        _check(yaml.scan(data), path)
        return yaml.load(data, Loader=_loader()) or {}  # noqa: S506 - a SafeLoader with fewer words for true
    except SettingsError:
        raise
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # PyYAML lets a date that does not exist, a number of 5,000 digits or 5,000 brackets end in Python's own errors
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise SettingsError(
            f"{path}{place}: {problem}", hint="indent with spaces, quote text that has a colon"
        ) from None


def _check(tokens: Iterable[Any], path: str) -> None:
    """No aliases, by which a few lines stand for gigabytes, nor thousands of brackets, for which PyYAML takes hours."""
    depth = 0
    for token in tokens:
        kind = type(token).__name__
        if kind == "AliasToken":
            raise SettingsError(f"{path} uses YAML aliases (*name)", hint="write the value out")
        depth += kind.endswith("StartToken") - kind.endswith("EndToken")
        if depth > DEPTH_LIMIT:
            raise SettingsError(f"{path} is nested deeper than {DEPTH_LIMIT} levels", hint="no setting is")


def _loader() -> Any:
    """PyYAML's SafeLoader, but `on` and `off` are texts, as in YAML 1.2: rules have a key `on`."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way to be told
            first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile("^(?:true|True|false|False)$"), list("tTfF")
    )
    return Loader
