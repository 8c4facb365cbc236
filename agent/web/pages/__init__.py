"""The dashboard: pages for people, read through the collector's own access rules."""
