# SPDX-License-Identifier: GPL-3.0-or-later
"""zstd frames: opened up to a limit, and never further, whatever they promise."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from mayfly_agent.repository.compression import compress, decompress
from mayfly_agent.repository.seal import SealBroken

LIMIT = 4096


@given(st.binary(min_size=1, max_size=LIMIT))
def test_what_was_compressed_is_opened(plain: bytes) -> None:
    assert decompress(compress(plain), LIMIT, "it") == plain


@pytest.mark.parametrize("size", [0, LIMIT + 1, 50_000_000])
def test_nothing_and_too_much_are_refused(size: int) -> None:
    frame = compress(bytes(size))
    tracemalloc.start()
    try:
        with pytest.raises(SealBroken, match="does not give 1 to 4096 bytes"):
            decompress(frame, LIMIT, "it")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_frame_must_say_how_long_it_is() -> None:
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(b"something")
    with pytest.raises(SealBroken, match="does not give"):
        decompress(silent, LIMIT, "it")


@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_cut_or_continued_frame_is_told(plain: bytes, data: st.DataObject) -> None:
    frame = compress(plain)
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    for changed in (cut, frame + b"x", frame + frame):
        with pytest.raises(SealBroken):
            decompress(changed, LIMIT, "it")


@given(st.binary(max_size=100), st.booleans())
def test_arbitrary_bytes_raise_nothing_else(rest: bytes, begins_well: bool) -> None:
    frame = (b"\x28\xb5\x2f\xfd" if begins_well else b"") + rest
    with suppress(SealBroken):
        assert len(decompress(frame, LIMIT, "it")) <= LIMIT
