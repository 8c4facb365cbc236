"""What the figures have to reach: ratios within one run, so that the machine's mood cancels out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class Line(NamedTuple):
    """One promise: `value` must be at most `limit`; None where the peer was not measured."""

    what: str
    value: float | None
    limit: float
    unit: str = "x"

    @property
    def reached(self) -> bool | None:
        return None if self.value is None else self.value <= self.limit


def lines(figures: dict[str, Any]) -> Iterator[Line]:
    call, whole, peer = figures["microseconds"], figures["milliseconds"], figures["peers"]

    def us(name: str) -> float | None:
        return call.get(name, {}).get("median") or peer.get(name, {}).get("median")

    def ms(name: str) -> float | None:
        return whole.get(name, {}).get("median")

    task, bare = us("holter @task call"), ms("bare interpreter")
    yield Line("task call / logging.FileHandler line", ratio(task, us("logging.FileHandler line")), 0.8)
    yield Line("task call / two bare os.write calls", ratio(task, us("two os.write of the same bytes")), 4)
    yield Line("flow call / task call", ratio(us("holter @flow call"), task), 2)
    yield Line(
        "retries=3 beyond recording / stamina.retry call",
        ratio(minus(us("holter @task(retries=3) call"), task), us("stamina.retry call")),
        0.2,
    )
    yield Line("import holter over bare Python", minus(ms("import holter, flow and task"), bare), 25, "ms")
    yield Line(
        "the same / import prefect over bare Python",
        ratio(
            minus(ms("import holter, flow and task"), bare),
            minus(ms("import prefect"), ms("bare, beside peers")),
        ),
        1 / 30,
    )
    yield Line("hello world / bare interpreter", ratio(ms("hello-world script"), bare), 4)
    yield Line(
        "hello world / Prefect's", ratio(ms("hello-world script"), ms("hello world, Prefect")), 1 / 100
    )
    yield Line(
        "hello world with 50 lines of YAML / without",
        ratio(ms("hello world, 50 lines of YAML"), ms("hello-world script")),
        1.5,
    )
    yield Line(
        "memory added by the same script",
        minus(figures["peak_mb"]["hello"], figures["peak_mb"]["bare"]),
        15,
        "MB",
    )
    yield Line("packages of a core install", figures["install"]["packages"], 20, "")
    yield Line("size of a core install", figures["install"]["megabytes"], 25, "MB")
    scale = figures["scale"]
    slices = scale["tasks in one flow"]
    yield Line("100,000 tasks: last 10,000 / first 10,000", ratio(slices["last"], slices["first"]), 1.2)
    yield Line("100,000 tasks: peak memory added, first to last", slices["peak_growth_mb"], 5, "MB")
    yield Line("eight threads / one thread, per call", scale["threads"]["ratio"], 2)
    yield Line(
        "1,000 gathered / awaited in turn, per call",
        ratio(scale["1,000 gathered"], scale["awaited in turn"]),
        2,
    )
    yield Line("holter --help", ms("holter --help"), 250, "ms")
    yield Line("holter runs on a small store", ms("holter runs"), 250, "ms")


def ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
