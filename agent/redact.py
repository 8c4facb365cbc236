"""Values as bounded JSON previews, without secrets.

Three rules: a value under a secret-looking name is blanked; the values of secret-looking environment variables are
blanked wherever they appear; so are the passwords in URLs. Nothing of the user's is called: no `repr`, no `str` and no
property of a class that is not from the standard library, since those may hang, print or query a database.
"""

from __future__ import annotations

import os
from _json import encode_basestring_ascii  # the json package costs 7 ms, its C quoting nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

quote: Callable[[str], str] = encode_basestring_ascii
BLANK = "***"
TEXT_LIMIT = 1000  # characters of one text in a preview
ITEM_LIMIT = 50  # items of one list or dict
DEPTH_LIMIT = 4
SIZE_LIMIT = 8000  # characters of one list's or dict's items together
_PARTS = frozenset(
    "password passwd passphrase pwd secret token key apikey credential credentials auth authorization cookie".split()
)
_INSIDE = ("password", "passwd", "secret", "token", "apikey", "credential")
_PRINTED = frozenset("datetime date time timedelta Decimal UUID Fraction PosixPath PurePosixPath Path".split())
_MODULES = frozenset("datetime decimal uuid fractions pathlib pathlib._local ipaddress".split())
_SHORTEST = 6  # characters: blanking "1" wherever it appears would blank the record

_patterns: tuple[str, ...] = ()
_secrets: tuple[str, ...] | None = None
_names: dict[str, bool] = {}
_learned: dict[str, str] = {}


def use_patterns(patterns: tuple[str, ...]) -> None:
    """Extra shell patterns of secret names, from the setting `redact`; forgets what was decided before."""
    global _patterns, _secrets
    _patterns, _secrets = patterns, None
    _names.clear()


def learn(environ: dict[str, str]) -> None:
    """Variables of another process whose secrets must not be recorded here either."""
    global _secrets
    _learned.update(environ)
    _secrets = None


def is_secret(name: str) -> bool:
    """Whether a value under this name must not be recorded."""
    known = _names.get(name)
    if known is None:
        if len(_names) > 10_000:  # keys of the user's dicts come by here: bounded
            _names.clear()
        known = _names[name] = _looks_secret(name)
    return known


def _looks_secret(name: str) -> bool:
    lower = name.lower()
    if any(word in lower for word in _INSIDE):
        return True
    spaced = "".join(f"_{c.lower()}" if c.isupper() else c if c.isalnum() else "_" for c in name)
    if not _PARTS.isdisjoint(spaced.split("_")) or not _PARTS.isdisjoint(lower.replace("-", "_").split("_")):
        return True
    if _patterns:
        from fnmatch import fnmatchcase

        return any(fnmatchcase(lower, pattern.lower()) for pattern in _patterns)
    return False


def clean(text: str) -> str:
    """The text without known secret values and without passwords in URLs."""
    global _secrets
    if _secrets is None:
        _secrets = _environment_secrets()
    for secret in _secrets:
        if secret in text:
            text = text.replace(secret, BLANK)
    if "://" in text and "@" in text:
        import re

        text = re.sub(r"(://[^/@:\s]*):[^/@\s]*@", rf"\1:{BLANK}@", text)
    return text


def _environment_secrets() -> tuple[str, ...]:
    known = (*os.environ.items(), *_learned.items())
    named = [(name, value) for name, value in known if name not in ("PWD", "OLDPWD")]  # folders, not passwords
    found = {value for name, value in named if len(value) >= _SHORTEST and is_secret(name)}
    lines = {line for value in found for line in value.splitlines() if len(line) >= _SHORTEST}
    plain = found | lines
    escaped = {form(value)[1:-1] for value in plain for form in (quote, repr)}  # as JSON and messages show them
    return tuple(sorted(plain | escaped, key=len, reverse=True))


def command_line(argv: list[str]) -> list[str]:
    """A command line without the values of secret-looking options (`--token x`, `--token=x`, `TOKEN=x`)."""
    out: list[str] = []
    blank_next = False
    for word in argv:
        name, mark, _ = word.partition("=")
        option = word.startswith("-")
        if blank_next and not option:
            out.append(BLANK)
        elif mark and is_secret(name.lstrip("-")):
            out.append(f"{name}={BLANK}")
        else:
            out.append(clean(word)[:TEXT_LIMIT])
        blank_next = option and not mark and is_secret(word.lstrip("-"))
    return out


def preview(value: Any, depth: int = 0) -> str:
    """JSON text (ASCII) that shows the value as far as the limits allow."""
    kind = type(value)
    if kind is str:
        return text(value)
    if kind is int:
        return str(value) if -(2**63) < value < 2**63 else f'"<int of {value.bit_length()} bits>"'
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return repr(value) if value - value == 0 else f'"{value!r}"'
    if kind is bytes or kind is bytearray:
        return f'"<{len(value)} bytes>"'
    if depth >= DEPTH_LIMIT:
        return f'"<{kind.__name__}>"'
    if kind is dict:
        return _preview_items(value, value.items(), depth)
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        shown = _within(preview(item, depth + 1) for _, item in zip(range(ITEM_LIMIT), value))
        if len(value) > len(shown):
            shown.append(f'"... {len(value) - len(shown)} more"')
        return f"[{','.join(shown)}]"
    return _preview_object(value, kind, depth)


def text(value: str) -> str:
    """A text as JSON, cleaned and cut in the middle of what is too long."""
    if len(value) > TEXT_LIMIT:
        value = f"{clean(value)[:TEXT_LIMIT]}... ({len(value)} characters)"
        return quote(value)
    return quote(clean(value))


def pair(name: str, value: Any, depth: int = 0) -> str:
    """`"name":preview`, blanked where the name is secret."""
    return f'{quote(name[:200])}:{f"{chr(34)}{BLANK}{chr(34)}" if is_secret(name) else preview(value, depth)}'


def _preview_items(value: Any, items: Any, depth: int) -> str:
    shown = _within(pair(_key(key), item, depth + 1) for _, (key, item) in zip(range(ITEM_LIMIT), items))
    if len(value) > len(shown):
        shown.append(f'"...":"{len(value) - len(shown)} more"')
    return f"{{{','.join(shown)}}}"


def _preview_object(value: Any, kind: type, depth: int) -> str:
    if kind.__module__ in _MODULES and kind.__name__ in _PRINTED:
        return text(str(value))
    fields = kind.__dict__.get("__dataclass_fields__")
    if fields:
        held = getattr(value, "__dict__", {})
        return _preview_items(fields, [(name, held.get(name)) for name in fields], depth)
    return quote(f"<{kind.__module__}.{kind.__qualname__}>")


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    return str(key) if key is None or type(key) in (int, float, bool) else f"<{type(key).__name__}>"


def _within(texts: Iterator[str]) -> list[str]:
    """The first texts that together stay within SIZE_LIMIT."""
    kept, size = [], 0
    for each in texts:
        size += len(each)
        if size > SIZE_LIMIT:
            break
        kept.append(each)
    return kept
