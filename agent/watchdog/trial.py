"""`holter alerts test`: one whole test alert through a channel, now, past the outbox."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from attrs import frozen

from ...backends.clock import SYSTEM, Clock
from ...backends.errors import ChannelError, SettingsError
from ...backends.records import Json
from ..settings import Channel
from .channels import open_channel
from .message import test_alert
from .samples import sample

TIMEOUT = 15.0  # seconds for one channel


@frozen
class Tried:
    """A channel, and why it did not take the alert (None: it did)."""

    channel: str
    error: ChannelError | None


def trial(
    channels: Mapping[str, Channel],
    only: str | None = None,
    clock: Clock = SYSTEM,
    *,
    kind: str | None = None,
) -> Iterator[Tried]:
    """Send a test alert through each channel, or through `only`; with `kind` one that looks like a real one of that
    event, marked as a test. Raises SettingsError where there is no such channel or event."""
    if not channels:
        raise SettingsError(
            "no channel is configured", path="channels", hint="add one under `channels:` in holter.yaml"
        )
    if only is not None and only not in channels:
        near = get_close_matches(only, list(channels), n=1) or sorted(channels)
        raise SettingsError(f"no channel {only!r}", path="channels", hint=f"there is {', '.join(near)}")
    at = clock.wall()
    chosen = [name for name in channels if only in (None, name)]
    alerts = {name: sample(kind, name, at) if kind else test_alert(name, at) for name in chosen}
    return (_try(name, channels[name], alert) for name, alert in alerts.items())


def _try(name: str, channel: Channel, alert: Json) -> Tried:
    try:
        open_channel(channel).send(alert, TIMEOUT)
    except ChannelError as error:
        return Tried(name, error)
    return Tried(name, None)
