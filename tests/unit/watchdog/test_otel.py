"""What the watchdog exports over OTLP/HTTP, held beside the real SDK, to receivers that misbehave."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status as Proto
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from holter import __version__
from holter.agent.setting_types import OtelSettings
from holter.agent.settings import Settings, load
from holter.agent.watchdog import exporting
from holter.agent.watchdog import otel_spans as spans
from holter.agent.watchdog.exporting import CURSOR, Exporter
from holter.backends.base import Backend
from holter.backends.errors import SettingsError
from holter.backends.records import Run
from tests.ports import free_port

from .conftest import HandSetClock, Receiver, Scribe

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ERROR = {"type": "ValueError", "message": "no rows", "traceback": "line 1\nline 2", "fingerprint": "f"}


class Site:
    """An exporter, the store that it reads, and the receiver that it writes to."""

    def __init__(self, store: Backend, clock: HandSetClock, receiver: Receiver, home: str) -> None:
        self.store, self.clock, self.receiver = store, clock, receiver
        otel = OtelSettings(f"http://127.0.0.1:{receiver.port}", {"api-key": "${KEY}"})
        self.settings: Settings = evolve(load(home, {}), otel=otel)
        self.scribe = Scribe(store, clock)
        self.exporter = self.made()

    def made(self) -> Exporter:
        exporter = Exporter(self.settings, clock=self.clock)
        exporter._backend = self.store
        return exporter

    def step(self) -> list[str]:
        """A pass, after the longest back-off; what steps failed of."""
        self.clock.now += 61
        self.exporter.step()
        return [step.last_error for step in self.exporter.steps if step.last_error]

    def sent(self, signal: str, kind: Any) -> list[Any]:
        """The messages of this signal that were taken."""
        found = [each for each in self.receiver.requests if each["path"] == f"/v1/{signal}"]
        return [kind.FromString(gzip.decompress(each["body"])) for each in found if each["answer"] == 200]

    def spans(self) -> list[Any]:
        messages = self.sent("traces", ExportTraceServiceRequest)
        return [
            span
            for message in messages
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def site(
    store: Backend, clock: HandSetClock, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("KEY", "sesame")
    return Site(store, clock, receiver, str(tmp_path))


def plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


# --- beside the real SDK ---------------------------------------------------------------------------------------


def of_the_sdk(run: Run, trace: spans.Trace) -> ReadableSpan:
    """The same span as the SDK would have made it, through its own exporter in memory."""
    number = int.from_bytes(trace.id)
    context = SpanContext(number, int.from_bytes(spans.span_id(run.id)), False, TraceFlags(1))
    parent = SpanContext(number, int.from_bytes(trace.parent), True, TraceFlags(1))
    began, ended = (spans.nanos(at or 0.0) for at in (run.started_at, run.ended_at))
    second = spans.nanos(run.attempts[1]["started_at"])
    exception = {
        "exception.type": "ValueError",
        "exception.message": "no rows",
        "exception.stacktrace": "line 1\nline 2",
    }
    made = ReadableSpan(
        "etl",
        context,
        parent,
        Resource({"service.name": "default", "host.name": "web-1"}),
        {
            "holter.run.id": run.id,
            "holter.run.kind": "flow",
            "holter.run.state": "failed",
            "holter.run.attempts": 2,
            "holter.run.tags": ["eu", "nightly"],
            "holter.run.parameters": '{"day": "monday", "rows": 3}',
            "holter.run.cpu_seconds": 0.5,
            "process.pid": 42,
        },
        [
            Event("attempt", {"holter.attempt": 1}, began),
            Event("exception", {**exception, "holter.attempt": 1}, second - 2_000_000_000),
            Event("attempt", {"holter.attempt": 2}, second),
            Event("exception", {**exception, "holter.attempt": 2}, ended),
        ],
        (),
        SpanKind.INTERNAL,
        None,
        Status(StatusCode.ERROR, "failed: ValueError: no rows"),
        began,
        ended,
        InstrumentationScope("holter", __version__),
    )
    memory = InMemorySpanExporter()
    memory.export([made])
    (kept,) = memory.get_finished_spans()
    return kept


def test_a_span_is_to_the_byte_what_the_sdk_would_have_sent(site: Site) -> None:
    scribe, clock = site.scribe, site.clock
    scribe.start("r1", tags=["eu", "nightly"], parameters={"day": "monday", "rows": 3}, traceparent=PARENT)
    clock.now += 1
    scribe.say("retry", run="r1", attempt=1, delay=2.0, error=ERROR)
    clock.now += 2
    scribe.say("attempt", run="r1", attempt=2)
    clock.now += 4
    scribe.end("r1", error=ERROR, usage={"cpu_seconds": 0.5})
    run = site.store.run("r1")
    assert run is not None
    trace = spans.Traces().of(site.store, run)
    ours = spans.traces_data([(spans.origin(run), spans.span(run, trace))])
    theirs = encode_spans([of_the_sdk(run, trace)])
    assert trace.id.hex() == PARENT.split("-")[1]
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


# --- what is sent ----------------------------------------------------------------------------------------------


def test_a_run_that_was_killed_has_a_whole_trace_with_its_lines(site: Site) -> None:
    scribe, clock = site.scribe, site.clock
    scribe.start("r1")
    scribe.start("r1.1", "load", "task", parent="r1")
    scribe.say("log", run="r1.1", level="WARNING", stream="stderr", text="half of it")
    scribe.end("r1.1", "COMPLETED")
    scribe.start("r1.2", "save", "task", parent="r1")
    clock.now += 3
    scribe.crash("r1.2")
    scribe.crash("r1")
    assert site.step() == []
    found = {span.name: span for span in site.spans()}
    assert set(found) == {"etl", "load", "save"}
    root = found["etl"]
    assert {span.trace_id for span in found.values()} == {root.trace_id}
    assert [found[name].parent_span_id for name in ("etl", "load", "save")] == [
        b"",
        root.span_id,
        root.span_id,
    ]
    assert [found[name].status.code for name in ("etl", "load", "save")] == [
        Proto.STATUS_CODE_ERROR,
        Proto.STATUS_CODE_OK,
        Proto.STATUS_CODE_ERROR,
    ]
    assert root.status.message == "crashed: killed by signal 9"
    assert root.end_time_unix_nano - root.start_time_unix_nano == 3_000_000_000
    (logs,) = site.sent("logs", ExportLogsServiceRequest)
    (line,) = logs.resource_logs[0].scope_logs[0].log_records
    assert (line.body.string_value, line.severity_number, line.severity_text) == ("half of it", 13, "WARNING")
    assert (line.trace_id, line.span_id) == (root.trace_id, found["load"].span_id)
    assert plain(line.attributes)["log.iostream"] == "stderr"
    assert {each["headers"]["Api-Key"] for each in site.receiver.requests} == {"sesame"}


def test_what_was_taken_is_not_sent_again_and_a_repetition_has_the_same_ids(site: Site) -> None:
    site.scribe.ran("r1")
    cursor = site.store.get(*CURSOR)
    assert (site.step(), cursor) == ([], None)
    assert (site.step(), len(site.spans())) == ([], 1)
    held = site.store.get(*CURSOR)
    assert held is not None
    site.store.put(*CURSOR, {**held.value, "seq": 0}, held.version)  # it died before it had moved on
    site.step()
    first, second = site.spans()
    assert first == second


def test_what_is_inside_may_end_after_the_root_and_history_stays_where_it_is(site: Site) -> None:
    site.scribe.ran("old")
    site.clock.now += 7200
    assert site.step() == []
    assert site.spans() == []
    site.scribe.start("r1", traceparent=PARENT)
    site.scribe.start("r1.x-1", "inner", parent="r1")
    site.scribe.end("r1", "COMPLETED")
    site.step()
    site.scribe.end("r1.x-1", "COMPLETED")
    site.step()
    root, inner = site.spans()
    assert (root.parent_span_id.hex(), inner.parent_span_id) == (PARENT.split("-")[2], root.span_id)
    assert {root.trace_id.hex(), inner.trace_id.hex()} == {PARENT.split("-")[1]}
    assert (root.flags, inner.flags) == (0x300, 0x100)


def test_a_step_whose_root_is_not_here_yet_does_not_settle_the_trace(site: Site) -> None:
    traces = spans.Traces()
    site.scribe.start("r1.1", "step", "task", parent="r1")
    site.scribe.end("r1.1", "COMPLETED")
    step = site.store.run("r1.1")
    assert step is not None
    assert traces.of(site.store, step).parent == b""
    site.scribe.start("r1", traceparent=PARENT)
    assert traces.of(site.store, step).id.hex() == PARENT.split("-")[1]


def test_lines_stay_here_where_the_settings_say_so(site: Site) -> None:
    site.settings = evolve(site.settings, otel=evolve(site.settings.otel, logs=False))
    site.exporter.use(site.settings)
    site.scribe.start("r1")
    site.scribe.say("log", run="r1", level="INFO", stream="log", text="x")
    site.scribe.end("r1")
    site.step()
    assert (len(site.spans()), site.sent("logs", ExportLogsServiceRequest)) == (1, [])


def test_metrics_go_as_sums_gauges_and_histograms(site: Site) -> None:
    site.step()
    site.scribe.ran("r1", "COMPLETED", seconds=4.0)
    site.step()
    message = site.sent("metrics", ExportMetricsServiceRequest)[-1]
    found = {each.name: each for each in message.resource_metrics[0].scope_metrics[0].metrics}
    (ended,) = found["holter.runs_ended"].sum.data_points
    assert (ended.as_int, found["holter.runs_ended"].sum.is_monotonic) == (1, True)
    assert plain(ended.attributes) == {
        "project": "default",
        "job": "etl",
        "kind": "flow",
        "state": "completed",
    }
    assert 0 < ended.start_time_unix_nano < ended.time_unix_nano
    duration = found["holter.run_duration"]
    (spread,) = duration.histogram.data_points
    assert (duration.unit, spread.count, spread.sum) == ("s", 1, 4.0)
    assert len(spread.bucket_counts) == len(spread.explicit_bounds) + 1
    assert found["holter.job_well"].gauge.data_points[0].as_int == 1


# --- receivers that misbehave ----------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [401, 404, 429, 500, 503, "reset", 302])
def test_what_a_receiver_did_not_take_is_sent_when_it_does(site: Site, answer: Any) -> None:
    site.scribe.ran("r1")
    site.receiver.answers = [answer] * 3
    failed = site.step()
    assert len(failed) == 2  # traces and metrics
    assert "/v1/traces" in failed[0]
    assert "sesame" not in "".join(failed)
    site.scribe.ran("r2")
    site.step()
    assert site.step() == []
    assert sorted(plain(span.attributes)["holter.run.id"] for span in site.spans()) == ["r1", "r2"]


def test_what_is_refused_for_good_is_left_out_and_the_rest_goes_on(site: Site) -> None:
    site.scribe.ran("r1")
    site.receiver.answers = [400]
    assert site.step() == []
    site.scribe.ran("r2")
    assert site.step() == []
    assert [plain(span.attributes)["holter.run.id"] for span in site.spans()] == ["r2"]


def test_nobody_there_is_a_line_and_nothing_is_lost(site: Site) -> None:
    good = site.settings
    site.exporter.use(evolve(good, otel=OtelSettings(f"http://127.0.0.1:{free_port()}")))
    site.scribe.ran("r1")
    assert "Connection refused" in site.step()[0]
    site.exporter.use(good)
    assert (site.step(), len(site.spans())) == ([], 1)


def test_many_runs_go_in_several_requests_each_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_PAGE", 80)
    monkeypatch.setattr(exporting, "_GROUP", 7)
    for number in range(60):
        site.scribe.ran(f"r{number}")
    site.receiver.answers = [200, 200, 503]
    assert len(site.step()) == 1
    assert site.step() == []
    assert len(site.spans()) == 60


def test_without_an_endpoint_nothing_is_asked_and_without_the_extra_it_says_what_to_install(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.trace.v1.trace_pb2", None)
    monkeypatch.delitem(sys.modules, spans.__name__)
    monkeypatch.delattr("holter.agent.watchdog.otel_spans")
    failed = site.step()
    assert all("pip install 'holter[otel]'" in each for each in failed)
    site.exporter.use(evolve(site.settings, otel=OtelSettings()))
    assert (site.step(), site.receiver.requests) == ([], [])


def test_a_single_pass_has_an_end(site: Site) -> None:
    exporter = Exporter(site.settings, clock=site.clock, until=10.0)
    exporter._backend = site.store
    site.scribe.ran("r1")
    site.clock.now += 11
    exporter.step()
    assert site.receiver.requests == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("otel: {endpoint: localhost:4318}", "is no URL"),
        ("otel: {endpoint: [1]}", "is a text"),
        ("otel: {endpont: 'http://x'}", "did you mean endpoint"),
        ("otel: {metrics_every: 0s}", "otel.metrics_every"),
        ("otel: {headers: {a: 1}}", "otel.headers"),
    ],
)
def test_a_setting_that_cannot_be_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "holter.yaml").write_text(text)
    with pytest.raises(SettingsError, match=said):
        load(str(tmp_path), {})


def test_headers_do_not_show_when_settings_are_printed() -> None:
    assert "sesame" not in repr(OtelSettings("http://x", {"api-key": "sesame"}))


def test_ids_follow_from_the_runs() -> None:
    assert spans.trace_of("r1", {}) == spans.trace_of("r1", {"traceparent": "nonsense"})
    assert spans.trace_of("r1", {}) != spans.trace_of("r2", {})
    assert spans.span_id("r1") != spans.span_id("r1.1")
