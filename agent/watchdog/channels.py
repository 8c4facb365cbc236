"""Where alerts are said: webhooks, commands, and whatever Apprise reaches.

`send` returns once the other side took the alert, and raises `ChannelError` otherwise; `permanent` is true where
another try cannot help. What is NOT guaranteed: after a timeout nobody knows whether the alert arrived, so it is
sent again; receivers tell the copies by `dedupe_key` (webhooks also by the header `Idempotency-Key`).

Errors name a channel by its scheme and host only: the rest of such a URL is often a secret.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import logging
import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from importlib import import_module
from json import dumps
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from ...backends.errors import ChannelError, SettingsError
from ..secrets import clean
from ..settings import expand

if TYPE_CHECKING:
    from ...backends.records import Json
    from ..settings import Channel

T = TypeVar("T")
_TRY_AGAIN = (408, 425, 429)  # the only 4xx that a later try may turn into a 2xx
_SHORTAGES = (
    errno.EAGAIN,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ETXTBSY,
)  # of what a program needs
_MESSAGE = 200  # characters of what a channel said about its failure


class Sender(Protocol):
    """An opened channel."""

    def send(self, alert: Json, timeout: float) -> None:
        """Hand over one alert within `timeout` seconds, or raise `ChannelError`."""
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
    return Apprise(target)


class Webhook:
    """POSTs the alert as JSON. Delivered by any 2xx; 4xx (408, 425 and 429 aside) is permanent, the rest is not.

    Headers: `Holter-Event`, `Idempotency-Key` (the dedupe key) and, with a secret,
    `Holter-Signature: t=<unix seconds>,v1=<hex>` with HMAC-SHA256 over `<t>.<body>`. Redirects are not followed,
    since a POST does not survive most of them; proxies are taken from the environment, as curl does.
    """

    def __init__(self, url: str, secret: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            hint = "write webhook: https://host/path"
            raise ChannelError("the webhook's URL is not http(s)", permanent=True, hint=hint)
        user, mark, self._netloc = parts.netloc.rpartition("@")
        self._place = f"webhook {parts.scheme}://{self._netloc}"
        self._url = parts._replace(netloc=self._netloc, fragment="").geturl()
        self._credentials = b64encode(unquote(user).encode()).decode() if mark else None
        self._secret = secret

    def send(self, alert: Json, timeout: float) -> None:
        body = dumps(alert).encode()
        request = Request(self._url, data=body, headers=self._headers(alert, body), method="POST")  # noqa: S310
        status, place_to = _within(timeout, self._place, lambda: self._post(request, timeout))
        if 200 <= status < 300:
            return
        permanent = 400 <= status < 500 and status not in _TRY_AGAIN
        hint = f"redirects are not followed; write the final address, on {place_to}" if place_to else ""
        raise ChannelError(f"{self._place} answered {status}", permanent=permanent, hint=hint)

    def _headers(self, alert: Json, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "holter",
            "Holter-Event": str(alert["event"]),
            "Idempotency-Key": str(alert["dedupe_key"]),
        }
        if self._credentials:
            headers["Authorization"] = f"Basic {self._credentials}"
        if self._secret:
            stamp = str(int(time.time()))
            headers["Holter-Signature"] = f"t={stamp},v1={signature(self._secret, stamp, body)}"
        return headers

    def _post(self, request: Request, timeout: float) -> tuple[int, str]:
        """The status and, of a redirect, the host that it points to."""
        opener = OpenerDirector()  # bare: no redirects, no file: or ftp:, every status is an answer
        for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
            opener.add_handler(handler)
        try:
            with opener.open(request, timeout=timeout) as answer:
                return answer.status, urlsplit(answer.headers.get("Location") or "").hostname or ""
        except HTTPException as error:
            raise ChannelError(f"{self._place} did not answer in HTTP: {type(error).__name__}") from error
        except OSError as error:
            said = getattr(error, "reason", None) or error.strerror or type(error).__name__
            raise ChannelError(f"{self._place}: {said}") from error
        except ValueError as error:  # what http.client makes of characters that no URL may have
            hint = "percent-encode what is not ASCII"
            raise ChannelError(f"{self._place}: the URL cannot be used", permanent=True, hint=hint) from error


def signature(secret: str, stamp: str, body: bytes) -> str:
    """The `v1` of `Holter-Signature`: hex HMAC-SHA256 of `<stamp>.<body>` under the channel's secret."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Command:
    """Runs a program (no shell) with the alert as JSON on its stdin. Delivered by exit code 0.

    After the timeout its whole process group is killed. A program that is missing or may not be run is permanent.
    """

    def __init__(self, line: str) -> None:
        try:
            self._argv = shlex.split(line)
        except ValueError as error:
            raise ChannelError(f"the command does not parse: {error}", permanent=True) from error
        if not self._argv:
            raise ChannelError("the command is empty", permanent=True, hint="write command: /path/of/program")
        self._place = f"command {self._argv[0]}"

    def send(self, alert: Json, timeout: float) -> None:
        # Files, not pipes: a program that never reads, or leaves a child with its output open, blocks nobody.
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
            stdin.write(dumps(alert).encode())
            stdin.seek(0)
            process = self._start(stdin, output)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired as error:
                raise ChannelError(f"{self._place} did not end within {timeout:g} s") from error
            finally:
                if process.poll() is None:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if code:
                raise ChannelError(f"{self._place} ended with {code}{_last_line(output)}")

    def _start(self, stdin: Any, output: Any) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._argv, stdin=stdin, stdout=output, stderr=output, start_new_session=True
            )
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or "cannot be run"
            permanent = getattr(error, "errno", None) not in _SHORTAGES
            hint = "write the program's whole path, and make it executable" if permanent else ""
            raise ChannelError(f"{self._place}: {said}", permanent=permanent, hint=hint) from error


