# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup's task says of each volume."""

from __future__ import annotations

from ansible_collections.mayfly.workers.plugins.action.transfer import told_volumes

COUNTED = {"blocks_read": 12, "blocks_stored": 3, "bytes_stored": 3 << 19}


def test_a_line_for_each_volume_says_how_and_why() -> None:
    volumes = {
        "vol-1": {**COUNTED, "method": "changed", "reason": ""},
        "vol-2": {**COUNTED, "method": "compared", "reason": "its size is 2 GiB and was 1 GiB"},
        "vol-3": {**COUNTED, "method": "full", "reason": "the parent does not have it"},
        "vol-4": {**COUNTED, "method": "full", "reason": "", "blocks_resumed": 7},
    }
    assert told_volumes(volumes) == [
        "vol-1: changed blocks, 12 blocks read, 3 stored (1.5 MiB)",
        "vol-2: compared with the restore point before (its size is 2 GiB and was 1 GiB), "
        "12 blocks read, 3 stored (1.5 MiB)",
        "vol-3: full (the parent does not have it), 12 blocks read, 3 stored (1.5 MiB)",
        "vol-4: full, 12 blocks read, 3 stored (1.5 MiB), 7 of an earlier attempt used again",
    ]


def test_a_restore_says_nothing() -> None:
    assert told_volumes({"vol-1": {"blocks_done": 4, "bytes_stored": 9}}) == []
