"""`prefect_test_harness`: no server has to be started, so there is little to do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from . import results


@contextmanager
def prefect_test_harness(server_startup_timeout: int | None = None) -> Iterator[None]:
    """Cached results, transactions' records and variables are in a folder that is gone afterwards. Runs are recorded as
    ever; `HOLTER_BACKEND=off:` keeps them out of the record."""
    with tempfile.TemporaryDirectory(prefix="holter-prefect-") as folder:
        results._elsewhere.append(folder)
        try:
            yield
        finally:
            results._elsewhere.remove(folder)
