"""HTTP that nobody sends elsewhere: whom a ping may reach is what the settings say, not what a far server answers."""

from __future__ import annotations

from http.client import HTTPMessage
from typing import IO
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)


class _SameHost(HTTPRedirectHandler):
    """A redirect is followed within its host: as from http to https, or to another path."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).hostname != urlsplit(req.full_url).hostname:
            raise URLError("it is redirected to another host; write the final address in the settings")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener() -> OpenerDirector:
    """For http and https only, through the environment's proxies: no file:, no ftp:, no other host by redirect."""
    made = OpenerDirector()
    kinds = (
        ProxyHandler,
        UnknownHandler,
        HTTPHandler,
        HTTPSHandler,
        HTTPDefaultErrorHandler,
        HTTPErrorProcessor,
    )
    for kind in (*kinds, _SameHost):
        made.add_handler(kind())
    return made
