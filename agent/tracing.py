"""What a root run is a part of, for whoever traces: the active span of OpenTelemetry where the script uses that, else
what the environment variable TRACEPARENT says (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import sys

from .tape import harmless

MODULE = "opentelemetry.trace"  # never imported here: who uses it has
_WIDTHS = (2, 32, 16, 2)


@harmless
def parent(variable: str) -> str:
    """A traceparent, "" where there is none. `variable` is what the environment says."""
    get = getattr(sys.modules.get(MODULE), "get_current_span", None)
    if get is not None:
        context = get().get_span_context()
        if context.is_valid:
            return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return variable if parse(variable) else ""


def parse(text: object) -> tuple[bytes, bytes] | None:
    """The ids of the trace and of the span in it; None for what is no traceparent."""
    parts = text.split("-") if isinstance(text, str) else []
    if len(parts) < 4 or tuple(map(len, parts[:4])) != _WIDTHS or parts[0] == "ff":
        return None
    if parts[0] == "00" and len(parts) > 4:
        return None
    if (
        set("".join(parts[:4])) - set("0123456789abcdef")
        or not parts[1].strip("0")
        or not parts[2].strip("0")
    ):
        return None
    return bytes.fromhex(parts[1]), bytes.fromhex(parts[2])
