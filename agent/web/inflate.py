"""What was compressed, within a limit."""

from __future__ import annotations

import zlib

from .refusals import Refusal


def inflated(body: bytes, limit: int) -> bytes:
    """The limit is kept while inflating: a few bytes can stand for gigabytes. Raises Refusal."""
    inflate = zlib.decompressobj(31)
    try:
        data = inflate.decompress(body, limit + 1)
    except zlib.error:
        raise Refusal(400, "the body is no gzip", "compress it again, or send it as it is") from None
    if len(data) > limit:
        raise too_large(limit)
    if not inflate.eof:
        raise Refusal(400, "the gzip ends too early", "the body was cut off on its way; send it again")
    return data


def too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body is larger than {limit:,} bytes", "send it in smaller batches")
