"""Traces of real runs, killed ones too, at a receiver of OTLP/HTTP that decodes them with the official messages."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

KINDS = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}


class Collector:
    """Takes everything, and keeps it by its path."""

    def __init__(self) -> None:
        self.taken: dict[str, list[Any]] = {path: [] for path in KINDS}
        taken = self.taken

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.headers["Content-Type"] == "application/x-protobuf"
                taken[self.path].append(KINDS[self.path].FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def spans(self) -> dict[str, Any]:
        """By name."""
        messages = list(self.taken["/v1/traces"])
        scopes = [scope for each in messages for found in each.resource_spans for scope in found.scope_spans]
        return {span.name: span for scope in scopes for span in scope.spans}

    def records(self) -> list[Any]:
        messages = list(self.taken["/v1/logs"])
        scopes = [scope for each in messages for found in each.resource_logs for scope in found.scope_logs]
        return [record for scope in scopes for record in scope.log_records]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


KILLED = """
    import os, signal, sys
    from holter import flow, task

    @task(retries=1)
    def load(tries=[]):
        tries.append(1)
        print("loading")
        1 / (len(tries) - 1)

    @task
    def save():
        print("the last words")
        os.kill(os.getpid(), signal.SIGKILL)

    @flow(log_prints=True)
    def etl(day):
        load()
        save()

    assert not [name for name in sys.modules if name.startswith("opentelemetry")]
    etl("monday")
"""


def test_a_run_that_was_killed_has_a_whole_trace(host: Any, receiver: Collector, until: Any) -> None:
    host.settings(f'project: billing\notel: {{endpoint: "{receiver.url}", metrics_every: 1s}}')
    with host.watching():
        assert host.run(host.script(KILLED)).code == -9
        until(lambda: {"etl", "load", "save"} <= set(receiver.spans()), "the trace is whole")
        until(receiver.records, "the lines are there")
        until(lambda: receiver.taken["/v1/metrics"], "metrics come too")
    found = receiver.spans()
    root, load, save = (found[name] for name in ("etl", "load", "save"))
    assert {each.trace_id for each in found.values()} == {root.trace_id}
    assert (root.parent_span_id, load.parent_span_id, save.parent_span_id) == (
        b"",
        root.span_id,
        root.span_id,
    )
    codes = [each.status.code for each in (root, load, save)]
    assert codes == [Status.STATUS_CODE_ERROR, Status.STATUS_CODE_OK, Status.STATUS_CODE_ERROR]
    assert root.status.message.startswith("crashed: ")
    assert [event.name for event in load.events] == ["attempt", "exception", "attempt"]
    assert root.start_time_unix_nano <= load.start_time_unix_nano <= load.end_time_unix_nano
    assert load.end_time_unix_nano <= save.start_time_unix_nano <= root.end_time_unix_nano
    said = {record.body.string_value: record.span_id for record in receiver.records()}
    assert said == {"loading": load.span_id, "the last words": save.span_id}
    (resource,) = {
        each.resource.SerializeToString() for each in receiver.taken["/v1/traces"][0].resource_spans
    }
    assert b"billing" in resource


TRACED = """
    import json
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from holter import flow, task

    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)

    @task
    def step():
        pass

    @flow
    def inside():
        step()

    @flow
    def outside():
        pass

    with trace.get_tracer("mine").start_as_current_span("mine"):
        inside()
    outside()
    (span,) = memory.get_finished_spans()
    print(json.dumps([f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]))
"""
GIVEN = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


def test_an_active_span_of_the_script_is_the_parent_and_so_is_a_traceparent(
    host: Any, receiver: Collector
) -> None:
    host.settings(f'otel: {{endpoint: "{receiver.url}"}}')
    done = host.run(host.script(TRACED), TRACEPARENT=f"00-{'-'.join(GIVEN)}-01")
    assert done.code == 0, done.err
    host.holter("run", "--name", "command", "--", "true", TRACEPARENT=f"00-{'-'.join(GIVEN)}-01")
    host.holter("run", "--name", "odd", "--", "true", TRACEPARENT="nonsense")
    assert host.holter("watch", "--once").code == 0
    found = receiver.spans()

    def of(name: str) -> tuple[str, str]:
        return found[name].trace_id.hex(), found[name].parent_span_id.hex()

    trace, span = json.loads(done.out)
    assert of("inside") == (trace, span)
    assert of("step") == (trace, found["inside"].span_id.hex())
    assert of("outside") == of("command") == GIVEN
    assert (found["odd"].parent_span_id, found["odd"].trace_id.hex() in (trace, GIVEN[0])) == (b"", False)
    assert host.holter("watch", "--once").code == 0
    assert len(receiver.taken["/v1/traces"]) == 1  # once


@pytest.mark.long
def test_a_receiver_that_hangs_or_is_away_hurts_nothing_and_is_told(host: Any, hook: Any, until: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        host.settings(
            f"channels: {{hook: {{webhook: '{hook.url}'}}}}\n"
            f"otel: {{endpoint: 'http://127.0.0.1:{silent.getsockname()[1]}', metrics_every: 1s}}"
        )
        with host.watching() as dog:
            assert host.run(host.script(KILLED)).code == -9
            run = until(lambda: next(iter(host.runs(roots=True, states=("CRASHED",))), None), "it is CRASHED")
            until(lambda: hook.about(run.id), "it is told")
            until(lambda: "exporting" in host.watch_log, "the watchdog says what fails")
            dog.terminate()
            assert dog.wait(30) == 0
    assert "timed out" in host.watch_log
