"""Second floor: the sidecar that adopts dead journals, judges live runs and delivers alerts."""