class Apprise:
    """Any service that Apprise knows, by its URL. It gets the alert's `title` and `body`.

    Apprise has no time limit for a whole delivery, so it works in a thread that is left behind after the timeout;
    that thread ends by Apprise's own socket timeouts. Apprise does not tell permanent failures from others:
    only a URL that it cannot read is permanent.
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
        self._place = f"Apprise {url.partition(':')[0]}://"
        asset = self._apprise.AppriseAsset(app_id="Holter", app_desc="Holter", storage_mode="memory")
        self._service = self._apprise.Apprise(asset=asset)
        with self._overheard() as said:
            if not self._service.add(url):
                message = f"{self._place}: not a usable URL{_spoken(said)}"
                hint = "`apprise --details` lists the services and their URLs"
                raise ChannelError(message, permanent=True, hint=hint)

    def send(self, alert: Json, timeout: float) -> None:
        delivered, said = _within(timeout, self._place, lambda: self._notify(alert))
        if not delivered:
            raise ChannelError(f"{self._place} did not deliver{_spoken(said)}")

    def _notify(self, alert: Json) -> tuple[bool, list[str]]:
        kinds = self._apprise.NotifyType
        kind = {"completed": kinds.SUCCESS, "recovered": kinds.SUCCESS, "test": kinds.INFO}
        with self._overheard() as said:
            done = self._service.notify(
                title=alert["title"],
                body=alert["body"],
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


def _within(seconds: float, place: str, act: Callable[[], T]) -> T:
    """The result of `act`, or `ChannelError` after `seconds`: socket timeouts do not cover name lookups, nor an
    answer that trickles. The thread that is left behind cannot keep the process alive."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(act())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, name="holter-channel", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise ChannelError(f"{place} did not answer within {seconds:g} s")
    return results[0]


def _last_line(output: Any) -> str:
    """The end of what a command said, for its error."""
    output.seek(max(0, output.seek(0, os.SEEK_END) - 4096))
    return _spoken(output.read().decode("utf-8", "replace").split("\n"))


def _spoken(lines: list[str]) -> str:
    last = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
    printable = "".join(char for char in clean(last) if char.isprintable())
    return f": {printable[:_MESSAGE]}" if printable else ""
