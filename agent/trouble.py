"""Why a run, or an attempt of one, ended badly: in one sentence, the same wherever people are told."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EXIT_CODE = "ExitCode"  # the type of the error that a command has for an exception


def trouble(error: dict[str, Any] | None, reason: str | None) -> str:
    """The error, as in `ValueError: no such day`, else the reason, else "". Of a command the reason, which names its
    exit code too. As recorded: what is printed is cleaned first."""
    if not error or (error.get("type") == EXIT_CODE and reason):
        return reason or ""
    return ": ".join(str(error[key]) for key in ("type", "message") if error.get(key))
