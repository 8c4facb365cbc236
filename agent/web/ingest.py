"""`POST /v1/journals/{journal}?offset=N`: lines of a journal, stored once, answered after the commit."""

from __future__ import annotations

import time
from email.utils import mktime_tz, parsedate_tz

from loguru import logger
from starlette.requests import Request
from starlette.responses import Response

from ...backends.http_format import count
from . import bodies
from .parcels import JOURNAL, Parcel
from .refusals import Refusal, answer
from .state import State
from .tokens import Token

SKEW = 5.0  # seconds between two clocks that are worth a word
TOLD_AT_MOST = 10_000  # clients whose clock was spoken of


async def append(request: Request, token: Token, state: State) -> Response:
    journal = request.path_params["journal"]
    if not JOURNAL.fullmatch(journal):
        raise Refusal(
            400, "this is no id of a journal", "at most 100 printable ASCII characters, no /, no dot in front"
        )
    if "offset" not in request.query_params:
        raise Refusal(400, "offset is missing", "say with ?offset= where in the journal the lines begin")
    offset = count(request.query_params, "offset", 0)
    gzipped = bodies.gzipped(request)
    _note_clock(request, state)
    with state.admission.parcel() as load:
        body = await bodies.read(request, state, load, state.options.body_limit)
        parcel = Parcel(journal, offset, body, gzipped, token.project)
        return answer({"offset": await state.writer.append(parcel)})


def _note_clock(request: Request, state: State) -> None:
    """A client says what time it has. Its records keep its times; that these are off is said once, in the log."""
    parsed = parsedate_tz(request.headers.get("date", ""))
    if parsed is None or request.client is None or request.client.host in state.clocks:
        return
    skew = mktime_tz(parsed) - time.time()
    if abs(skew) > SKEW and len(state.clocks) < TOLD_AT_MOST:
        state.clocks.add(request.client.host)
        logger.warning(
            "the clock of {} is off by {:+.0f} s: its runs carry its times", request.client.host, skew
        )
