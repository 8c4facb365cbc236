"""`holter run`: a command as a run, with retries, a time limit, a slot of a limit, and its output kept.

The command's exit code, its output and the signals that it gets are what they are without us; where recording fails,
the command runs all the same. Exit codes: the command's own, 128 + n after signal n, 124 after a time-out, 125 where we
could not even start it, 126 where it cannot be executed, 127 where it is not found.

Not guaranteed: if this process itself is killed with SIGKILL, the command goes on unrecorded and without its time
limit, until it writes to a pipe that nobody reads any more. Its run is CRASHED then: nobody saw how it ended.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import ExitStack
from functools import partial
from json import dumps
from signal import SIGKILL, SIGTERM

from ..backends.clock import SYSTEM
from ..backends.errors import HolterError, NeedsUnmet, ScheduleError, SettingsError, SlotTimeout, UnknownLimit
from . import identity, oom_kills, recorder, secrets
from .active import ActiveRun
from .children import Child
from .endings import Ending
from .envfile import read_env_file
from .knobs import configure, knobs
from .outcome import error_of, judge, retryable
from .output import Keeper, Mirror
from .relay import Relay, Told
from .retries import RetryPolicy
from .tape import PARENT, cwd, harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

OURS, REFUSED, NOT_FOUND = 125, 126, 127
LEVELS = {"stdout": "INFO", "stderr": "WARNING", "holter": "WARNING"}
NAME_LIMIT = 60  # characters of a name that is made from the command line
ARGV_LIMIT = 20_000  # characters of the command line that are recorded
_RETRY_ON = re.compile(r"any|crash|timeout|exit(:[0-9]{1,3})?")
_LIMIT = re.compile(r"([^:]+)(?::([1-9][0-9]{0,5}))?")


class CannotStart(Exception):
    """The command did not even start; `code` is what to exit with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def run_command(
    argv: list[str],
    *,
    name: str | None = None,
    retries: int = 0,
    retry_delay: float = 0.0,
    retry_on: Sequence[str] = ("any",),
    timeout: float | None = None,
    limit: str | None = None,
    on_busy: str = "wait",
    tags: Sequence[str] = (),
    env_file: str | None = None,
    needs: Sequence[str] = (),
    on_unmet: str | None = None,
    needs_wait: float | None = None,
    through: Sequence[str] = (),
) -> int:
    """Run `argv` as a run of kind `command`; return the exit code for this process to end with.

    `name` is the job's name (default: the command and its first arguments). Up to `retries` more attempts follow one
    that `retry_on` (see `parse_retry_on`) names, each after `retry_delay` seconds; each attempt may take `timeout`
    seconds. `limit` (see `parse_limit`) is held for the whole run; while it is taken, `on_busy` says "wait" (PENDING),
    "skip" (SKIPPED, exit code 0) or "fail" (exit code 125). `env_file` names a file of variables for the command only.
    `needs`, `on_unmet` and `needs_wait` as of `flow`, over those of the job's check; refused: SKIPPED, code 125.

    `through` are words before the command that are executed and not recorded, of a program that runs it.

    stdout is recorded line by line with level INFO, stderr with WARNING. This is the last thing that a process does,
    in its main thread: signal handlers are installed, and stay. Raises SettingsError and UnknownLimit for a `limit`
    that cannot be used (the run is recorded as FAILED), and nothing else.
    """
    _fill_standard_streams()
    relay = Relay()
    extra, refused = _read_env_file(env_file)
    given = {"needs": needs, "on_unmet": on_unmet, "wait": needs_wait}
    asked = {
        **knobs().needs.get(name or job_name(argv), {}),
        **{key: each for key, each in given.items() if each},
    }
    pending = limit is not None or "needs" in asked
    run = _start(argv, name, tuple(tags), pending) or ActiveRun("command", name or "command", None)
    mark = recorder._current.set(run)
    try:
        if refused is not None:
            raise refused
        if "needs" in asked:
            relay.interruptible(partial(_meet, asked, run))
        with ExitStack() as slots:
            if limit is not None and not relay.interruptible(partial(_take_slot, slots, limit, on_busy)):
                return _skip(run, limit)
            # Python would keep back what it prints to a pipe, and lose it when the process is killed.
            environ = {"PYTHONUNBUFFERED": "1", **os.environ, **extra, PARENT: run.id}
            return _Attempts([*through, *argv], environ, run, relay, timeout).drive(
                RetryPolicy(retries, retry_delay), retry_on
            )
    except NeedsUnmet as error:
        return _fail(run, OURS, error.message, "SKIPPED")
    except CannotStart as error:
        return _fail(run, error.code, str(error))
    except Told as told:
        ending = judge(-told.number, told=told.number)
        return _end(run, ending, None)
    except (UnknownLimit, SettingsError, ScheduleError) as error:
        run.end("FAILED", reason=str(error))
        raise
    finally:
        recorder._current.reset(mark)


