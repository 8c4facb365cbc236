"""Hours of real load: nothing is lost, doubled or misjudged, and nothing grows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ..acceptance.conftest import Hook
from . import plan
from .flatness import Series, growths
from .fleet import is_linux
from .measures import as_series, table
from .stage import Stage
from .truth import read_truth

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(2 * 3600),
    pytest.mark.skipif(not is_linux(), reason="/proc says what a process takes"),
]


@pytest.fixture
def hook() -> Iterator[Hook]:
    with closing(Hook()) as made:
        yield made


def measured(stage: Stage, calm: tuple[float, float]) -> dict[str, Series]:
    """Everything that is to be flat, in the calm."""
    since, until = stage.began + calm[0], stage.began + calm[1]
    values = {name: stage.sampler.values(name, since, until) for name in stage.sampler.names()}
    wall = stage.wall_of(since), stage.wall_of(until)
    latency = read_truth(stage.fleet.folder).latency
    values["recording a line"] = [took for at, took in latency if wall[0] <= at <= wall[1]]
    values["arrival of an ending"] = [took for at, took in stage.auditor.lag if wall[0] <= at <= wall[1]]
    return as_series(values)


def test_hours_of_load_lose_double_and_misjudge_nothing_and_nothing_grows(
    tmp_path: Path, hook: Hook, proof: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = float(os.environ.get("SOAK_SECONDS") or proof.of(210, 3600))
    kept_for = 90.0 if seconds < 600 else 300.0
    script = plan.make(seconds, kill_every=proof.of(2.0, 4.0), prune_every=kept_for / 6)
    with closing(Stage(tmp_path, hook, kept_for, every=max(1.0, seconds / 720), each=15)) as stage:
        stage.play(script)
        series = measured(stage, script.calm)
        faults = stage.faults() + growths(series)
        with capsys.disabled():
            print(f"\n{table(series)}\n{stage.figures()}")
        assert faults == [], "\n".join(faults[:40])
        for what, number in stage.figures().items():
            proof.count(number, what)
