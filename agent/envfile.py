"""Environment files: lines of KEY=VALUE, as for `docker run --env-file` and systemd, with quotes."""

from __future__ import annotations

import re

from ..backends.errors import SettingsError

_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=([^\0]*)")
_SINGLE = re.compile(r"\s*'([^']*)'\s*(?:#.*)?")
_DOUBLE = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read_env_file(path: str) -> dict[str, str]:
    r"""The variables that a file sets. Lines are `KEY=VALUE` or `export KEY=VALUE`; empty lines and `#` are skipped.

    A value is taken as it stands, without the space round it and a comment after ` #`; in single quotes literally;
    in double quotes with `\n`, `\r`, `\t`, `\"` and `\\`. Nothing is expanded. A later line wins.
    Raises SettingsError where the file cannot be read or a line is something else; never names a value.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot read the environment file {path}: {detail}", path="--env-file") from None
    found = {}
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line and not line.startswith("#"):
            name, value = _parse(line, f"line {number} of {path}")
            found[name] = value
    return found


def _parse(line: str, place: str) -> tuple[str, str]:
    assignment = _ASSIGNMENT.fullmatch(line)
    if assignment is None:
        raise SettingsError(f"{place} is not KEY=VALUE", path="--env-file", hint="start a comment with #")
    name, value = assignment.groups()
    if quoted := _SINGLE.fullmatch(value):
        return name, quoted[1]
    if quoted := _DOUBLE.fullmatch(value):
        return name, re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), quoted[1])
    if value.lstrip()[:1] in ("'", '"'):
        raise SettingsError(f"the quotes of {name} in {place} do not match", path="--env-file")
    return name, re.split(r"\s#", value, maxsplit=1)[0].strip()
