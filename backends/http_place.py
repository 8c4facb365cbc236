"""What the URL of a collector says: where it is, whom it trusts, and the token that opens it.

    https://collector.example.org            the port is 443 unless given; a path before /v1 is kept
    http://127.0.0.1:8400                    in clear only on this host, or with ?insecure=true

The token is the userinfo of the URL (`https://TOKEN@host`), else HOLTER_TOKEN, else what stands in the file that
`?token_file=` or HOLTER_TOKEN_FILE names, else in HOLTER_HOME/token. A certificate authority of one's own is named by
`?cafile=` or HOLTER_CAFILE.
"""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import StorageError, UnknownBackend
from .urls import redacted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_OPTIONS = ("cafile", "insecure", "token_file")
_TOKEN_LIMIT = 4096  # bytes of a token's file


class HttpPlace:
    """`url` without secrets, `secure` (TLS), `host`, `port`, `prefix` (path before /v1), `cafile`."""

    def __init__(self, url: str, home: str, environ: Mapping[str, str] = os.environ) -> None:
        """Raises UnknownBackend for a URL that names no collector, or one that must not be used in clear."""
        self.url = redacted(url)
        try:
            parts = urlsplit(url)
            self.host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise UnknownBackend(f"{self.url!r} is no URL: {error}", hint=_EXAMPLE) from None
        options = dict(parse_qsl(parts.query))
        unknown = sorted(set(options) - set(_OPTIONS))
        if not self.host or unknown:
            wrong = f"has no option {unknown[0]!r}" if unknown else "names no host"
            raise UnknownBackend(f"{self.url!r} {wrong}", hint=_EXAMPLE)
        self.secure = parts.scheme == "https"
        self.port = port or (443 if self.secure else 80)
        self.prefix = parts.path.rstrip("/")
        self.cafile = options.get("cafile") or environ.get("HOLTER_CAFILE") or None
        self._home = home
        self._named = options.get("token_file") or environ.get("HOLTER_TOKEN_FILE")
        self._given = (
            unquote(parts.password or parts.username or "") or environ.get("HOLTER_TOKEN", "").strip()
        )
        if not (self.secure or loopback(self.host) or options.get("insecure", "").lower() in ("true", "1")):
            raise UnknownBackend(
                f"{self.url} would send records and token in clear",
                hint="use https://, or add ?insecure=true where the network is trusted",
            )

    def token(self) -> str:
        """The token as of now, "" where there is none: its file may be exchanged while a process runs.

        Raises StorageError for a named file that cannot be read.
        """
        if self._given:
            return self._given
        path = os.path.expanduser(self._named) if self._named else f"{self._home}/token"
        try:
            with open(path, encoding="ascii") as file:
                return file.read(_TOKEN_LIMIT).strip()
        except (OSError, ValueError) as error:
            if not self._named and isinstance(error, FileNotFoundError):
                return ""
            reason = getattr(error, "strerror", None) or "it is no text"
            raise StorageError(
                f"cannot read the token in {path}: {reason}",
                hint="the file holds what `holter token new` printed",
            ) from None


_EXAMPLE = "for example https://collector.example.org, with ?cafile=, ?token_file= or ?insecure=true"


def loopback(host: str) -> bool:
    """Whether this name or address never leaves the host."""
    host = host.strip("[]").lower()
    octets = host.split(".")
    local = octets[0] == "127" and len(octets) == 4 and all(each.isdigit() for each in octets)
    return local or host in ("localhost", "::1")
