"""Where alerts are said: webhooks, commands, log files, desktops, and whatever Apprise reaches.

`send` returns once the other side took the alert, and raises `ChannelError` otherwise; `permanent` is true where
another try cannot help, `ambiguous` where the alert may have arrived: then it is sent once more, and receivers tell the
copies by `dedupe_key` (webhooks also by the header `Idempotency-Key`).

Errors name a channel by its scheme and host only: the rest of such a URL is often a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ...backends.errors import ChannelError, SettingsError
from ..settings import expand
from .channel_apprise import Apprise
from .channel_command import Command, Desktop
from .channel_log import Log
from .channel_webhook import Webhook

if TYPE_CHECKING:
    from ...backends.records import Json
    from ..settings import Channel


class Sender(Protocol):
    """An opened channel."""

    def send(self, alert: Json, timeout: float) -> None:
        """Hand over one alert within `timeout` seconds, or raise `ChannelError`."""
        ...


@runtime_checkable
class Answering(Protocol):
    """A channel that can be asked something without being told anything."""

    def answers(self, timeout: float) -> bool:
        """Whether the other side is there and in order."""
        ...


def open_channel(channel: Channel, environ: Mapping[str, str] = os.environ) -> Sender:
    """The sender for a configured channel; `${NAME}` in its target and secret is taken from `environ`.

    Raises `ChannelError` (permanent) where the channel cannot work as it is configured.
    """
    try:
        target = expand(channel.target, environ)
        secret = expand(channel.secret, environ) if channel.secret else None
    except SettingsError as error:
        raise ChannelError(error.message, permanent=True, hint=error.hint) from error
    if channel.kind == "webhook":
        return Webhook(target, secret)
    if channel.kind == "command":
        return Command(target)
    if channel.kind == "log":
        return Log(target)
    if channel.kind == "desktop":
        return Desktop(environ)
    return Apprise(target)
