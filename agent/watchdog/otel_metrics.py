"""Families of samples as metrics of OpenTelemetry, in its protocol's own messages."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

from ..exposition import COUNTER, HISTOGRAM, Distribution, Family, Sample
from .otel_spans import SCOPE, attributes, nanos, resource

_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def metrics_data(families: Iterable[Family], service: str, host: str, now: float) -> MetricsData:
    """All families that have a sample, as of `now` (Unix seconds)."""
    found = [_metric(each, now) for each in families if each.samples]
    scope = ScopeMetrics(scope=SCOPE, metrics=found)
    return MetricsData(
        resource_metrics=[ResourceMetrics(resource=resource(service, host), scope_metrics=[scope])]
    )


def _metric(family: Family, now: float) -> Metric:
    name, unit = _named(family.name)
    metric = Metric(name=name, description=family.help, unit=unit)
    if family.kind == HISTOGRAM:
        spreads = [_histogram(each, family, now) for each in family.samples]
        metric.histogram.CopyFrom(Histogram(aggregation_temporality=_CUMULATIVE, data_points=spreads))
        return metric
    numbers = [_number(each, family, now) for each in family.samples]
    if family.kind == COUNTER:
        total = Sum(aggregation_temporality=_CUMULATIVE, is_monotonic=True, data_points=numbers)
        metric.sum.CopyFrom(total)
    else:
        metric.gauge.CopyFrom(Gauge(data_points=numbers))
    return metric


def _named(name: str) -> tuple[str, str]:
    """The name and the unit, which Prometheus has in its names: what goes on to one gets its old name back."""
    plain = name.removeprefix("holter_").removesuffix("_total")
    unit = "s" if plain.endswith("_seconds") else "1" if plain.endswith("_well") else ""
    return "holter." + plain.removesuffix("_seconds"), unit


def _number(sample: Sample, family: Family, now: float) -> NumberDataPoint:
    value = sample.value
    assert not isinstance(value, Distribution)
    point = NumberDataPoint(
        attributes=attributes(dict(sample.labels)),
        start_time_unix_nano=nanos(family.since),
        time_unix_nano=nanos(now),
    )
    if isinstance(value, int):
        point.as_int = value
    else:
        point.as_double = value
    return point


def _histogram(sample: Sample, family: Family, now: float) -> HistogramDataPoint:
    value = sample.value
    assert isinstance(value, Distribution)
    return HistogramDataPoint(
        attributes=attributes(dict(sample.labels)),
        start_time_unix_nano=nanos(family.since),
        time_unix_nano=nanos(now),
        count=sum(value.counts),
        sum=value.total,
        bucket_counts=value.counts,
        explicit_bounds=value.bounds,
    )
