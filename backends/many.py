"""Many batches at once, as a collector gets them: a store that can puts them into one transaction."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Backend
    from .errors import OffsetMismatch

    Batch = tuple[str, int, bytes]


def append_many(store: Backend, batches: Sequence[Batch]) -> list[int | OffsetMismatch]:
    """Append batches (journal, offset, data) in order; for each the offset after it, or why it was refused.

    A store may have a method `append_many` of this meaning, where either all that is not refused is stored, or nothing
    and it raises. Without one, batches are appended one by one, and those before one that raises stay.
    """
    own = getattr(store, "append_many", None)
    if own is not None:
        return list(own(batches))
    from .errors import OffsetMismatch

    answers: list[int | OffsetMismatch] = []
    for batch in batches:
        try:
            answers.append(store.append(*batch))
        except OffsetMismatch as other:
            answers.append(other.with_traceback(None))  # which would keep this frame, and with it all batches
    return answers
