"""A run of this process while it lives, and the events that it writes.

Times are written as whole microseconds with an exponent (1795413582123456e-6): a JSON number like any other, and
0.2 us cheaper than a formatted float, of which a step has three.
"""

from __future__ import annotations

import sys
import time
from _thread import get_ident
from itertools import count
from resource import getrusage
from time import perf_counter_ns, process_time, time_ns

from ..backends.clock import new_id, root_of, token
from . import redact, surroundings
from .secrets import clean, quote, scrub
from .tape import LINE_LIMIT, emit, harmless, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .crews import Crew

CHUNK = 32 * 1024  # characters of one log event
MESSAGE_LIMIT = 2**20  # characters of one message; the middle of a longer one is left out and counted
BODY_LIMIT = LINE_LIMIT - 1024


class Tree:
    """A root run's ids: children are `<root>.<n>`, in another process `<root>.<token>-<n>`. `said` is what each start
    event of them says more, as JSON."""

    __slots__ = ("next", "prefix", "root_id", "said")

    def __init__(self, root_id: str, prefix: str) -> None:
        self.root_id = root_id
        self.prefix = prefix
        self.said = ""
        self.next: Callable[[], int | str] = count(
            1
        ).__next__  # atomic: two threads never get the same number


class ActiveRun:
    """A run of this process while it lives: `id`, `root_id`, `parent_id`, `kind`, `name`, `run_name`, `tags`,
    `state`, `attempt` (1..), after its end `error` (as recorded, or None), and `dropped` (log lines left out).
    `seconds` is how long a root run took, once it has ended, else None.
    `thread` is the identity of a root run's thread. `partial` is, by thread, what `print(..., end="")` has said of a
    line that is not complete.
    `inherited`: this is a forked child, and the run is its parent's. `executor` is what the flow said carries its
    tasks, `crew` what it has submitted."""

    # Class attributes, not slots: a step that needs none of these does not pay for setting them.
    run_name: str | None = None
    tags: tuple[str, ...] = ()
    state = "RUNNING"
    attempt = 1
    dropped = 0
    partial: dict[int, str] | None = None
    error: dict[str, Any] | None = None
    seconds: float | None = None
    id: str
    thread: int
    parent_id: str | None
    log_prints = False
    log_records = False
    inherited = False
    executor: Any = None
    crew: Crew | None = None
    _tree: Tree
    _cpu = 0.0
    _progress_at = 0.0

    def __init__(self, kind: str, name: str, parent: ActiveRun | None) -> None:
        self.kind = kind
        self.name = name
        if parent is not None:
            self.parent_id = parent.id
            if parent.log_prints:
                self.log_prints = True
            if parent.log_records:
                self.log_records = True
            self._tree = tree = parent._tree
            self.id = f"{tree.root_id}.{process.prefix or tree.prefix}{tree.next()}"
        else:
            self._become_root()
        self._began = perf_counter_ns()

    def _become_root(self) -> None:
        self.thread = get_ident()
        self.parent_id = outer = process.outer or None
        self._cpu = process_time()
        if outer is None:
            self.id = new_id()
            self._tree = Tree(self.id, "")
        else:
            self._tree = Tree(root_of(outer), f"{token(8)}-")
            self.id = f"{self._tree.root_id}.{self._tree.prefix}{self._tree.next()}"

    @property
    def root_id(self) -> str:
        return self._tree.root_id

    def __repr__(self) -> str:
        return f"<{self.kind} {self.run_name or self.name} {self.state} {self.id}>"

    def _repr_html_(self) -> str:
        """What a notebook shows of the run."""
        from ..backends.cards import card

        return card(self, self.seconds)

    # --- events ---

    @harmless
    def try_again(self, attempt: int) -> None:
        """Attempt number `attempt` begins (1: a run that was PENDING starts)."""
        if self.inherited:
            return
        self.attempt = attempt
        self.state = "RUNNING"
        if attempt == 1:
            self._began = perf_counter_ns()
        emit(f'{{"event":"attempt","run":"{self.id}","at":{time_ns() // 1000}e-6,"attempt":{attempt}')

    @harmless
    def retry(self, error: dict[str, Any] | None, delay: float, reason: str | None = None) -> None:
        """The current attempt failed; the next one begins after `delay` seconds."""
        from json import dumps

        self.state = "RETRYING"
        emit(
            f'{{"event":"retry","run":"{self.id}","at":{time_ns() // 1000}e-6,"attempt":{self.attempt}'
            f',"delay":{delay:.6f}'
            f',"reason":{dumps(reason and clean(reason)[:1000])},"error":{dumps(error)}'
        )

    @harmless
    def end(
        self,
        state: str,
        result: Any = None,
        *,
        error: dict[str, Any] | None = None,
        reason: str | None = None,
        exit_code: int | None = None,
        signal: str | None = None,
        usage: dict[str, Any] | None = None,
    ) -> None:
        """The run's one ending. A second call says nothing: a finished run never changes its ending."""
        if self.id not in process.runs:
            return
        micros = (perf_counter_ns() - self._began) // 1000
        if self.partial:
            for text in tuple(self.partial.values()):
                self.log(text, stream="print")
        if self.dropped:
            self.drop(self.dropped, 0)
        self.state = state
        body = f'{{"event":"end","run":"{self.id}","at":{time_ns() // 1000}e-6,"state":"{state}","seconds":{micros}e-6'
        if result is not None:
            body += f',"result":{redact.whole(result)}'
        if reason is not None:
            body += f',"reason":{quote(clean(reason)[:1000])}'
        if error is not None or exit_code is not None or usage is not None or signal is not None:
            self.error = error
            body += _details(error, exit_code, signal, usage)
        if self._cpu and usage is None:
            body += _usage_since(self._cpu)
        if "." not in self.id:
            self.seconds = micros / 1e6
            body += surroundings.said(self.kind)
        emit(body)
        process.runs.pop(self.id, None)  # last: what interrupts us before must find the run open

    @harmless
    def log(self, text: str, level: str = "INFO", stream: str = "log", at: float | None = None) -> None:
        """Record a message. It is cleaned of secrets; one of more than MESSAGE_LIMIT characters loses its middle."""
        if process.shipper is not None and process.shipper.behind:
            self.dropped += 1
            return
        text = clean(text)
        left_out = len(text) - MESSAGE_LIMIT
        if left_out > 0:
            half = MESSAGE_LIMIT // 2
            text = f"{text[:half]}\n... {left_out} characters left out ...\n{text[-half:]}"
        when = f"{time_ns() // 1000}e-6" if at is None else f"{at:.6f}"
        head = (
            f'{{"event":"log","run":"{self.id}","at":{when},'
            f'"level":{quote(level)},"stream":{quote(stream)},"text":'
        )
        for start in range(0, len(text) or 1, CHUNK):
            quoted = quote(text[start : start + CHUNK])
            if len(quoted) > BODY_LIMIT:  # every character escaped: in four parts it fits
                for part in range(start, min(start + CHUNK, len(text)), CHUNK // 8):
                    emit(head + quote(text[part : min(part + CHUNK // 8, start + CHUNK)]), keep=False)
            else:
                emit(head + quoted, keep=False)
        if left_out > 0:
            self.drop(1, left_out)

    @harmless
    def drop(self, lines: int, size: int) -> None:
        """Record that `lines` log lines, `size` bytes, were left out."""
        emit(f'{{"event":"drop","run":"{self.id}","at":{time_ns() // 1000}e-6,"lines":{lines},"bytes":{size}')

    @harmless
    def progress(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """Say how far the run is. Written at most five times a second, and always when done reaches total."""
        now = time.monotonic()
        if now - self._progress_at < 0.2 and done != total:
            return
        self._progress_at = now
        shown = "null" if text is None else quote(clean(text)[:200])
        emit(
            f'{{"event":"progress","run":"{self.id}","at":{time_ns() // 1000}e-6,"done":{redact.preview(done)}'
            f',"total":{redact.preview(total)},"text":{shown}'
        )

    @harmless
    def artifact(self, key: str, kind: str, data: Any, description: str | None = None) -> None:
        """Attach something to look at. `data` is JSON; what does not fit a line is cut and says so."""
        from json import dumps

        shown = dumps(scrub(data), default=lambda value: clean(str(value)))
        if len(shown) > BODY_LIMIT - 2000:
            shown = dumps({"cut": shown[: BODY_LIMIT // 2], "bytes": len(shown)})
        emit(
            f'{{"event":"artifact","run":"{self.id}","at":{time_ns() // 1000}e-6,"key":{quote(clean(key)[:200])}'
            f',"type":{quote(kind)},"description":{dumps(description and clean(description)[:500])},"data":{shown}'
        )

    @harmless
    def slot(self, limit: str, occupy: int, waited: float, held: float | None = None) -> None:
        """Slots of `limit` were waited for and held, both in seconds."""
        shown = "null" if held is None else f"{held:.6f}"
        emit(
            f'{{"event":"slot","run":"{self.id}","at":{time_ns() // 1000}e-6,"limit":{quote(limit)},"occupy":{occupy}'
            f',"waited":{waited:.6f},"held":{shown}'
        )


def _details(
    error: dict[str, Any] | None, exit_code: int | None, signal: str | None, usage: dict[str, Any] | None
) -> str:
    from json import dumps

    found = {"error": error, "exit_code": exit_code, "signal": signal, "usage": usage}
    return "".join(f',"{key}":{dumps(value)}' for key, value in found.items() if value is not None)


def _usage_since(cpu: float) -> str:
    used = getrusage(0)  # RUSAGE_SELF
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f',"usage":{{"cpu_seconds":{used.ru_utime + used.ru_stime - cpu:.6f},"max_rss_bytes":{peak}}}'