def parse_retry_on(text: str) -> tuple[str, ...]:
    """What to retry after, from a list with commas: `crash` (died by a signal), `exit` (any exit code but 0), `exit:N`,
    `timeout`, `any` of these. Raises SettingsError."""
    words = tuple(word.strip() for word in text.split(","))
    for word in words:
        if not _RETRY_ON.fullmatch(word):
            hint = "a list of crash, exit, exit:N, timeout, any"
            raise SettingsError(f"cannot retry on {word!r}", path="--retry-on", hint=hint)
    return words


def parse_limit(text: str) -> tuple[str, int | None]:
    """`NAME` or `NAME:SLOTS` as name and slots (None: as in the settings). Raises SettingsError."""
    found = _LIMIT.fullmatch(text.strip())
    if found is None:
        raise SettingsError(
            f"{text!r} is no limit", path="--limit", hint="write NAME or NAME:SLOTS, as in database:3"
        )
    return found[1], int(found[2]) if found[2] else None


def job_name(argv: list[str]) -> str:
    """The command's basename and its first two arguments, paths by their last part, secrets blanked."""
    words = secrets.command_line(argv[:6])[:3]
    shown = " ".join(" ".join(word.rsplit("/", 1)[-1] if " " not in word else word for word in words).split())
    return shown if len(shown) <= NAME_LIMIT else f"{shown[: NAME_LIMIT - 3]}..."


# --- the attempts --------------------------------------------------------------------------------------------


class _Attempts:
    """One command, tried as often as the policy says."""

    def __init__(
        self, argv: list[str], environ: dict[str, str], run: ActiveRun, relay: Relay, timeout: float | None
    ) -> None:
        self._argv, self._environ = argv, environ
        self._run, self._relay = run, relay
        self._timeout = timeout or None
        self._mirror = Mirror({"stdout": 1, "stderr": 2})
        self._usage = {"cpu_seconds": 0.0, "max_rss_bytes": 0}

    def drive(self, policy: RetryPolicy, retry_on: Sequence[str]) -> int:
        """Try until an attempt stands; record the ending; return the exit code."""
        run, relay = self._run, self._relay
        if run.state == "PENDING":
            run.try_again(1)
        while True:
            before = oom_kills.around_us()
            child, keeper = self._listen()
            timeout = self._timeout if child.timed_out else None
            starved = child.code == -SIGKILL and oom_kills.around_us() > before
            ending = judge(
                child.code or 0, told=relay.told, timeout=timeout, complaint=keeper.complaint, starved=starved
            )
            again = relay.told is None and retryable(ending, retry_on)
            delay = policy.delay_after(run.attempt, None) if again else None
            relay.watch(None)
            # Never two attempts at a time.
            self._add_usage(child.reap(kill=child.timed_out or delay is not None))
            if delay is None:
                return _end(run, ending, keeper.complaint, self._usage)
            run.retry(error_of(ending, keeper.complaint), delay, ending.reason)
            relay.interruptible(partial(SYSTEM.sleep, delay))
            run.try_again(run.attempt + 1)

    def _listen(self) -> tuple[Child, Keeper]:
        keeper = Keeper(self._log)

        def heard(stream: str, data: bytes) -> None:
            self._mirror.write(stream, data)
            _keep(keeper, stream, data)

        child = self._spawn()
        self._relay.watch(child)
        if self._timeout is not None:
            child.limit(self._timeout)
        child.listen(heard, self._relay.wake)
        _finish(keeper, self._run)
        return child, keeper

    def _spawn(self) -> Child:
        command = self._argv[0]
        try:
            return Child(self._argv, self._environ, adopt=self._timeout is not None)
        except FileNotFoundError:
            raise CannotStart(NOT_FOUND, f"command not found: {command}") from None
        except OSError as error:
            raise CannotStart(REFUSED, f"cannot execute {command}: {error.strerror}") from None

    def _log(self, stream: str, text: str, at: float) -> None:
        self._run.log(text, LEVELS[stream], stream, at)

    def _add_usage(self, usage: dict[str, Any]) -> None:
        self._usage["cpu_seconds"] = round(self._usage["cpu_seconds"] + usage["cpu_seconds"], 6)
        self._usage["max_rss_bytes"] = max(self._usage["max_rss_bytes"], usage["max_rss_bytes"])


