"""The channels that Apprise reaches: chat, e-mail, push and the like."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote

from ...backends.errors import ChannelError
from .channel_common import spoken, within
from .dialects import dialect_of, is_known, uncalled
from .fitting import printable, title_of

if TYPE_CHECKING:
    from ...backends.records import Json


_PATIENCE = 60.0  # seconds to wait for an answer: a delivery without one is to end in doubt, by our bound, not in a no


class Apprise:
    """Any service that Apprise knows, by its URL. It gets the alert's `title` and `body`, cut to what the service
    takes. With `format=` or `overflow=` in its URL, Apprise gets the whole and does with it as told there.
    Redirects are followed only with `redirect=yes` in it: a far server must not choose whom this host calls.

    Apprise has no time limit for a whole delivery, so it works in a thread that is left behind after the timeout;
    that thread ends by Apprise's own socket timeouts. Apprise does not tell permanent failures from others, nor
    ambiguous ones: only a URL that it cannot read is permanent, and only no answer in time ambiguous.
    """

    _parts: ClassVar[set[str]] = set()

    def __init__(self, url: str) -> None:
        try:
            self._apprise = import_module("apprise")
        except ImportError as error:
            hint = "pip install 'holter[alerts]'"
            raise ChannelError("Apprise is not installed", permanent=True, hint=hint) from error
        for part in re.findall(r"[^/:@?&=,]{4,}", url.partition("://")[2]):
            self._parts.update((part, unquote(part)))
        scheme = url.partition(":")[0]
        self._place = f"Apprise {scheme}://"
        asset = self._apprise.AppriseAsset(
            app_id="Holter", app_desc="Holter", storage_mode="memory", http_redirects=False
        )
        self._service = self._apprise.Apprise(asset=asset)
        with self._overheard() as said:
            if not self._service.add(url):
                message = f"{self._place}: not a usable URL{spoken(said)}"
                hint = "`apprise --details` lists the services and their URLs"
                raise ChannelError(message, permanent=True, hint=hint)
        for service in self._service:
            if "rto=" not in url:
                service.socket_read_timeout = _PATIENCE
        self._raw = re.search(r"[?&](format|overflow)=", url) is not None
        self._dialect = dialect_of(scheme, self._room(cut=not self._raw and not is_known(scheme)))

    def _room(self, *, cut: bool) -> int:
        """Characters that each of the services takes (one URL may name several). With `cut`, what grows beyond that
        when Apprise escapes it is cut rather than refused."""
        for service in self._service if cut else ():
            service.overflow_mode = self._apprise.OverflowMode.TRUNCATE
        return min((int(service.body_maxlen) for service in self._service), default=0) or 32768

    def send(self, alert: Json, timeout: float) -> None:
        delivered, said = within(timeout, self._place, lambda: self._notify(alert))
        if not delivered:
            raise ChannelError(f"{self._place} did not deliver{spoken(said)}")

    def _notify(self, alert: Json) -> tuple[bool, list[str]]:
        raw = (uncalled(title_of(alert)), uncalled(printable(alert["body"])))
        title, body = raw if self._raw else self._dialect.texts(alert)
        kinds = self._apprise.NotifyType
        kind = {"completed": kinds.SUCCESS, "recovered": kinds.SUCCESS, "test": kinds.INFO}
        with self._overheard() as said:
            done = self._service.notify(
                title=title,
                body=body,
                notify_type=kind.get(alert["event"], kinds.FAILURE),
                body_format=self._apprise.NotifyFormat.TEXT,
            )
        return bool(done), said

    @contextmanager
    def _overheard(self) -> Iterator[list[str]]:
        """What Apprise logs meanwhile: its only account of a failure, from whichever thread. It may stem from another
        delivery at the same time, so the parts of every URL that was ever opened are blanked."""
        said: list[str] = []

        def keep(record: logging.LogRecord) -> None:
            text = record.getMessage()
            for part in sorted(self._parts, key=len, reverse=True):
                text = text.replace(part, "***")
            said.append(text)

        handler = logging.Handler(logging.WARNING)
        handler.emit = keep  # type: ignore[method-assign]
        logger = logging.getLogger("apprise")
        logger.addHandler(handler)
        try:
            yield said
        finally:
            logger.removeHandler(handler)
