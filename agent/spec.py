"""What a decorator was told: one `Spec` for each decorated function, everything decided once at decoration.

Whatever cannot work is refused here, with the line of the decorator in the traceback, and never ignored later.
"""

from __future__ import annotations

from . import secrets
from .callables import innermost, is_plain_function, name_of, parameters_of, shape_of
from .knobs import complain, knobs
from .recorder import head_of
from .redact import pair, preview
from .retries import LONGEST, RetryPolicy
from .secrets import hide, is_secret, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor
    from typing import Any, TypedDict

    from .active import ActiveRun
    from .needs import Needs
    from .retries import Delays

    Hook = Callable[[ActiveRun], object]

    class Options(TypedDict, total=False):
        """The keywords of `flow` and `task`; `flow` documents them."""

        name: str | None
        description: str | None
        version: str | None
        tags: Sequence[str] | set[str]
        retries: int
        retry_delay_seconds: Delays | None
        retry_jitter_factor: float | None
        retry_condition_fn: Callable[[BaseException], bool] | None
        timeout_seconds: float | None
        log_prints: bool | None
        log_records: bool | None
        flow_run_name: str | Callable[[], str] | None
        task_run_name: str | Callable[[], str] | None
        on_running: Sequence[Hook]
        on_completion: Sequence[Hook]
        on_failure: Sequence[Hook]
        on_cancellation: Sequence[Hook]
        schedule: str | None
        timezone: str | None
        grace: str | float | None
        max_duration: str | float | None
        on_overdue: str
        min_duration: str | float | None
        stall_after: str | float | None
        finish_by: str | None
        max_runs_per: str | None
        max_times_median: float | None
        fresh_within: str | float | None
        limit: str | None
        on_busy: str
        needs: str | Sequence[str] | None
        on_unmet: str
        needs_wait: str | float | None
        executor: Executor | Callable[[], Executor] | None


PARAMETERS_LIMIT = 24_000  # characters of all parameters of a call; what is beyond is left out
_HOOKS = ("on_running", "on_completion", "on_failure", "on_cancellation")
_DURATIONS = ("grace", "max_duration", "min_duration", "stall_after", "fresh_within")
_BOUNDS = ("finish_by", "max_runs_per", "max_times_median")
_ON_OVERDUE = ("alert", "kill")
_KNOWN = frozenset(
    "name description version tags retries retry_delay_seconds retry_jitter_factor retry_condition_fn timeout_seconds "
    "on_overdue log_prints log_records flow_run_name task_run_name schedule timezone limit on_busy "
    "needs on_unmet needs_wait executor".split()
).union(_HOOKS, _DURATIONS, _BOUNDS)


