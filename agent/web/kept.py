"""Answers that are given again for a moment: whoever asks often for what anybody may see costs nothing."""

from __future__ import annotations

from attrs import field, frozen

from ...backends.clock import SYSTEM

KEPT = 10.0  # seconds
MANY = 500  # answers


@frozen
class Kept:
    """Answers by address, with when they were made (monotonic seconds)."""

    answers: dict[str, tuple[float, str]] = field(factory=dict)

    def get(self, address: str) -> str | None:
        at, text = self.answers.get(address, (-KEPT, ""))
        return text if SYSTEM.monotonic() - at < KEPT else None

    def put(self, address: str, text: str) -> None:
        if len(self.answers) >= MANY:
            self.answers.clear()
        self.answers[address] = (SYSTEM.monotonic(), text)
