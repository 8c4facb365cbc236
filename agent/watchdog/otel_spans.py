"""Runs as spans and lines as log records of OpenTelemetry, in its protocol's own messages.

The ids follow from the run's id, so a run has the same span however often it is exported, and nothing has to be
remembered. A root run whose process had an active span, or a TRACEPARENT in its environment, continues that trace.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from attrs import define, field, frozen
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status, TracesData

from ... import __version__
from ...backends.base import Backend
from ...backends.clock import root_of
from ...backends.records import Json, Log, Run
from ...backends.states import FAILURES
from ..tracing import parse

TEXT = 8_000  # characters of one attribute
_SEVERITY = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "SUCCESS": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}
_KNOWN = 10_000  # traces that are remembered
_KNOWN_PARENT, _REMOTE_PARENT = (
    0x100,
    0x200,
)  # whether it is known if the parent is another process's, and that it is


@frozen
class Trace:
    """What a root run and all inside it belong to; `parent` is the span of somebody else that it is a part of."""

    id: bytes
    parent: bytes = b""


@define
class Traces:
    """Of root runs, by id; asked of the store once their start is there."""

    _found: dict[str, Trace] = field(factory=dict)

    def of(self, store: Backend, run: Run) -> Trace:
        root = root_of(run.id)
        if root in self._found:
            return self._found[root]
        start = next((each for each in store.events(root) if each["event"] == "start"), None)
        if start is None:  # it may be on its way in another journal, and say something else
            return trace_of(root, {})
        if len(self._found) >= _KNOWN:
            self._found.clear()
        return self._found.setdefault(root, trace_of(root, start))


def trace_of(root: str, start: Json) -> Trace:
    """`start` is the root run's start event."""
    given = parse(start.get("traceparent"))
    return Trace(*given) if given else Trace(sha256(f"holter trace {root}".encode()).digest()[:16])


def span_id(run_id: str) -> bytes:
    return sha256(f"holter span {run_id}".encode()).digest()[:8]


# --- spans ---------------------------------------------------------------------------------------------------


def span(run: Run, trace: Trace) -> Span:
    """Of a run that has ended."""
    began = run.started_at if run.started_at is not None else run.created_at
    return Span(
        trace_id=trace.id,
        span_id=span_id(run.id),
        parent_span_id=span_id(run.parent_id) if run.parent_id else trace.parent,
        name=run.name[:TEXT],
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=nanos(began),
        end_time_unix_nano=nanos(max(began, run.ended_at or began)),
        attributes=attributes(_facts(run)),
        events=list(_events(run)),
        status=_status(run),
        flags=_KNOWN_PARENT | (_REMOTE_PARENT if trace.parent and not run.parent_id else 0),
    )


def _facts(run: Run) -> Json:
    usage = run.usage or {}
    return {
        "holter.run.id": run.id,
        "holter.run.kind": run.kind,
        "holter.run.state": run.state.lower(),
        "holter.run.name": run.run_name,
        "holter.run.reason": run.reason,
        "holter.run.attempts": len(run.attempts) or None,
        "holter.run.tags": list(run.tags) or None,
        "holter.run.parameters": json.dumps(run.parameters, default=str) if run.parameters else None,
        "holter.run.log_lines": run.log_lines or None,
        "holter.run.cpu_seconds": usage.get("cpu_seconds"),
        "holter.run.max_rss_bytes": usage.get("max_rss_bytes"),
        "process.pid": run.pid,
        "process.exit.code": run.exit_code,
        "holter.run.signal": run.signal,
        "code.file.path": (run.code or {}).get("file"),
    }


def _events(run: Run) -> Iterator[Span.Event]:
    """The beginning of each attempt, and what it failed of."""
    for each in run.attempts:
        number = {"holter.attempt": each["attempt"]}
        if each["started_at"] is not None:
            yield _event("attempt", each["started_at"], number)
        if each["error"] and each["ended_at"] is not None:
            yield _event("exception", each["ended_at"], {**_exception(each["error"]), **number})
        elif each["reason"] and each["ended_at"] is not None:
            yield _event("attempt failed", each["ended_at"], {"holter.reason": each["reason"], **number})
    if run.error and not run.attempts:
        yield _event("exception", run.ended_at or run.created_at, _exception(run.error))


def _exception(error: Json) -> Json:
    return {f"exception.{name}": error.get(key) for name, key in _ERROR}


_ERROR = (("type", "type"), ("message", "message"), ("stacktrace", "traceback"))


def _event(name: str, at: float, said: Json) -> Span.Event:
    return Span.Event(name=name, time_unix_nano=nanos(at), attributes=attributes(said))


def _status(run: Run) -> Status:
    if run.state == "COMPLETED":
        return Status(code=Status.STATUS_CODE_OK)
    if run.state not in FAILURES:
        return Status()
    error = run.error or {}
    said = run.reason or ": ".join(str(error[key]) for key in ("type", "message") if error.get(key))
    if not said and run.exit_code is not None:
        said = f"exit code {run.exit_code}"
    return Status(code=Status.STATUS_CODE_ERROR, message=f"{run.state.lower()}: {said}"[:TEXT])


# --- lines ---------------------------------------------------------------------------------------------------


def record(run: Run, trace: Trace, line: Log) -> LogRecord:
    return LogRecord(
        time_unix_nano=nanos(line.at),
        observed_time_unix_nano=nanos(line.at),
        severity_number=SeverityNumber.ValueType(_SEVERITY.get(line.level.upper(), 0)),
        severity_text=line.level,
        body=_any(line.text),
        attributes=attributes({"log.iostream": line.stream, "holter.run.id": run.id}),
        trace_id=trace.id,
        span_id=span_id(run.id),
    )


# --- together ------------------------------------------------------------------------------------------------

Origin = tuple[str, str | None]  # project and host


def origin(run: Run) -> Origin:
    return run.project, run.host


def traces_data(spans: Iterable[tuple[Origin, Span]]) -> TracesData:
    return TracesData(
        resource_spans=[
            ResourceSpans(resource=resource(*where), scope_spans=[ScopeSpans(scope=SCOPE, spans=each)])
            for where, each in _grouped(spans).items()
        ]
    )


def logs_data(records: Iterable[tuple[Origin, LogRecord]]) -> LogsData:
    return LogsData(
        resource_logs=[
            ResourceLogs(resource=resource(*where), scope_logs=[ScopeLogs(scope=SCOPE, log_records=each)])
            for where, each in _grouped(records).items()
        ]
    )


def _grouped(pairs: Iterable[tuple[Origin, Any]]) -> dict[Origin, list[Any]]:
    groups: dict[Origin, list[Any]] = {}
    for where, each in pairs:
        groups.setdefault(where, []).append(each)
    return groups


SCOPE = InstrumentationScope(name="holter", version=__version__)


def resource(service: str, host: str | None) -> Resource:
    """A project is a service, in the words of OpenTelemetry."""
    return Resource(attributes=attributes({"service.name": service, "host.name": host}))


def attributes(said: Json) -> list[KeyValue]:
    """Those that are known."""
    return [KeyValue(key=key, value=_any(value)) for key, value in said.items() if value is not None]


def _any(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_any(each) for each in value]))
    return AnyValue(string_value=str(value).encode("utf-8", "replace").decode()[:TEXT])


def nanos(at: float) -> int:
    return max(0, round(at * 1e6)) * 1000
