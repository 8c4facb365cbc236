"""What readers get: runs, logs, transitions, per-job figures; `queries` has the questions that ask for them.

All times are Unix seconds (UTC); `to_json` turns them into RFC 3339 text. The classes are frozen: a record is
what was, and only a new event changes it.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from .clock import rfc3339
from .shapes import ABOUT, CAUSE, CHECK, CODE, ERROR, PROGRESS, USAGE, fitting
from .states import ENDINGS, FAILURES

Json = dict[str, Any]


@frozen
class Run:
    """One execution of a flow, a task or a command.

    `id` .. `root_id` say what it is; `state` and `conditions` how it fares; `attempt` is the current try (1..),
    `attempts` lists each with `attempt, started_at, ended_at, error, delay_seconds`. `parameters` and `result`
    are bounded, redacted previews. `error` has `type, message, traceback, fingerprint`; `reason` says in words
    why the state is what it is. `host` .. `cwd` come from the journal of the process that ran it; for a command,
    `code`, `argv` and `cwd` are the command's own. `about` is what a root run had around it when it ended: `packages`
    (versions by name) and `environ` (names of variables).
    `cause` says what started it, where Holter did: `rerun_of` (run id), `by` (user), `alert` (dedupe key).
    `check` holds the expectations that the decorator declared, `slots` what was held for how long (seconds),
    `log_lines` how many lines were recorded and `dropped` how many lines and bytes were left out.
    """

    id: str
    kind: str
    name: str
    state: str
    root_id: str
    run_name: str | None = None
    project: str = "default"
    conditions: tuple[str, ...] = ()
    parent_id: str | None = None
    attempt: int = 1
    attempts: tuple[Json, ...] = ()
    parameters: Json = field(factory=dict)
    result: Any = None
    tags: tuple[str, ...] = ()
    error: Json | None = None
    reason: str | None = None
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    duration_seconds: float | None = None
    host: str | None = None
    pid: int | None = None
    user: str | None = None
    code: Json | None = None
    argv: tuple[str, ...] = ()
    cwd: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    usage: Json | None = None
    about: Json | None = None
    progress: Json | None = None
    artifacts: tuple[Json, ...] = ()
    check: Json | None = None
    cause: Json | None = None
    slots: tuple[Json, ...] = ()
    log_lines: int = 0
    dropped: Json | None = None
    journal: str | None = None
    active_at: float = 0.0

    @classmethod
    def from_doc(cls, doc: Json, header: Json) -> Run:
        """From a settled document of the fold and the header of the journal that it came from."""
        end = doc.get("end", {})
        tries = _tries(doc, end)
        artifacts = sorted(doc.get("artifacts", {}).values(), key=lambda item: (item["at"], str(item["key"])))
        return cls(
            id=doc["id"],
            kind=doc["kind"],
            name=doc["name"],
            state=doc["state"],
            root_id=doc["root_id"],
            run_name=doc.get("run_name"),
            project=doc.get("project") or header.get("project") or "default",
            conditions=tuple(doc["conditions"]),
            parent_id=doc.get("parent_id"),
            attempt=tries[-1]["attempt"] if tries else 1,
            attempts=tuple(tries),
            parameters=doc.get("parameters") or {},
            result=end.get("result"),
            tags=tuple(doc.get("tags") or ()),
            error=fitting(end.get("error"), ERROR),
            reason=doc.get("reason"),
            created_at=doc.get("created_at", 0.0),
            started_at=doc.get("started_at"),
            ended_at=doc.get("ended_at"),
            duration_seconds=doc.get("duration_seconds"),
            host=header.get("host"),
            pid=header.get("pid"),
            user=header.get("user"),
            code=fitting(doc.get("code") or header.get("code"), CODE),
            argv=tuple(doc.get("argv") or header.get("argv") or ()),
            cwd=doc.get("cwd") or header.get("cwd"),
            exit_code=end.get("exit_code"),
            signal=end.get("signal"),
            usage=fitting(end.get("usage"), USAGE),
            about=fitting(end.get("about"), ABOUT),
            progress=_progress(doc.get("progress")),
            artifacts=tuple(artifacts),
            check=fitting(doc.get("check"), CHECK),
            cause=fitting(doc.get("cause"), CAUSE),
            slots=tuple(doc.get("slots") or ()),
            log_lines=doc.get("log_lines", 0),
            dropped=doc.get("dropped"),
            journal=doc.get("journal"),
            active_at=doc.get("active_at", 0.0),
        )

    @property
    def ended(self) -> bool:
        return self.state in ENDINGS

    @property
    def attempt_started_at(self) -> float | None:
        """When the present attempt began (Unix seconds); None where nothing was recorded of that."""
        began: float | None = self.attempts[-1]["started_at"] if self.attempts else None
        return began

    @property
    def well(self) -> bool:
        """True where nobody has to look: completed, skipped or cancelled, or live without a condition."""
        return self.state not in FAILURES and not self.conditions

    def _repr_html_(self) -> str:
        """What a notebook shows of the run."""
        from .cards import card

        return card(self, self.duration_seconds)

    def to_json(self) -> Json:
        """The run as the CLI prints it; keys as in the documentation, times as RFC 3339."""
        out = {key: getattr(self, key) for key in _RUN_KEYS}
        for key in ("created_at", "started_at", "ended_at"):
            out[key] = rfc3339(out[key])
        for key in ("conditions", "tags", "argv"):
            out[key] = list(out[key])
        for key in ("attempts", "artifacts", "slots"):
            out[key] = [_times_as_text(item) for item in out[key]]
        out["progress"] = _times_as_text(self.progress) if self.progress else None
        return out


_RUN_KEYS = (
    "id kind name run_name project state conditions parent_id root_id attempt attempts parameters result tags "
    "error reason created_at started_at ended_at duration_seconds host pid user code argv cwd exit_code signal "
    "usage about progress artifacts cause slots log_lines dropped"
).split()


def _tries(doc: Json, end: Json) -> list[Json]:
    """The attempts in order; a run that was never tried again has one, whose times are its own."""
    tries = {int(number): entry for number, entry in doc.get("tries", {}).items()}
    if doc.get("started_at") is not None:
        tries.setdefault(1, {}).setdefault("started_at", doc["started_at"])
    out = [
        {
            "attempt": number,
            "started_at": entry.get("started_at"),
            "ended_at": entry.get("ended_at"),
            "error": fitting(entry.get("error"), ERROR),
            "reason": entry.get("reason"),
            "delay_seconds": entry.get("delay_seconds"),
        }
        for number, entry in sorted(tries.items())
    ]
    if out and out[-1]["ended_at"] is None and doc.get("ended_at") is not None:
        out[-1].update(
            ended_at=doc["ended_at"], error=fitting(end.get("error"), ERROR), reason=doc.get("reason")
        )
    return out


def _progress(value: Any) -> Json | None:
    """With all its members, whatever is known."""
    said = fitting(value, PROGRESS)
    return said and {"done": None, "total": None, "text": None, **said}


def _times_as_text(item: Json) -> Json:
    return {
        key: rfc3339(value) if key == "at" or key.endswith("_at") else value for key, value in item.items()
    }


@frozen
class Log:
    """One recorded line. `seq` grows in the order in which the store received lines; `at` is the writer's clock."""

    seq: int
    run_id: str
    at: float
    level: str
    stream: str
    text: str

    def to_json(self) -> Json:
        return {
            "run_id": self.run_id,
            "at": rfc3339(self.at),
            "level": self.level,
            "stream": self.stream,
            "text": self.text,
        }


