"""Of which trace a run is a part: what TRACEPARENT and an active span of OpenTelemetry say."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.tracing import MODULE, parent, parse

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEX = "0123456789abcdef"


@given(
    st.text(HEX, min_size=32, max_size=32),
    st.text(HEX, min_size=16, max_size=16),
    st.text(HEX, min_size=2, max_size=2),
)
def test_every_sound_traceparent_is_understood(trace: str, span: str, flags: str) -> None:
    found = parse(f"00-{trace}-{span}-{flags}")
    if trace.strip("0") and span.strip("0"):
        assert found == (bytes.fromhex(trace), bytes.fromhex(span))
    else:
        assert found is None


@pytest.mark.parametrize(
    "text",
    ["", "x", None, 7, GOOD.upper(), GOOD[:-1], f"{GOOD}-more", f"ff{GOOD[2:]}", GOOD.replace("-", "_"),
     GOOD.replace("4", "g"), GOOD.replace("4", "٤"), f" {GOOD}"],
)  # fmt: skip
def test_what_is_no_traceparent_is_none(text: object) -> None:
    assert parse(text) is None


def test_a_later_version_may_say_more() -> None:
    assert parse(f"01{GOOD[2:]}-more") == parse(GOOD)


def spans(context: object) -> SimpleNamespace:
    return SimpleNamespace(get_current_span=lambda: SimpleNamespace(get_span_context=lambda: context))


def test_an_active_span_goes_before_the_variable_and_nothing_is_imported_to_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    assert (parent(GOOD), parent("nonsense"), MODULE in sys.modules) == (GOOD, "", False)
    active = SimpleNamespace(is_valid=True, trace_id=10, span_id=11, trace_flags=1)
    monkeypatch.setitem(sys.modules, MODULE, spans(active))
    assert parent(GOOD) == f"00-{10:032x}-{11:016x}-01"
    monkeypatch.setitem(sys.modules, MODULE, spans(SimpleNamespace(is_valid=False)))
    assert parent(GOOD) == GOOD


def test_a_module_that_is_half_imported_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, SimpleNamespace())
    assert parent("") == ""
