"""One line of configuration to one store: `open_backend("sqlite:///holter.db")`.

Paths after three slashes are relative to HOLTER_HOME, after four they are absolute, for `sqlite` and `file` alike:
`sqlite:///holter.db`, `file:////srv/holter`.
"""

from __future__ import annotations

from importlib import import_module

from .clock import SYSTEM
from .errors import UnknownBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .base import Backend
    from .clock import Clock

# The built-in ones are found without reading package metadata, which costs 20 ms.
_BUILT_IN = {
    "memory": "holter.backends.memory:MemoryBackend",
    "off": "holter.backends.memory:MemoryBackend",
    "sqlite": "holter.backends.sqlite:SqliteBackend",
    "file": "holter.backends.file:FileBackend",
    "postgresql": "holter.backends.postgres:PostgresBackend",
    "postgres": "holter.backends.postgres:PostgresBackend",
    "http": "holter.backends.http:HttpBackend",
    "https": "holter.backends.http:HttpBackend",
}


def open_backend(url: str, home: str, *, clock: Clock = SYSTEM, timeout: float | None = 10.0) -> Backend:
    """Open the store at `url`; relative paths start at `home`.

    `timeout` (seconds) bounds the wait for another writer; None waits as long as it takes.
    Raises `UnknownBackend` for a scheme that no installed package serves and `StorageError` where it cannot be opened.
    """
    scheme, _, _ = url.partition(":")
    target = _BUILT_IN.get(scheme) or _from_entry_points(scheme, url)
    module, _, name = target.partition(":")
    backend: Backend = getattr(import_module(module), name)(url, home=home, clock=clock, timeout=timeout)
    return backend


def path_of(url: str, home: str) -> str:
    """The file or folder that a `sqlite:///` or `file:///` URL names."""
    scheme, mark, rest = url.partition(":///")
    if not mark or not rest.strip("/"):
        raise UnknownBackend(
            f"{redacted(url)!r} names no path",
            hint=f"write {scheme}:///name for a path inside HOLTER_HOME or {scheme}:////absolute/path",
        )
    return rest if rest.startswith("/") else f"{home}/{rest}"


def redacted(url: str) -> str:
    """The URL with the password of its userinfo, and everything secret-looking in its query, blanked.

    Of a collector's URL only the address: its userinfo is the token, and how one reaches it does not change what it is.
    """
    if url.startswith(("http://", "https://")):
        scheme, _, rest = url.partition("://")
        place = rest.partition("?")[0].partition("#")[0].rstrip("/")
        return f"{scheme}://{place.rpartition('@')[2]}"
    if "@" not in url and "?" not in url:
        return url
    import re

    # @ / ? in it that nobody has quoted, too.
    url = re.sub(r"(://[^/@:\s]*):(?:[^?\s]*@|\S*@)", r"\1:***@", url)
    return re.sub(
        r"([?&][^=&\s]*(?:token|secret|password|key)[^=&\s]*)=[^&\s]*", r"\1=***", url, flags=re.IGNORECASE
    )


def _from_entry_points(scheme: str, url: str) -> str:
    from importlib.metadata import entry_points

    found = {point.name: point.value for point in entry_points(group="holter.backends")}
    if scheme in found:
        return found[scheme]
    known = sorted({*_BUILT_IN, *found})
    raise UnknownBackend(
        f"no backend for {redacted(url)!r}",
        hint=f"known schemes: {', '.join(known)}; for example sqlite:///holter.db",
    )
