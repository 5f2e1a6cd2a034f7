# SPDX-License-Identifier: GPL-3.0-or-later
"""ListChangedBlocks, asked by botocore's own client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mayfly_lab import accounts

from tests.unit.lab.ebs.calls import block, changed, get, make, pages, refused

VOLUME = "vol-0000000000000001"


def two(server: Any, first: dict[int, bytes], second: dict[int, bytes]) -> tuple[str, str]:
    """Two snapshots of one volume, the second younger."""
    return server.snapshot(first, volume_id=VOLUME), server.snapshot(second, volume_id=VOLUME)


def test_a_block_has_the_tokens_of_the_snapshots_that_hold_it(server, ebs):
    first, second = two(server, {0: block(0), 1: block(1), 2: block(2)}, {0: block(0), 1: block(11), 3: block(3)})
    found = changed(ebs, first, second)
    assert list(found) == [1, 2, 3]
    (one, other), (gone, none), (nothing, new) = found.values()
    assert (none, nothing) == (None, None)
    assert get(ebs, first, 1, one) == block(1)
    assert get(ebs, second, 1, other) == block(11)
    assert get(ebs, first, 2, gone) == block(2)
    assert get(ebs, second, 3, new) == block(3)


def test_zeros_that_were_written_differ_from_nothing(server, ebs):
    first, second = two(server, {}, {4: block(0)})
    assert list(changed(ebs, first, second)) == [4]


def test_equal_snapshots_differ_in_nothing(server, ebs):
    first, second = two(server, {1: block(1)}, {1: block(1)})
    assert changed(ebs, first, second) == {}
    assert changed(ebs, first, first) == {}


def test_pages_and_starts(server, ebs):
    first, second = two(server, {}, dict.fromkeys(range(0, 500, 2), b"x"))
    words = {"FirstSnapshotId": first, "SecondSnapshotId": second, "MaxResults": 100}
    found = list(pages(ebs.list_changed_blocks, **words))
    assert [len(page["ChangedBlocks"]) for page in found] == [100, 100, 50]
    assert [each["BlockIndex"] for page in found for each in page["ChangedBlocks"]] == list(range(0, 500, 2))
    assert list(changed(ebs, first, second, StartingBlockIndex=301)) == list(range(302, 500, 2))
    token = found[0]["NextToken"]
    page = ebs.list_changed_blocks(**words, NextToken=token, StartingBlockIndex=480)
    assert page["ChangedBlocks"][0]["BlockIndex"] == 200


def test_a_page_may_be_empty_and_have_a_next(server, ebs, faults):
    first, second = two(server, {}, {9: block(9)})
    faults.add("empty-pages")
    found = list(pages(ebs.list_changed_blocks, FirstSnapshotId=first, SecondSnapshotId=second))
    assert [len(page["ChangedBlocks"]) for page in found] == [0, 1]


def test_a_page_token_is_of_one_pair_of_snapshots(server, ebs):
    first, second = two(server, {}, dict.fromkeys(range(150), b"x"))
    third = server.snapshot({}, volume_id=VOLUME)
    words = {"FirstSnapshotId": first, "SecondSnapshotId": second}
    token = ebs.list_changed_blocks(**words, MaxResults=100)["NextToken"]
    for bad in ({**words, "SecondSnapshotId": third}, {**words, "NextToken": "AAAA"}):
        with refused("ValidationException", "INVALID_PAGE_TOKEN"):
            ebs.list_changed_blocks(**{"NextToken": token, **bad})
    with refused("ValidationException", "INVALID_PAGE_TOKEN"):
        ebs.list_snapshot_blocks(SnapshotId=second, NextToken=token)


def test_the_first_snapshot_must_be_named(server, ebs):
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        ebs.list_changed_blocks(SecondSnapshotId=server.snapshot({}))


def test_unrelated_snapshots_are_refused(server, ebs):
    old = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    young, older = server.snapshot({}, volume_id=VOLUME), server.snapshot({}, volume_id=VOLUME, start_time=old)
    for first, second in ((server.snapshot({}), server.snapshot({})), (young, older)):
        with refused("ValidationException", "UNRELATED_SNAPSHOTS"):
            ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)
    assert changed(ebs, older, young) == {}


def test_snapshots_are_related_by_their_parents(server, ebs):
    root = make(ebs, server, {0: block(1)})
    child = make(ebs, server, {1: block(2)}, ParentSnapshotId=root)
    grandchild = make(ebs, server, {0: block(3)}, ParentSnapshotId=child)
    stranger = make(ebs, server, {0: block(1)})
    assert list(changed(ebs, root, child)) == [1]
    assert list(changed(ebs, root, grandchild)) == [0, 1]
    with refused("ValidationException", "UNRELATED_SNAPSHOTS"):
        ebs.list_changed_blocks(FirstSnapshotId=root, SecondSnapshotId=stranger)
    of_volume = server.snapshot({0: block(1)}, volume_id=VOLUME)
    assert list(changed(ebs, of_volume, make(ebs, server, {5: block(5)}, ParentSnapshotId=of_volume))) == [5]


@pytest.mark.parametrize("closed", [0, 1])
def test_both_snapshots_must_be_readable(server, closed):
    pair = two(server, {0: block(0)}, {0: block(1)})
    other = server.client(accounts.PRODUCTION)
    server.change(pair[1 - closed], shared_with=[accounts.PRODUCTION])
    with refused("AccessDeniedException", "UNAUTHORIZED_ACCOUNT"):
        other.list_changed_blocks(FirstSnapshotId=pair[0], SecondSnapshotId=pair[1])
    server.change(pair[closed], shared_with=[accounts.PRODUCTION], state="pending")
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        other.list_changed_blocks(FirstSnapshotId=pair[0], SecondSnapshotId=pair[1])
    server.change(pair[closed], region="eu-central-1")
    with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
        other.list_changed_blocks(FirstSnapshotId=pair[0], SecondSnapshotId=pair[1])
