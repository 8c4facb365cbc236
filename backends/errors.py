"""Every error of Holter, drawn as a tree.

    HolterError
    ├── SettingsError(ValueError)        a setting cannot be used; `path` names it
    ├── UnknownBackend(ValueError)       no store answers to this URL
    ├── ScheduleError(ValueError)        a schedule or duration does not parse
    ├── RunNotFound(LookupError)         no run has this id
    ├── AmbiguousRun(LookupError)        several runs have this prefix
    ├── UnknownLimit(LookupError)        a named limit does not exist where one is required
    ├── SlotTimeout(TimeoutError)        no slot became free in time
    ├── LimitBusy(RuntimeError)          `on_busy="fail"` and no slot was free
    ├── NotPicklable(TypeError)          a call, its result or its error cannot go to another process
    ├── FarError(RuntimeError)           what a task in another process raised, where that cannot be sent itself
    ├── NeedsUnmet(RuntimeError)         a job that this one needs has not completed in time
    ├── SlotReentry(RuntimeError)        the same run asks again for a limit that it holds
    ├── RunTimeout(TimeoutError)         a flow or task ran into its `timeout_seconds`
    │   └── LeaseLost                    a shared limit is no longer held, and its `on_lease_lost` is `cancel`
    ├── PrefectOnly(NotImplementedError) a Prefect-style script asks for what only Prefect's server has
    ├── ChannelError(OSError)            an alert could not be delivered
    └── StorageError(OSError)            a store did not do what was asked
        ├── OffsetMismatch               a batch does not start where the store stands
        ├── Refused                      a collector answered that it will not take this
        │   └── AccessDenied             because of the token
        └── StoreTooNew                  the store was written by a newer Holter

Each carries a `hint`: what to type or change next. `str(error)` is one line that ends in it.
"""

from __future__ import annotations


class HolterError(Exception):
    """Base of all errors that Holter raises on purpose."""

    hint: str = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SettingsError(HolterError, ValueError):
    """A setting cannot be used. `path` is its dotted place, for example `channels.ops`."""

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class UnknownBackend(HolterError, ValueError):
    """No installed backend has the scheme of this URL."""


class ScheduleError(HolterError, ValueError):
    """A cron expression, time zone or duration does not parse."""


class RunNotFound(HolterError, LookupError):
    """No run matches the given id."""


class AmbiguousRun(HolterError, LookupError):
    """More than one run matches the given prefix."""


class UnknownLimit(HolterError, LookupError):
    """A named limit does not exist where one is required."""


class SlotTimeout(HolterError, TimeoutError):
    """No slot of a limit became free within the time that the caller gave."""


class LimitBusy(HolterError, RuntimeError):
    """All slots are taken and the caller chose not to wait."""


class NotPicklable(HolterError, TypeError):
    """A call, its result or its error cannot be sent to another process."""

    hint = (
        "give it plain data and a function at the top level of a module; `pip install cloudpickle` sends local "
        "functions too; or use a ThreadPoolExecutor"
    )


class FarError(HolterError, RuntimeError):
    """A task in another process raised an error that cannot be pickled; `type_name` is its class, the message its
    text. The cause has its traceback."""

    def __init__(self, message: str, *, hint: str = "", type_name: str = "") -> None:
        super().__init__(message, hint=hint)
        self.type_name = type_name


class NeedsUnmet(HolterError, RuntimeError):
    """A job that this one needs has not completed in time; this one was SKIPPED."""

    run_id: str = ""


class SlotReentry(HolterError, RuntimeError):
    """The same run already holds slots of this limit, and waiting for more could never end."""


class RunTimeout(HolterError, TimeoutError):
    """A flow or task ran longer than its `timeout_seconds`. (Python makes the one that is set on a thread by itself,
    without arguments.)"""

    def __init__(self, message: str = "ran longer than timeout_seconds", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


class LeaseLost(RunTimeout):
    """The lease of a shared limit ran out inside its block, and `on_lease_lost: cancel` ends the block."""

    def __init__(self, message: str = "the lease of a shared limit ran out", *, hint: str = "") -> None:
        super().__init__(
            message,
            hint=hint or "look at what was written since; give the token along, so that the late are refused",
        )


class PrefectOnly(HolterError, NotImplementedError):
    """A Prefect-style script asks for what only Prefect's server has; the hint says what to use instead."""


class ChannelError(HolterError, OSError):
    """An alert could not be delivered. `permanent` is true where a retry cannot help, `ambiguous` where the other side
    may have taken it all the same."""

    def __init__(
        self, message: str, *, permanent: bool = False, ambiguous: bool = False, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.permanent = permanent
        self.ambiguous = ambiguous


class StorageError(HolterError, OSError):
    """A store did not do what was asked; trying again later may help, `retry_after` seconds later where it says so."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class RecordDamaged(StorageError):
    """One record cannot be read, now or later; others can."""


class Refused(StorageError):
    """A collector answered that it will not take this, now or later; what belongs to others it may take."""


class AccessDenied(Refused):
    """The token is not known to the collector, or does not allow this."""


class OffsetMismatch(StorageError):
    """A batch does not start at the offset that the store has for its journal; `expected` is that offset."""

    def __init__(self, journal: str, *, expected: int, given: int) -> None:
        super().__init__(f"journal {journal} stands at offset {expected}, the batch starts at {given}")
        self.expected = expected


class StoreTooNew(StorageError):
    """The store's schema is newer than this Holter understands; nothing was changed."""

    hint = "upgrade holter on this machine"
