"""Prefect's exceptions that a script may catch. The base is Prefect's own name; HolterError stays ours."""

from __future__ import annotations

from ...backends.errors import RunTimeout


class PrefectException(Exception):
    """Base of those below."""


class MissingContextError(PrefectException, RuntimeError):
    """Something that needs a run was called outside of one."""


class MissingResult(PrefectException):
    """A state has no result that could be had."""


class UnfinishedRun(PrefectException):
    """The result of a run was asked for that has not ended."""


class FailedRun(PrefectException):
    """A run was declared to have failed."""


class CrashedRun(PrefectException):
    """A run crashed."""


class CancelledRun(PrefectException):
    """A run was cancelled."""


class PausedRun(PrefectException):
    """A run is paused."""


class UpstreamTaskError(PrefectException):
    """A task that this one waits for did not complete."""


class ParameterTypeError(PrefectException):
    """A parameter does not have the type that the flow's signature says."""


class ParameterBindError(TypeError, PrefectException):
    """The arguments do not fit the signature."""


class SignatureMismatchError(PrefectException, TypeError):
    """The arguments do not fit the signature."""


class MappingLengthMismatch(PrefectException):
    """`map` was given iterables of different lengths."""


class MappingMissingIterable(PrefectException):
    """`map` was given nothing to map over."""


class ReservedArgumentError(PrefectException, TypeError):
    """A function has a parameter whose name is taken."""


class ObjectNotFound(PrefectException):
    """Nothing has this name."""


class ObjectAlreadyExists(PrefectException):
    """Something has this name already."""


class ConfigurationError(PrefectException):
    """Something cannot work as it is set up."""


class RollbackError(PrefectException):
    """A transaction could not be rolled back."""


class SerializationError(PrefectException):
    """A result could not be kept."""


class TerminationSignal(PrefectException):
    """The run was asked to end."""


TaskRunTimeoutError = FlowRunTimeoutError = RunTimeout
