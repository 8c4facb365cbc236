"""`holter ui`: the dashboard of one person, on loopback, over whatever store the settings name.

Who knows the key in its address sees what that person may see; other users of the host see nothing.
Not guaranteed: that they do not learn the key from the list of processes, where a browser is opened with the address.
"""

from __future__ import annotations

import sys
import threading
import webbrowser

from attrs import evolve

from ...backends.errors import StorageError
from ...backends.urls import open_backend, redacted
from ..watchdog.adopt import catch_up
from . import sessions
from .options import Options
from .server import bound_to, config_of, work

HOST = "127.0.0.1"
CATCH_UP_EVERY = 5.0  # seconds: where no watchdog runs, nobody else would notice a death


def show(options: Options, port: int, *, browser: bool) -> int:
    """Serve until Ctrl-C; 0. Raises StorageError where the store cannot be opened, HolterError for the port."""
    open_backend(options.backend, options.home, timeout=5.0).close()
    options = evolve(options, key=sessions.fresh())
    bound = bound_to(HOST, port)
    bound.listen()  # who opens the address before the server is up is answered when it is
    port = bound.getsockname()[1]
    address = f"http://{HOST}:{port}/sign-in?key={options.key}"
    print(f"Looking at {redacted(options.backend)}; Ctrl-C ends it.\n\n  {address}\n", flush=True)
    print(
        f"From another machine: ssh -L {port}:{HOST}:{port} this-host, then open the address there.",
        file=sys.stderr,
    )
    over = threading.Event()
    keeper = threading.Thread(target=_keep_up, args=(options, over), daemon=True)
    keeper.start()
    if browser:
        threading.Timer(0.5, webbrowser.open, (address,)).start()
    try:
        return work(config_of(options), bound)
    finally:
        over.set()
        bound.close()


def _keep_up(options: Options, over: threading.Event) -> None:
    """Take in what the journals of this home gained, as every verb that reads does."""
    store = open_backend(options.backend, options.home, timeout=5.0)
    try:
        while not over.is_set():
            try:
                catch_up(options.home, store)
            except StorageError:  # the pages say that the store is away
                store.close()
                store = open_backend(options.backend, options.home, timeout=5.0)
            over.wait(CATCH_UP_EVERY)
    finally:
        store.close()
