"""Every address of the dashboard; they are no part of the API, so the OpenAPI description leaves them out."""

from __future__ import annotations

from attrs import frozen

from ..endpoints import Handler
from ..tokens import OPERATE, READ
from . import actions, signing, watching
from .job import job_page
from .lines import new_lines
from .live import live
from .overview import overview
from .public import badge, status_page
from .render import assets
from .run import picture, run_page


@frozen
class Page:
    """`scope` is what whoever looks must be allowed; None: nothing."""

    method: str
    path: str
    handler: Handler
    scope: str | None = READ


PAGES = (
    Page("GET", "/", overview),
    Page("GET", "/job", job_page),
    Page("GET", "/runs/{run_id}", run_page),
    Page("GET", "/runs/{run_id}/lines", new_lines),
    Page("GET", "/artifacts/{name}", picture),
    Page("GET", "/alerts", watching.alerts_page),
    Page("GET", "/slots", watching.slots_page),
    Page("GET", "/hosts", watching.hosts_page),
    Page("GET", "/live", live),
    Page("POST", "/snooze", actions.snooze, OPERATE),
    Page("POST", "/acknowledge", actions.acknowledge, OPERATE),
    Page("POST", "/runs/{run_id}/cancel", actions.cancel, OPERATE),
    Page("POST", "/runs/{run_id}/mark", actions.mark_ending, OPERATE),
    Page("POST", "/runs/{run_id}/rerun", actions.run_again, OPERATE),
    Page("GET", "/sign-in", signing.sign_in_page, None),
    Page("POST", "/sign-in", signing.sign_in, None),
    Page("POST", "/sign-out", signing.sign_out, READ),
    Page("GET", "/assets/{name}", assets, None),
    Page("GET", "/public/{project}", status_page, None),
    Page("GET", "/badge/{project}/{job:path}", badge, None),
)
