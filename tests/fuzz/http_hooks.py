"""What schemathesis is told beyond the description: bodies of lines, what no answer may be, and how many there were.

Loaded by its command line (SCHEMATHESIS_HOOKS). FUZZ_COUNTS names the file that gets a letter for each request; with
FUZZ_OUTSIDER set nobody is known to the collector, and only what asks for no token may be answered.
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis
from hypothesis import strategies as st

from holter.agent.web.endpoints import ENDPOINTS
from holter.backends.lines import encode

OUTSIDER = "FUZZ_OUTSIDER" in os.environ
FREE = {each.path for each in ENDPOINTS if each.scope is None}

_texts = st.text(max_size=20)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_kinds = st.sampled_from(
    "start attempt retry end judge progress artifact slot log drop beat close other".split()
)
_names = st.sampled_from(
    "at run kind name project state error check attempt condition on by key data text".split()
)
_lines = st.lists(
    st.builds(lambda kind, rest: {**rest, "event": kind}, _kinds, st.dictionaries(_names, _values)),
    max_size=6,
)


@schemathesis.serializer("application/jsonl")
def lines(ctx: Any, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


schemathesis.openapi.media_type(
    "application/jsonl",
    _lines.map(lambda events: b"".join(map(encode, [{"event": "process", "host": "h", "pid": 1}, *events]))),
)


@schemathesis.hook
def after_call(ctx: Any, case: Any, response: Any) -> None:
    with open(os.environ["FUZZ_COUNTS"], "a") as counts:
        counts.write(".")


@schemathesis.check
def never_an_error_of_the_server(ctx: Any, response: Any, case: Any) -> None:
    assert response.status_code < 500, f"{response.status_code}: {response.text[:300]}"


@schemathesis.check
def nothing_for_an_outsider(ctx: Any, response: Any, case: Any) -> None:
    if OUTSIDER and case.operation.path not in FREE:
        assert response.status_code not in range(200, 400), f"{response.status_code}: {response.text[:300]}"
