"""What happens around every call of a decorated function, whatever its shape: decided and recorded here, in small steps
that the drivers obey. Result, exception object and traceback stay the user's own.
"""

from __future__ import annotations

from ..backends.errors import LimitBusy, NeedsUnmet, RunTimeout
from . import recorder
from .active import ActiveRun
from .capture import prints
from .endings import ending_of
from .recorder import _current, _tags, error_of, extras_of, record_start
from .spec import Spec
from .tape import harmless
from .timeouts import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Args = tuple[Any, ...]
    Kwargs = dict[str, Any]


class Skipped(Exception):
    """All slots were taken and the flow said `on_busy="skip"`."""


def begin(spec: Spec, args: Args, kwargs: Kwargs, outer: ActiveRun | None) -> ActiveRun:
    """Record the start, inside the run `outer`. Where recording itself fails there still is a run, so that retries and
    limits work."""
    parent = outer if outer is not None or spec.kind == "flow" else recorder.sole_root()
    run = ActiveRun(spec.kind, spec.name, parent)
    try:
        _start(spec, run, args, kwargs)
    except BaseException as error:  # a Ctrl-C, or the time of a run around this one is up
        end_badly(spec, run, error)
        raise
    if not spec.simple:
        if spec.log_prints is not None:
            run.log_prints = spec.log_prints
        if spec.log_records is not None:
            run.log_records = spec.log_records
    return run


@harmless
def _start(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> None:
    # First: from here on it is known which of the values are secret.
    parameters = spec.parameters(args, kwargs)
    if not spec.settled:
        spec.settle()
    extras = "" if spec.plain and spec.needs is None and not _tags.get() else _extras(spec, run, args, kwargs)
    record_start(run, spec.head, parameters, extras)


def _extras(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> str:
    name = None if spec.run_name is None else _run_name(spec, args, kwargs)
    return extras_of(run, spec.tags, name, pending=spec.limit is not None or spec.needs is not None)


@harmless
def _run_name(spec: Spec, args: Args, kwargs: Kwargs) -> str | None:
    return spec.name_of_run(args, kwargs)


def leave(mark: Any) -> None:
    """Take back what `_current.set` did, for functions that may be closed from another context (by the garbage
    collection, by an event loop that ends): there the run was never current."""
    try:
        if mark is not None:
            _current.reset(mark)
    except ValueError:
        return


def running(spec: Spec, run: ActiveRun) -> None:
    """The first attempt begins."""
    if run.state == "PENDING":
        run.try_again(1)
    call_hooks(spec, "on_running", run)


def listen(run: ActiveRun, stack: Any) -> None:
    """Keep what the run prints and logs, for as long as `stack` is open."""
    if run.log_prints:
        stack.enter_context(prints())
    if run.log_records:
        from .logcapture import records

        stack.enter_context(records())


def employ(spec: Spec, run: ActiveRun, stack: Any) -> None:
    """What the run submits is carried by its executor, for as long as `stack` is open."""
    from .crews import employ

    employ(run, spec.executor, stack)


def again(spec: Spec, run: ActiveRun, error: BaseException) -> float | None:
    """After a failed attempt: the seconds to wait for the next one, or None if there is none."""
    if isinstance(error, RunTimeout) and not hasattr(error, "run_id"):
        return None  # the time of a run around this one is up
    if run.inherited:
        return None  # a forked child fails by itself: it must not do its parent's work once more
    delay = _delay_after(spec, run, error)
    if delay is not None:
        _retry(run, error, delay)
    return delay


@harmless
def _delay_after(spec: Spec, run: ActiveRun, error: BaseException) -> float | None:
    return spec.policy.delay_after(run.attempt, error)


@harmless
def _retry(run: ActiveRun, error: BaseException, delay: float) -> None:
    run.retry(error_of(error), delay, ending_of(error).reason)


def end_well(spec: Spec, run: ActiveRun, result: Any) -> None:
    run.end("COMPLETED", result)
    call_hooks(spec, "on_completion", run)


def end_badly(spec: Spec, run: ActiveRun, error: BaseException) -> None:
    """Record the ending that an exception means."""
    if isinstance(error, Skipped):
        return run.end("SKIPPED", reason=str(error))
    if isinstance(error, NeedsUnmet) and error.run_id == run.id:
        return run.end("SKIPPED", reason=error.message)
    _end(run, error)
    # Says nothing, unless the exception could not be described.
    run.end("FAILED", reason=type(error).__name__)
    hook = {"COMPLETED": "on_completion", "CANCELLED": "on_cancellation"}.get(run.state, "on_failure")
    call_hooks(spec, hook, run)


@harmless
def _end(run: ActiveRun, error: BaseException) -> None:
    ending = ending_of(error)
    if isinstance(error, RunTimeout) and getattr(error, "run_id", None) == run.id:
        run.end("TIMED_OUT", error=error_of(error), reason=error.message)
    elif ending.state == "COMPLETED":
        run.end("COMPLETED", reason=ending.reason, exit_code=0)
    else:
        details = error_of(error) if ending.state == "FAILED" and ending.exit_code is None else None
        run.end(
            ending.state,
            error=details,
            reason=ending.reason,
            exit_code=ending.exit_code,
            signal=ending.signal,
        )


def call_hooks(spec: Spec, name: str, run: ActiveRun) -> None:
    for hook in spec.hooks[name]:
        if not run.inherited:
            _hook(hook, run)


@harmless
def _hook(hook: Callable[[ActiveRun], object], run: ActiveRun) -> None:
    hook(run)


def claim(error: RunTimeout, deadline: Deadline, run: ActiveRun) -> None:
    """Mark a time-out that this run's own deadline raised: for the runs around it it is a plain failure."""
    if deadline.fired and not hasattr(error, "run_id"):
        error.run_id = run.id  # type: ignore[attr-defined]
        error.message = deadline.message
        error.args = (deadline.message,)


def busy(spec: Spec) -> Exception:
    """What a flow with `on_busy` other than wait does when no slot is free."""
    message = f"all slots of limit {spec.limit!r} are taken"
    return Skipped(message) if spec.on_busy == "skip" else LimitBusy(message, hint="see `holter slots`")