@frozen
class Transition:
    """A run changed its state (`from_state` to `to_state`), or gained or lost a condition (`+stalled`)."""

    seq: int
    run_id: str
    at: float
    from_state: str | None
    to_state: str
    condition: str | None = None
    reason: str | None = None


@frozen
class Process:
    """One journal's process as the store knows it. `header` is what it said of itself when it opened the journal,
    `offset` how many bytes the store has, `received_at` when the store last heard of it (the store's clock). `moved_to`
    is the journal in which it went on. `samples` are what it used, at most 60 moments of its life: `at`, `rss_bytes`
    (resident memory, None where unknown), `cpu_seconds` (so far)."""

    journal: str
    offset: int
    header: Json
    beat_at: float | None
    beats: int
    received_at: float
    closed_at: float | None
    damaged: int
    samples: tuple[Json, ...] = ()
    moved_to: str | None = None


@frozen
class JobSummary:
    """Figures of one job over the runs that a query selected; durations in seconds over completed runs."""

    project: str
    name: str
    kind: str
    runs: int
    by_state: dict[str, int]
    duration_p50_seconds: float | None
    duration_p95_seconds: float | None
    last: Json


@frozen
class JobRuns:
    """The newest runs of one job, newest first, each as `id, state, conditions, created_at, duration_seconds`."""

    project: str
    name: str
    kind: str
    runs: tuple[Json, ...]


@frozen
class Bucket:
    """How many runs were created in a span of time that begins at `at` (Unix seconds), by state."""

    at: float
    by_state: dict[str, int]


@frozen
class Pruned:
    """How many were removed."""

    runs: int = 0
    logs: int = 0


@frozen
class Document:
    """A value of the Registry and the version that `put` and `delete` have to name to change it."""

    value: Json
    version: int


Listing = list[tuple[str, Document]]  # inside a class that has a method `list`, that name means the method
