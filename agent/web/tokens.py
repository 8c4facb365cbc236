"""Tokens of a collector: who may append, who may read, who may press the dashboard's buttons. Documents of kind `token`
in the store's own Registry.

A token is `holter_<id>_<secret>`, or, for the pings of one job, a uuid; stored is its SHA-256 only. A revoked one stays
as a document without rights, so that a collector whose last token was revoked does not become one that asks for none.
No token reaches these documents over HTTP.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256
from uuid import uuid4

from attrs import asdict, field, frozen

from ...backends.base import Registry
from ...backends.clock import token as random_text
from ...backends.errors import HolterError
from ...backends.records import Json

KIND = "token"
INGEST, READ, WATCH, OPERATE, PING = "ingest", "read", "watch", "operate", "ping"
SCOPES = (INGEST, READ, WATCH, OPERATE, PING)
ANY = ""  # whatever a token is for


def _tuple(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


@frozen
class Token:
    """`id` names it, `scopes` are of SCOPES, `project` binds it to one, None to none. `revoked_at` in Unix seconds. One
    that may `ping` may nothing else, for it stands in addresses; a `job` makes it the address of that one."""

    id: str
    sha256: str
    scopes: tuple[str, ...] = field(converter=_tuple)
    project: str | None = None
    created_at: float = 0.0
    created_by: str = ""
    revoked_at: float | None = None
    job: str | None = None

    @property
    def in_addresses(self) -> bool:
        """Whether it is a secret of those who ping: who has it can read nothing."""
        return self.scopes == (PING,)

    def may(self, scope: str) -> bool:
        """`operate` may what `read` may; `watch` may all that the others may."""
        implied = (READ,) if OPERATE in self.scopes else ()
        return self.revoked_at is None and (scope in (*self.scopes, *implied, ANY) or WATCH in self.scopes)


OPEN = Token("", "", (WATCH,))  # what everybody holds where no token is asked for


def mint(
    store: Registry,
    scopes: tuple[str, ...],
    project: str | None,
    by: str,
    now: float,
    job: str | None = None,
) -> tuple[str, Token]:
    """Make a token; its text is returned this once and kept nowhere. Raises StorageError."""
    while True:
        text = f"holter_{random_text(8)}_{random_text(32)}" if job is None else str(uuid4())
        made = Token(_id_of(text), _digest(text), scopes, project, now, by, job=job)
        if store.put(KIND, made.id, _document(made), 0) is not None:
            return text, made


def everyone(store: Registry) -> list[Token]:
    """All tokens that were ever made, oldest first."""
    found = [Token(**held.value) for _, held in store.list(KIND)]
    return sorted(found, key=lambda each: each.created_at)


def revoke(store: Registry, token_id: str, now: float) -> Token:
    """Take a token's rights. Idempotent. Raises HolterError where there is none of this id."""
    while (held := store.get(KIND, token_id)) is not None:
        gone = {**held.value, "revoked_at": held.value.get("revoked_at") or now}
        if store.put(KIND, token_id, gone, held.version) is not None:
            return Token(**gone)
    raise HolterError(f"there is no token {token_id!r}", hint="`holter token ls` lists their ids")


def known(tokens: dict[str, Token], text: str) -> Token | None:
    """The token that this text is, if it is one. Takes as long for a near miss as for a hit."""
    held = tokens.get(_id_of(text))
    digest = _digest(text)
    if not hmac.compare_digest(digest, held.sha256 if held is not None else "0" * 64):
        return None
    return held


def _id_of(text: str) -> str:
    parts = text.split("_")
    return parts[1] if len(parts) == 3 else text.partition("-")[0]


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()


def _document(token: Token) -> Json:
    return {**asdict(token), "scopes": list(token.scopes)}
