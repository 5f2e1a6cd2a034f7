# SPDX-License-Identifier: GPL-3.0-or-later
"""zstd frames that say how long they are when opened, and are not opened when that is too long."""

from __future__ import annotations

import threading

import zstandard

from .seal import SealBroken

_local = threading.local()


def compress(plain: bytes) -> bytes:
    """One frame, with its plain length in it."""
    return zstandard.ZstdCompressor().compress(plain)


def decompress(frame: bytes, limit: int, what: str) -> bytes:
    """What is in one frame, 1 to ``limit`` bytes; raises SealBroken naming ``what``.

    The frame's own word is looked at first, because zstandard believes it and takes that much memory, whatever
    ``max_output_size`` says.
    """
    try:
        size = zstandard.frame_content_size(frame)
        if not 0 < size <= limit:
            raise SealBroken(what, f"does not give 1 to {limit} bytes")
        return _decompressor().decompress(frame, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise SealBroken(what) from error


def _decompressor() -> zstandard.ZstdDecompressor:
    """One for each thread: making one takes longer than many a frame."""
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    made: zstandard.ZstdDecompressor = _local.decompressor
    return made
