"""Every address of the dashboard; they are no part of the API, so the OpenAPI description leaves them out."""

from __future__ import annotations

from ..endpoints import Endpoint
from ..tokens import READ
from .overview import overview
from .render import assets

PAGES = (
    Endpoint("GET", "/", "Every job.", overview, READ, "a page"),
    Endpoint("GET", "/assets/{name}", "A static file.", assets, None, "a file"),
)
