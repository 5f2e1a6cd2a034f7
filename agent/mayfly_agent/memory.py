# SPDX-License-Identifier: GPL-3.0-or-later
"""The C library's memory, for a program whose blocks come and go by the thousand."""

from __future__ import annotations

import ctypes

# mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# More than a pack: what is larger is given back to the kernel at once, and comes from it page by page.
_KEPT_BYTES = 32 << 20
_ARENAS = 2


def keep_memory() -> None:
    """What was used once is used again; only where the C library is glibc.

    By default each block and each pack is memory that the kernel has just cleared, a fault for every page of it.
    *Measured*: a sixth of a restore's processor time, a twelfth of a backup's (docs/performance.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, 4 * _KEPT_BYTES)
        mallopt(_ARENA_MAX, _ARENAS)
