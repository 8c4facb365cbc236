"""What is secret, and texts without it.

A value under a secret-looking name is blanked. What is known to be secret is blanked wherever it appears: such values
of parameters, of the environment and of the command line, however they are escaped; and so are the passwords, keys and
tokens in URLs. Who cuts a text cleans it before: else half a secret would stay.

Not guaranteed: a secret of less than six characters, or that nobody named, is not known where it appears; nor is the
new value of a variable that was there before.
"""

from __future__ import annotations

import os
import sys
from _json import encode_basestring_ascii  # the json package costs 7 ms, its C quoting nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from typing import Any, TypeVar

    T = TypeVar("T")

quote: Callable[[str], str] = encode_basestring_ascii
BLANK = "***"
_PARTS = frozenset(
    "pwd key auth".split()
)  # of names; their values may be common words: only blanked where they stand
_INSIDE = (
    "password passwd passphrase secret token credential authorization cookie "
    "apikey accesskey privatekey signingkey encryptionkey"
).split()
_SHORTEST = 6  # characters: blanking "1" wherever it appears would blank the record
_REMEMBERED = 200  # values of parameters; the oldest make room
_ITEMS, _DEPTH = 50, 4  # of a secret that is a list or dict: so far its values are remembered
_LOOKS = 100  # at what another thread changes
_NAMES = 10_000  # the keys of all dicts that are recorded come by here
WORD_LIMIT = 1000  # characters of one word of a command line
_HARMLESS, _BLANKED, _KNOWN = range(
    3
)  # what a name says of its value: the last is blanked wherever it appears

_patterns: tuple[str, ...] = ()
_names: dict[str, int] = {}
_keys: dict[str, str] = {}
_learned: dict[str, str] = {}  # variables of another process
_held: set[str] = set()  # secrets of the environment and the command line
_remembered: dict[str, None] = {}
_secrets: tuple[str, ...] | None = None  # all of them as they may be written, longest first
_variables = 0  # of the environment when they were gathered
taught = 0  # how often there was something new: a value shown before that may have to be shown again
_environ = vars(os.environ).get("_data", os.environ)  # tells its length without a call of Python code


# --- what is secret ----------------------------------------------------------------------------------------------


def use_patterns(patterns: tuple[str, ...]) -> None:
    """Extra shell patterns of secret names, from the setting `redact`; forgets what was decided before."""
    global _patterns
    if patterns != _patterns:
        _patterns = patterns
        _names.clear()
        _gather_again()


def learn(environ: dict[str, str]) -> None:
    """Variables of another process whose secrets must not be recorded here either."""
    _learned.update(environ)
    _gather_again()


def is_secret(name: str) -> bool:
    """Whether a value under this name must not be recorded."""
    known = _names.get(name)
    return (_secrecy(name) if known is None else known) != _HARMLESS


def hide(name: str, value: Any) -> str:
    """What is recorded of a value under a secret name, as JSON; the value is known from now on."""
    if _secrecy(name) == _KNOWN:
        _remember(value)
    return f'"{BLANK}"'


def _secrecy(name: str) -> int:
    known = _names.get(name)
    if known is None:
        if len(_names) > _NAMES:
            _names.clear()
        known = _names[name] = _judge(name)
    return known


def _judge(name: str) -> int:
    lower = name.lower()
    squeezed = lower.replace("_", "").replace("-", "").replace("tokeniz", "")
    if any(word in squeezed for word in _INSIDE):
        return _KNOWN
    if _patterns:
        from fnmatch import fnmatchcase

        if any(fnmatchcase(lower, pattern.lower()) for pattern in _patterns):
            return _KNOWN
    spaced = "".join(f"_{c.lower()}" if c.isupper() else c if c.isalnum() else "_" for c in name)
    parts = {*spaced.split("_"), *lower.replace("-", "_").split("_")}
    return _HARMLESS if _PARTS.isdisjoint(parts) else _BLANKED


def _remember(value: Any, depth: int = 0) -> None:
    if isinstance(value, str) and len(value) >= _SHORTEST and value not in _remembered:
        if len(_remembered) >= _REMEMBERED:
            del _remembered[next(iter(_remembered))]
        _remembered[value] = None
        _gather_again()
    elif isinstance(value, bytes | bytearray):
        _remember(value.decode("utf-8", "replace"))
    elif type(value) in (dict, list, tuple, set, frozenset) and depth < _DEPTH:
        for item in first(_ITEMS, value.values() if type(value) is dict else value):
            _remember(item, depth + 1)


def first(most: int, items: Collection[T]) -> list[T]:
    """The first items. Where another thread adds to their dict or set meanwhile, Python breaks the look off: again."""
    if len(items) <= most:
        return list(items)[:most]  # in one go: no other thread gets its turn
    for _ in range(_LOOKS):
        try:
            return [item for _, item in zip(range(most), items)]
        except RuntimeError:
            continue
    return []


def known_in(data: bytes) -> list[str]:
    """The known secrets that are a part of `data`."""
    if _secrets is None:
        _gathered()
    return [each for each in {*_held, *_remembered} if each and each.encode("utf-8", "surrogatepass") in data]


def remember(values: Iterable[str]) -> None:
    """Secrets that another process knows, among what it sent."""
    for value in values:
        _remember(value)