class Spec:
    """`shape` is how the function runs: `plain`, `coroutine`, `generator` or `async generator`. `head` is the constant
    part of the start event. `simple` is true where an attempt is nothing but the call, `plain` where
    the start event has no fields of its own."""

    __slots__ = (
        "executor",
        "fn",
        "head",
        "hooks",
        "kind",
        "limit",
        "log_prints",
        "log_records",
        "name",
        "names",
        "needs",
        "on_busy",
        "options",
        "policy",
        "run_name",
        "settled",
        "shape",
        "plain",
        "simple",
        "tags",
        "timeout",
        "_defaults",
        "_known",
        "_rest",
        "_single",
    )

    def __init__(self, kind: str, fn: Callable[..., Any], options: Options) -> None:
        _refuse_unknown(kind, options)
        self.kind = kind
        self.fn = fn
        self.options = options
        inner = innermost(fn)
        self.name: str = str(options.get("name") or name_of(fn))
        self.tags = tuple(sorted(set(map(str, _listed(options.get("tags"), "tags", "texts")))))
        self.policy = RetryPolicy(
            options.get("retries") or 0,
            options.get("retry_delay_seconds"),
            options.get("retry_jitter_factor"),
            options.get("retry_condition_fn"),
        )
        self.timeout = _positive(options.get("timeout_seconds"), "timeout_seconds")
        self.log_prints = options.get("log_prints")
        self.log_records = options.get("log_records")
        given: dict[str, Any] = dict(options)
        self.run_name: str | Callable[[], str] | None = given.get(f"{kind}_run_name")
        self.hooks: dict[str, tuple[Hook, ...]] = {
            name: _listed(given.get(name), name, "functions") for name in _HOOKS
        }
        self.limit = options.get("limit")
        self.on_busy = options.get("on_busy", "wait")
        self.shape = shape_of(inner)
        self.needs = _needs(options)
        self.executor = options.get("executor")
        self.settled = kind == "task"  # else the settings may name needs of the job: the first call asks them
        self._refuse_what_cannot_work()
        self.head = head_of(kind, self.name) + self._facts()
        self.names, self._defaults, self._rest = parameters_of(fn)
        self._known: list[tuple[str, str]] | None = None
        self._single = ""
        self.simple = not (
            self.policy.retries
            or self.timeout
            or self.log_prints is not None
            or self.log_records is not None
            or self.limit
            or self.executor is not None
            or any(self.hooks.values())
        )
        self.plain = not (self.tags or self.run_name or self.limit)

    def _refuse_what_cannot_work(self) -> None:
        if self.on_busy not in ("wait", "skip", "fail"):
            raise ValueError(f'on_busy is "wait", "skip" or "fail", not {self.on_busy!r}')
        if self.options.get("on_overdue", "alert") not in _ON_OVERDUE:
            raise ValueError(f'on_overdue is "alert" or "kill", not {self.options.get("on_overdue")!r}')
        whole = self.policy.retries or self.timeout or self.limit or self.needs or self.executor is not None
        if "generator" in self.shape and whole:
            raise ValueError(
                f"{self.name} is a generator: what it yielded cannot be taken back, so retries, timeout_seconds, "
                "limit, needs and executor do not work on it (put the work into a task that it calls)"
            )
        if self.executor is not None and not (hasattr(self.executor, "submit") or callable(self.executor)):
            raise TypeError(
                f"executor is a concurrent.futures.Executor or a function that makes one, not {self.executor!r}"
            )
        condition = self.policy.condition
        if condition is not None and not is_plain_function(condition):
            raise TypeError(
                f"retry_condition_fn is a plain function that takes the exception, not {condition!r}"
            )
        for hooks in self.hooks.values():
            for hook in hooks:
                if not is_plain_function(hook):
                    raise TypeError(f"a hook is a plain function that takes the run, not {hook!r}")

    def settle(self) -> None:
        """At the first call: needs that the settings name for the job win over the decorator's."""
        self.settled = True
        configured = knobs().needs.get(self.name)
        if configured and "generator" in self.shape:
            complain(f"{self.name} is a generator: the needs of its check do not work on it")
        elif configured:
            self.needs = _needs(self.options, configured)

    def _facts(self) -> str:
        out = ""
        if version := self.options.get("version"):
            out += f',"version":{quote(str(version))}'
        check = self._check()
        if check:
            out += f',"check":{preview(check)}'
        return out

    def _check(self) -> dict[str, Any]:
        """The expectations, durations in seconds. They are judged by the watchdog, never by the job itself."""
        given: dict[str, Any] = {key: value for key, value in self.options.items() if value is not None}
        check: dict[str, Any] = {
            key: given[key]
            for key in ("schedule", "timezone", "timeout_seconds", "on_overdue")
            if key in given
        }
        if self.needs is not None:
            check.update((key, given[key]) for key in ("needs", "on_unmet") if key in given)
        check.update((key, _bound(key, given[key])) for key in _BOUNDS if key in given)
        durations = [key for key in _DURATIONS if key in given]
        if durations or "schedule" in given:
            from ..backends.schedule import check_syntax, parse_duration

            check.update((key, parse_duration(given[key])) for key in durations)
            if "schedule" in given:
                check_syntax(given["schedule"])
        return check

    # --- parameters ---

    def parameters(self, args: tuple[Any, ...], kwargs: dict[str, Any], again: bool = False) -> str:
        """The call's parameters, defaults included, as JSON text; "" where there are none."""
        if not kwargs and not self._defaults:  # the common cases, at half the price
            if not args:
                return ""
            if len(args) == 1 and self._single:
                return f"{{{self._single}{preview(args[0])}}}"
        known = self._known if self._known is not None else self._get_to_know()
        before = secrets.taught
        shown = [
            prefix + (hide(secret, value) if secret else preview(value))
            for (prefix, secret), value in zip(known, args)
        ]
        if self._defaults:
            given = self.names[: len(args)]
            shown += [pair(k, v) for k, v in self._defaults.items() if k not in given and k not in kwargs]
        if kwargs:
            shown += [pair(name, value) for name, value in kwargs.items()]
        if len(args) > len(known):
            shown.append(pair(self._rest, args[len(known) :]))
        # A value that turned out to be secret may be a part of those before it.
        if secrets.taught != before and not again:
            return self.parameters(args, kwargs, again=True)
        if self.names and self.names[0] in ("self", "cls") and args:
            del shown[0]
        text = ",".join(shown)
        return f"{{{text if len(text) < PARAMETERS_LIMIT else _cut(shown)}}}" if shown else ""

    def _get_to_know(self) -> list[tuple[str, str]]:
        """Each parameter's key in JSON, and its name if it is a secret one. This waits for the first call: settings say
        what is secret, and `configure` may come after the decorator."""
        secrets.use_patterns(knobs().redact)
        self._known = known = [(f"{quote(name)}:", name if is_secret(name) else "") for name in self.names]
        if len(known) == 1 and not known[0][1] and self.names[0] not in ("self", "cls"):
            self._single = known[0][0]
        return known

    def name_of_run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """`flow_run_name` / `task_run_name` for this call."""
        if self.run_name is None:
            return None
        if callable(self.run_name):
            return str(self.run_name())
        values = {**self._defaults, **dict(zip(self.names, args)), **kwargs}
        return self.run_name.format(**{k: secrets.BLANK if is_secret(k) else v for k, v in values.items()})


