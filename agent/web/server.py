"""`holter serve`: the collector's sockets and processes, from the command line to the last answer."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import ssl
import sys
import time
from contextlib import suppress
from functools import partial

import uvicorn
from attrs import evolve
from loguru import logger

from ...backends.errors import HolterError, SettingsError
from ...backends.http_place import loopback
from ...backends.urls import open_backend, redacted
from ..watchdog.sd_notify import Systemd, tell
from .app import make_app
from .connections import Connection
from .options import Options
from .tokens import Token, everyone
from .workers import run_workers

KEEP_ALIVE = 75  # seconds: shippers that send every half minute keep their connection
BACKLOG = 2048
FILES = 65_536  # sockets and files that one process may have open, where the system lets it


def serve(
    options: Options, host: str, port: int, workers: int, certfile: str | None, keyfile: str | None
) -> int:
    """Serve until SIGINT or SIGTERM; then answer what is under way, store it, and return 0.

    Raises SettingsError for what cannot be, StorageError where the store cannot be opened, OSError for the port.
    """
    _check_certificates(certfile, keyfile)
    tokens = _tokens(options)
    if not loopback(host) and not tokens:
        raise SettingsError(
            f"without a token the collector serves this host only, not {host}",
            hint="make one with `holter token new --ingest`, or leave out --host",
        )
    bound = bound_to(host, port)
    _more_files()
    trusting = loopback(host)
    config = config_of(evolve(options, trusting=trusting), certfile, keyfile)
    scheme = "https" if certfile else "http"
    where = f"[{host}]" if ":" in host else host
    closed = not trusting or any(not each.in_addresses for each in tokens)
    asked = "tokens are asked for" if closed else "no token is asked for on this host until one is made"
    log()
    logger.info(
        "collecting at {}://{}:{} into {}; {}",
        *(scheme, where, bound.getsockname()[1], redacted(options.backend), asked),
    )
    if tokens or trusting:
        logger.info("the dashboard is there too, in a browser")
    try:
        return _run(config, bound, workers)
    finally:
        tell("STOPPING=1")
        bound.close()
        logger.info("stopped; what was answered is stored")


def _run(config: uvicorn.Config, bound: socket.socket, workers: int) -> int:
    if workers == 1:
        return work(config, bound)
    return run_workers(workers, lambda: work(config, bound))


def work(config: uvicorn.Config, bound: socket.socket) -> int:
    """One process serves until it is told to end."""
    server = _Server(config)

    def ended(number: int, frame: object) -> None:
        """uvicorn stops in order at a signal, then raises it again for whoever else handles it."""
        if not server.should_exit:
            sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ended)
    # A group of batches is thousands of objects that live for a moment: looking through them every 700 cost a tenth.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    server.run(sockets=[bound])
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """Tells systemd that it serves, and while its loop turns; a loop that hangs says nothing, and is restarted."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._systemd = Systemd()

    async def on_tick(self, counter: int) -> bool:
        self._systemd.passed(time.monotonic())
        return await super().on_tick(counter)


def config_of(options: Options, certfile: str | None = None, keyfile: str | None = None) -> uvicorn.Config:
    return uvicorn.Config(
        partial(make_app, options),
        factory=True,
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(options.stop_seconds),
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
    )


def _tokens(options: Options) -> list[Token]:
    if options.backend.startswith(("http://", "https://")):
        raise SettingsError(
            f"a collector stores into a store, and {redacted(options.backend)} is a collector",
            path="backend",
            hint="give --backend sqlite:///collector.db or postgresql://...",
        )
    if options.backend.startswith(("off:", "memory:")):
        raise SettingsError(
            "records in memory end with the collector", hint="give --backend sqlite:///holter.db"
        )
    store = open_backend(options.backend, options.home, timeout=10.0)
    try:
        return everyone(store)
    finally:
        store.close()


def bound_to(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise HolterError(
            f"cannot listen on {host} port {port}: {str(error.strerror or error).lower()}",
            hint="another --port, or is a collector running already?",
        ) from None
    found.set_inheritable(True)
    return found


def _check_certificates(certfile: str | None, keyfile: str | None) -> None:
    if keyfile and not certfile:
        raise SettingsError("a key without a certificate", hint="give --certfile too")
    if not certfile:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile)
    except OSError as error:
        named = error.filename or keyfile or certfile
        raise SettingsError(
            f"cannot use {named} for TLS: {str(error.strerror or error).lower()}",
            hint="--certfile and --keyfile are PEM files that belong together",
        ) from None


def _more_files() -> None:
    """A soft limit of 1,024, which is usual, would turn the thousandth client away."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def log() -> None:
    logger.remove()
    logger.add(
        sys.stderr,
        level=os.environ.get("LOGURU_LEVEL", "INFO"),
        format="{time:HH:mm:ss} {level: <7} {message}",
    )
    logger.enable("holter")
