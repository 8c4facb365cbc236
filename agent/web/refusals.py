"""How the collector says no: a status code, a sentence, and what to do about it. Never a traceback."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from ...backends.clock import uniform
from ...backends.errors import HolterError, OffsetMismatch, RecordDamaged

STORE_AWAY_SECONDS = 5.0  # until a client asks again


class Refusal(Exception):
    """An answer other than 200: `status`, `error` (a sentence), `hint`, further members of the body, `retry_after`
    (seconds, spread by half so that a fleet does not come back as one)."""

    def __init__(
        self, status: int, error: str, hint: str = "", *, retry_after: float | None = None, **more: Any
    ) -> None:
        super().__init__(error)
        self.status, self.error, self.hint, self.more = status, error, hint, more
        self.retry_after = None if retry_after is None else round(uniform(1.0, 1.5) * retry_after + 0.5)

    def response(self) -> Response:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return answer({"error": self.error, "hint": self.hint, **self.more}, self.status, headers)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as JSON."""
    body = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    return Response(body, status, headers, "application/json")


def refusal_of(error: Exception) -> Refusal:
    """What a store raised, in the wire's words."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, OffsetMismatch):
        return Refusal(409, error.message, "send from `expected` on", expected=error.expected)
    if isinstance(error, RecordDamaged):  # which a reader may pass over
        return Refusal(503, error.message, error.hint, retry_after=STORE_AWAY_SECONDS, damaged=True)
    if isinstance(error, HolterError):
        return Refusal(
            503,
            f"the collector's store cannot do it now: {error.message}",
            error.hint or "try again; records wait in their journals",
            retry_after=STORE_AWAY_SECONDS,
        )
    return Refusal(
        503,
        f"the collector failed at this ({type(error).__name__})",
        "its log has the details; try again",
        retry_after=60.0,
    )
