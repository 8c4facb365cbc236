"""The browser of the dashboard's tests, for pages that were written by an enemy."""

from tests.browser.conftest import browser, fleet, looker

__all__ = ["browser", "fleet", "looker"]
