"""The words for how runs are: their kinds, states and conditions."""

ENDINGS = ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED", "CRASHED", "SKIPPED")
FAILURES = ("FAILED", "TIMED_OUT", "CRASHED")
OPEN = ("PENDING", "RUNNING", "RETRYING")
STATES = OPEN + ENDINGS
CONDITIONS = ("unresponsive", "stalled", "lost", "overdue")
STALE = ("unresponsive", "stalled", "lost")
KINDS = ("flow", "task", "command")