# --- texts without it ----------------------------------------------------------------------------------------------


def key(name: str) -> str:
    """The name as a key of JSON, with its colon, cleaned and at most 200 characters long."""
    known = _keys.get(name)
    if known is None:
        if len(_keys) > _NAMES:
            _keys.clear()
        known = _keys[name] = f"{quote(clean(name)[:200])}:"
    return known


def clean(text: str) -> str:
    """The text without known secrets and without those in URLs."""
    for secret in _secrets if _secrets is not None and len(_environ) == _variables else _gathered():
        if secret in text:
            text = text.replace(secret, BLANK)
    return _without_userinfo(text) if "://" in text and ("@" in text or "=" in text) else text


def _gather_again() -> None:
    global _secrets, taught
    _secrets = None
    taught += 1
    _keys.clear()


def _gathered() -> tuple[str, ...]:
    global _secrets, _variables
    _variables = len(_environ)
    named = [*os.environ.items(), *_learned.items()]
    named += [(name, value.split(" ")[-1]) for _, name, value in _arguments(_command())]
    # PWD and OLDPWD, which the pattern takes for passwords, are folders.
    _held.update(value for name, value in named if is_secret(name) and name not in ("PWD", "OLDPWD"))
    for _, value in named:
        if "://" in value and "@" in value:
            _held.update(_secret_of(*each) for each in _userinfos(value))
    plain = {*_held, *tuple(_remembered)}
    plain.update(line for value in tuple(plain) for line in value.splitlines())
    forms = {form(value) for value in plain if len(value) >= _SHORTEST for form in _FORMS}
    _secrets = tuple(sorted(forms, key=len, reverse=True))
    return _secrets


def _percent(text: str, safe: str) -> str:
    return "".join(c if c in safe or (c.isascii() and c.isalnum()) else _percent_sign(c) for c in text)


def _percent_sign(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "replace"))


_FORMS: tuple[Callable[[str], str], ...] = (
    str,
    lambda value: quote(value)[1:-1],  # in JSON
    lambda value: repr(value)[1:-1],  # in messages
    lambda value: _percent(value, "_.-~"),  # in URLs
    lambda value: _percent(value, "_.-~/"),
)
_USERINFO = r"://([^\s/?#:@]{0,500})(?::((?!\d+[/?#])[^\s\"'<>]{0,500}))?@"  # a port is no password
_QUERY = r"([?&])([\w.%~-]{1,80})=([^\s&#\"'<>]+)"
_TOKEN = 20  # characters: no user's name in a URL is that long


def _without_userinfo(text: str) -> str:
    import re

    def userinfo(found: re.Match[str]) -> str:
        user, password = found.groups()
        _remember(_secret_of(user, password))
        shown = BLANK if len(user) >= _TOKEN else user
        return f"://{shown}@" if password is None else f"://{shown}:{BLANK}@"

    def query(found: re.Match[str]) -> str:
        mark, name, _ = found.groups()
        return (
            f"{mark}{name}={BLANK}"
            if is_secret(name) or name.lower().endswith(("signature", "sig"))
            else found[0]
        )

    return re.sub(_QUERY, query, re.sub(_USERINFO, userinfo, text))


def _userinfos(text: str) -> list[tuple[str, str]]:
    import re

    return re.findall(_USERINFO, text)


def _secret_of(user: str, password: str | None) -> str:
    """What is secret in the userinfo of a URL, if anything: a password that is the user's name is a common word."""
    if password and password != user:
        return password
    return user if len(user) >= _TOKEN else ""


def scrub(value: Any) -> Any:
    """The same JSON value with its texts cleaned, and blank under secret names; what is no number for JSON is text."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if value - value == 0 else repr(value)
    if isinstance(value, dict):
        items = [(clean(key) if isinstance(key, str) else key, key, item) for key, item in value.items()]
        return {
            shown: BLANK if isinstance(key, str) and is_secret(key) else scrub(item)
            for shown, key, item in items
        }
    return [scrub(item) for item in value] if isinstance(value, list | tuple) else value


def command_line(argv: list[str]) -> list[str]:
    """A command line without the values of secret-looking options (`--token x`, `--token=x`, `TOKEN=x`,
    `-H "Cookie: x"`); they are known from now on."""
    for _, name, value in _arguments(argv):
        if name and _secrecy(name) == _KNOWN:
            _remember(value.split(" ")[-1])
    return [before + BLANK if name else clean(value)[:WORD_LIMIT] for before, name, value in _arguments(argv)]


def _arguments(argv: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Each word as what stands before its value, the secret name that the value has ("": none), and the value."""
    option = ""
    for word in argv:
        name, mark, value = word.partition("=")
        header, colon, content = word.partition(": ")
        dashed = word.startswith("-")
        if option and not dashed:
            yield "", option, word
        elif mark and is_secret(name.lstrip("-")):
            yield name + mark, name.lstrip("-"), value
        elif colon and is_secret(header):
            yield header + colon, header, content
        else:
            yield "", "", word
        option = word.lstrip("-") if dashed and not mark and is_secret(word.lstrip("-")) else ""


def _command() -> list[str]:
    return list(getattr(sys, "orig_argv", sys.argv))
