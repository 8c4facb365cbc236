"""Figures as monitoring systems take them: families of samples, and Prometheus's text of them (format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import field, frozen

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
Labels = Mapping[str, str]


@frozen
class Distribution:
    """How many observations were in each span that ends at one of `bounds` (seconds), and in one more above the last;
    `total` is the sum of all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@frozen
class Sample:
    """One value, and what it is of."""

    value: float | Distribution
    labels: Labels = field(factory=dict)


@frozen
class Family:
    """Samples of one `name`, all of one `kind` (counter, gauge, histogram). `help` says what they are, with the unit.
    `since`: when a counter began to count (Unix seconds)."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]
    since: float = 0.0


def text(families: Iterable[Family]) -> str:
    """A page of all families; those without a sample are left out."""
    return "".join(f"{line}\n" for each in families if each.samples for line in _lines(each))


def _lines(family: Family) -> Iterator[str]:
    said = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    yield f"# HELP {family.name} {said}"
    yield f"# TYPE {family.name} {family.kind}"
    for each in family.samples:
        if isinstance(each.value, Distribution):
            yield from _histogram(family.name, each.value, each.labels)
        else:
            yield f"{family.name}{_braces(each.labels)} {_number(each.value)}"


def _histogram(name: str, value: Distribution, labels: Labels) -> Iterator[str]:
    count = 0
    for bound, more in zip((*value.bounds, float("inf")), value.counts, strict=True):
        count += more
        yield f"{name}_bucket{_braces({**labels, 'le': _number(bound)})} {count}"
    yield f"{name}_sum{_braces(labels)} {_number(value.total)}"
    yield f"{name}_count{_braces(labels)} {count}"


def _braces(labels: Labels) -> str:
    return (
        "{" + ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items()) + "}" if labels else ""
    )


def _quoted(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode()
    return whole.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
