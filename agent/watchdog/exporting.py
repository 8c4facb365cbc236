"""The exporting half: what ended goes out as traces and lines, figures as metrics, over OTLP/HTTP (`otel.endpoint`).

A run is exported when it ends, whoever saw it end: so one that was killed has a whole trace too. Where a cursor in the
store stands, everything before it was taken by the receiver; killed or refused in between, the same spans go out again,
with the same ids. A receiver that is away costs nothing but its own thread's time, and gets later what it missed, as
long as the store has it. Several watchdogs that share a store export the same spans: one of them should.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from loguru import logger

from ...backends.base import Backend
from ...backends.clock import SYSTEM, Clock
from ...backends.errors import HolterError
from ...backends.queries import LogQuery
from ...backends.records import Log, Run, Transition
from ...backends.states import ENDINGS
from .. import identity
from ..settings import Settings
from .measures import measures
from .otlp import NotTaken, post
from .outbox import update
from .readable import run_of
from .steps import Half, Step

if TYPE_CHECKING:
    from .otel_spans import Traces

CURSOR = ("cursor", "otel")
HINDSIGHT = 3600.0  # seconds: what ended earlier than this before the first pass is history
LINES = 1000  # of one run, its last ones
LOOK = 1.0  # seconds between looks
_PAGE, _GROUP, _RECORDS = 500, 100, 2000  # transitions per read; runs, and lines, per request


class Exporter(Half):
    """The exporting half, with a store handle of its own. `until`: so many seconds after its start it sends nothing
    more."""

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM, until: float = inf) -> None:
        super().__init__(settings, clock=clock)
        self._until = clock.monotonic() + until
        self._traces: Traces | None = None
        self._metrics_step = Step(
            "exporting metrics", self._export_metrics, every=settings.otel.metrics_every
        )
        self.steps = [Step("exporting traces", self._export, every=LOOK), self._metrics_step]

    def use(self, settings: Settings) -> None:
        super().use(settings)
        self._metrics_step.every = settings.otel.metrics_every

    def _export(self) -> None:
        if self.settings.otel.endpoint is None:
            return
        _require()
        store, more = self._store(), True
        while more and self.clock.monotonic() < self._until:
            more = self._step(store)

    def _step(self, store: Backend) -> bool:
        """One page of transitions; whether there may be more."""
        cursor = store.get(*CURSOR)
        if cursor is None:
            store.put(*CURSOR, {"seq": 0, "since": self.clock.wall() - HINDSIGHT}, 0)
            return True
        rows = store.transitions(cursor.value["seq"], _PAGE)
        ended = [row for row in rows if row.at >= cursor.value["since"] and _is_end(row)]
        for start in range(0, len(ended), _GROUP):
            group = ended[start : start + _GROUP]
            self._send(store, group)
            _move_on(store, group[-1].seq)
        if rows:
            _move_on(store, rows[-1].seq)
        if len(rows) < _PAGE and cursor.value["since"]:  # from now on no host's clock hides news
            update(store, *CURSOR, lambda held: {**held, "since": 0.0})
        return len(rows) == _PAGE

    def _send(self, store: Backend, rows: list[Transition]) -> None:
        from . import otel_spans as spans

        self._traces = self._traces or spans.Traces()
        ids = dict.fromkeys(row.run_id for row in rows)
        runs = [run for each in ids if (run := run_of(store, each)) is not None and run.ended]
        traced = [(run, self._traces.of(store, run)) for run in runs]
        found = spans.traces_data((spans.origin(run), spans.span(run, trace)) for run, trace in traced)
        if runs:
            self._post("traces", found.SerializeToString())
        if not self.settings.otel.logs:
            return
        records = [
            (spans.origin(run), spans.record(run, trace, line))
            for run, trace in traced
            if run.log_lines
            for line in _lines(store, run)
        ]
        for start in range(0, len(records), _RECORDS):
            self._post("logs", spans.logs_data(records[start : start + _RECORDS]).SerializeToString())

    def _export_metrics(self) -> None:
        if self.settings.otel.endpoint is None or self.clock.monotonic() >= self._until:
            return
        _require()
        from .otel_metrics import metrics_data

        now = self.clock.wall()
        families = measures(self._store(), self.settings, now)
        self._post("metrics", metrics_data(families, "holter", identity.host(), now).SerializeToString())

    def _post(self, signal: str, body: bytes) -> None:
        """Raises NotTaken where a later try may help; what is refused for good is logged, and left out."""
        otel = self.settings.otel
        try:
            post(str(otel.endpoint), signal, otel.headers, body)
        except NotTaken as error:
            if not error.permanent:
                raise
            logger.error("{} are left out: {}", signal, error.message)


def _lines(store: Backend, run: Run) -> list[Log]:
    return store.logs(LogQuery(run.id, tree=False, limit=LINES, last=True))


def _is_end(row: Transition) -> bool:
    return row.condition is None and row.to_state in ENDINGS


def _move_on(store: Backend, seq: int) -> None:
    update(store, *CURSOR, lambda held: {**held, "seq": seq} if held["seq"] < seq else None)


def _require() -> None:
    try:
        from . import otel_spans  # noqa: F401 - whether what it needs is there
    except ImportError as error:
        raise HolterError(f"otel.endpoint needs {error.name}", hint="pip install 'holter[otel]'") from None