@harmless
def _keep(keeper: Keeper, stream: str, data: bytes) -> None:
    keeper.feed(stream, data)


@harmless
def _finish(keeper: Keeper, run: ActiveRun) -> None:
    keeper.finish()
    if keeper.lines_left_out:
        run.drop(keeper.lines_left_out, keeper.bytes_left_out)


# --- before and after ----------------------------------------------------------------------------------------


def _fill_standard_streams() -> None:
    """Where 0, 1 or 2 was closed by our caller, the next file to be opened, a journal say, would become our stdout."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _read_env_file(path: str | None) -> tuple[dict[str, str], CannotStart | None]:
    """The variables, and why they cannot be had. Before the run starts: their secrets must not be in its record."""
    if path is None:
        return {}, None
    try:
        found = read_env_file(path)
    except SettingsError as error:
        return {}, CannotStart(OURS, str(error))
    secrets.learn(found)
    return found, None


@harmless
def _start(argv: list[str], name: str | None, tags: tuple[str, ...], pending: bool) -> ActiveRun | None:
    parent = recorder.current()
    facts = f',"argv":{dumps(_within(secrets.command_line(argv)))},"code":{dumps(_code_of(argv))}'
    if (folder := cwd()) is not None:
        facts += f',"cwd":{dumps(folder)}'
    return recorder.start(
        "command", name or job_name(argv), parent=parent, facts=facts, tags=tags, pending=pending
    )


def _within(words: list[str]) -> list[str]:
    """The first words that together stay within ARGV_LIMIT."""
    kept: list[str] = []
    room = ARGV_LIMIT
    for word in words:
        room -= len(word)
        if room < 0:
            return [*kept, "..."]
        kept.append(word)
    return kept


def _code_of(argv: list[str]) -> dict[str, Any]:
    """The script that the command runs: the first of its first words that names a file, and not its interpreter."""
    files = (word for word in (*argv[1:4], argv[0]) if "\0" not in word and os.path.isfile(word))
    return identity.code_of(next(files, None)) or {"file": None, "git_commit": None}


def _meet(asked: dict[str, Any], run: ActiveRun) -> None:
    from .needs import Needs, meet

    for pause in meet(Needs(**asked), run):
        SYSTEM.sleep(pause)


def _take_slot(slots: ExitStack, limit: str, on_busy: str) -> bool:
    """Enter the limit, waiting only if `on_busy` says so; False where it says to skip. Raises CannotStart."""
    from .concurrency import concurrency

    name, count = parse_limit(limit)
    if count is not None:
        configure(limits={**knobs().limits, name: {**knobs().limits.get(name, {}), "slots": count}})
    try:
        wait = None if on_busy == "wait" else 0
        end = partial(os.kill, os.getpid(), SIGTERM)  # passed on to the command, as any
        slots.enter_context(concurrency(name, timeout_seconds=wait, strict=True, on_lost=end))
    except SlotTimeout:
        if on_busy == "skip":
            return False
        raise CannotStart(OURS, _busy(name)) from None
    except (UnknownLimit, SettingsError):
        raise
    except (
        HolterError
    ) as error:  # no slot files to be had: whoever asks for exclusion must not run without it
        raise CannotStart(OURS, str(error)) from None
    return True


def _busy(limit: str) -> str:
    return f"limit {parse_limit(limit)[0]} is busy"


def _skip(run: ActiveRun, limit: str) -> int:
    run.end("SKIPPED", reason=_busy(limit), exit_code=0)
    return 0


def _fail(run: ActiveRun, code: int, reason: str, state: str = "FAILED") -> int:
    """Our own failure: say it, record it, exit with its code."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"holter: {reason}\n")
        except (OSError, ValueError):  # closed: the record still has it
            pass
    run.end(state, reason=reason, exit_code=code)
    return code


def _end(run: ActiveRun, ending: Ending, complaint: str | None, usage: dict[str, Any] | None = None) -> int:
    run.end(
        ending.state,
        error=error_of(ending, complaint or ""),
        reason=ending.reason,
        exit_code=ending.exit_code,
        signal=ending.signal,
        usage=usage,
    )
    return ending.exit_code or 0
