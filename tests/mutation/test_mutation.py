"""Each small change of the modules that everything stands on is seen by a test that speaks about them."""

from __future__ import annotations

from typing import Any

import pytest

from .targets import TARGETS, Target

EACH = 40  # the short form tries each of so many
pytestmark = [pytest.mark.proof, pytest.mark.timeout(4 * 3600)]


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_a_module_is_told_from_its_mutants(target: Target, proof: Any) -> None:
    from .figures import LEAST, survey  # with mutmut, which no other test needs

    found = survey(target, proof.of(EACH, 1))
    proof.count(found.tried, "mutants")
    proof.count(found.killed, "of them killed")
    assert [mutant.line for mutant in found.unexplained] == []
    assert found.percent >= proof.of(0.0, LEAST)