def _needs(options: Options, configured: dict[str, Any] | None = None) -> Needs | None:
    given: dict[str, Any] = {
        "needs": options.get("needs"),
        "on_unmet": options.get("on_unmet"),
        "wait": options.get("needs_wait"),
    }
    given |= configured or {}
    if not given["needs"]:
        return None
    from .needs import Needs

    return Needs(**given)


def _bound(name: str, value: Any) -> Any:
    """An expectation that is no plain duration. Raises ScheduleError or ValueError for what cannot be judged."""
    if name == "max_times_median":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 < value <= 1000:
            raise ValueError(f"max_times_median is a number above 1, not {value!r}")
        return value
    from ..backends.schedule import parse_deadline, parse_rate

    if name == "finish_by":
        return parse_deadline(value)
    parse_rate(value)
    return value


def _positive(value: float | None, name: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 < value <= LONGEST:
        raise ValueError(f"{name} is a positive number of seconds (None: no limit), not {value!r}")
    return float(value)


def _listed(value: Any, name: str, kind: str) -> tuple[Any, ...]:
    """What is a list of something; one by itself is a slip, and a text would be taken for its letters."""
    if isinstance(value, str | bytes) or callable(value):
        raise TypeError(f"{name} is a list of {kind}: write {name}=[...] around {value!r}")
    return tuple(value or ())


def _refuse_unknown(kind: str, options: Options) -> None:
    for name in options:
        other = "task_run_name" if kind == "flow" else "flow_run_name"
        if name == "executor" and kind == "task":
            raise TypeError("executor is an option of flow(): it carries all that the flow submits")
        if name not in _KNOWN or name == other:
            from difflib import get_close_matches

            near = get_close_matches(name, sorted(_KNOWN - {other}), n=1)
            raise TypeError(
                f"{kind}() has no option {name!r}" + (f" (did you mean {near[0]}?)" if near else "")
            )


def _cut(shown: list[str]) -> str:
    """As many parameters as fit, and a word on the rest."""
    kept: list[str] = []
    for text in shown:
        if sum(map(len, kept)) + len(text) < PARAMETERS_LIMIT:
            kept.append(text)
    return ",".join([*kept, f'"...":"{len(shown) - len(kept)} more, too large"'])
