"""Says everything that the store of HOLTER_HOME has to say, as the watchdog's own steps do, and ends."""

from __future__ import annotations

from holter.agent.settings import load
from holter.agent.watchdog import notify
from holter.backends.clock import SYSTEM
from holter.backends.urls import open_backend

settings = load()
store = open_backend(settings.backend, settings.home)
while notify.collect(store, SYSTEM, settings) or notify.deliver(store, SYSTEM, settings):
    pass
store.close()
