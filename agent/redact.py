"""Values as bounded JSON previews, without secrets.

Nothing of the user's is called: no `repr`, no `str` and no property of a class that is not from the standard library,
since those may hang, print or query a database.
"""

from __future__ import annotations

from types import MemberDescriptorType

from . import secrets
from .secrets import clean, first, hide, is_secret, key, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

TEXT_LIMIT = 1000  # characters of one text in a preview
ITEM_LIMIT = 50  # items of one list or dict
DEPTH_LIMIT = 4
SIZE_LIMIT = 8000  # characters of one list's or dict's items together
_PRINTED = frozenset(
    "datetime date time timedelta Decimal UUID Fraction PosixPath PurePosixPath Path".split()
)
_MODULES = frozenset("datetime decimal uuid fractions pathlib pathlib._local ipaddress".split())


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
        shown = _within(preview(item, depth + 1) for item in first(ITEM_LIMIT, value))
        if len(value) > len(shown):
            shown.append(f'"... {len(value) - len(shown)} more"')
        return f"[{','.join(shown)}]"
    return _preview_object(value, kind, depth)


def whole(value: Any) -> str:
    """`preview` with all that is secret in the value known from the beginning."""
    before = secrets.taught
    shown = preview(value)
    return shown if secrets.taught == before else preview(value)


def text(value: str) -> str:
    """A text as JSON, cleaned and cut in the middle of what is too long."""
    if len(value) > TEXT_LIMIT:
        value = f"{clean(value)[:TEXT_LIMIT]}... ({len(value)} characters)"
        return quote(value)
    return quote(clean(value))


def pair(name: str, value: Any, depth: int = 0) -> str:
    """`"name":preview`, blanked where the name is secret."""
    return key(name) + (hide(name, value) if is_secret(name) else preview(value, depth))


def _preview_items(value: Any, items: Any, depth: int) -> str:
    shown = _within(pair(_name(name), item, depth + 1) for name, item in first(ITEM_LIMIT, items))
    if len(value) > len(shown):
        shown.append(f'"...":"{len(value) - len(shown)} more"')
    return f"{{{','.join(shown)}}}"


def _preview_object(value: Any, kind: type, depth: int) -> str:
    if kind.__module__ in _MODULES and kind.__name__ in _PRINTED:
        return text(str(value))
    fields = kind.__dict__.get("__dataclass_fields__")
    if fields:
        return _preview_items(fields, [(name, _field(value, kind, name)) for name in fields], depth)
    return quote(f"<{kind.__module__}.{kind.__qualname__}>")


def _field(value: Any, kind: type, name: str) -> Any:
    """What a dataclass holds under this name, in its dict or in a slot; None where nothing is there (yet)."""
    found = value.__dict__.get(name) if kind.__dictoffset__ else None
    for each in kind.__mro__ if found is None else ():
        slot = each.__dict__.get(name)
        if type(slot) is MemberDescriptorType:
            try:
                return slot.__get__(value)
            except AttributeError:
                return None
    return found


def _name(name: Any) -> str:
    if type(name) is str:
        return name
    return str(name) if name is None or type(name) in (int, float, bool) else f"<{type(name).__name__}>"


def _within(texts: Iterator[str]) -> list[str]:
    """The first texts that together stay within SIZE_LIMIT."""
    kept, size = [], 0
    for each in texts:
        size += len(each)
        if size > SIZE_LIMIT:
            break
        kept.append(each)
    return kept
