# SPDX-License-Identifier: GPL-3.0-or-later
"""ListSnapshotBlocks and GetSnapshotBlock, asked by botocore's own client."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mayfly_lab import accounts
from mayfly_lab.blocks.files import BLOCK

from tests.unit.lab.ebs.calls import block, contents, listed, pages, refused

SHORT = b"x"  # a block of which one byte was written


@pytest.fixture(scope="module")
def many(server: Any) -> tuple[str, list[int]]:
    """A snapshot of 305 blocks with gaps between them, and their indexes."""
    indexes = [*range(0, 600, 2), 700, 1000, 1001, 1999, 2047]
    return server.snapshot(dict.fromkeys(indexes, SHORT)), indexes


def test_only_written_blocks_are_listed(server, ebs):
    snapshot = server.snapshot({0: block(1), 7: SHORT, 2047: block(2)}, volume_size_gib=2)
    page = ebs.list_snapshot_blocks(SnapshotId=snapshot)
    assert [each["BlockIndex"] for each in page["Blocks"]] == [0, 7, 2047]
    assert (page["BlockSize"], page["VolumeSize"], page.get("NextToken")) == (BLOCK, 2, None)
    assert timedelta(days=6) < page["ExpiryTime"] - datetime.now(UTC) <= timedelta(days=7)
    assert contents(ebs, snapshot) == {0: block(1), 7: SHORT + bytes(BLOCK - 1), 2047: block(2)}


def test_an_empty_volume_lists_nothing(server, ebs):
    assert ebs.list_snapshot_blocks(SnapshotId=server.snapshot({}))["Blocks"] == []


def test_pages_join_to_the_whole_list(ebs, many):
    snapshot, indexes = many
    found = list(pages(ebs.list_snapshot_blocks, SnapshotId=snapshot, MaxResults=100))
    assert [len(page["Blocks"]) for page in found] == [100, 100, 100, 5]
    assert [each["BlockIndex"] for page in found for each in page["Blocks"]] == indexes
    whole = ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=10_000)
    assert [each["BlockIndex"] for each in whole["Blocks"]] == indexes


@pytest.mark.parametrize("most", [1, 99, 100])
def test_a_page_of_fewer_than_a_hundred_is_not_given(server, many, most):
    page = server.client(checked=False).list_snapshot_blocks(SnapshotId=many[0], MaxResults=most)
    assert len(page["Blocks"]) == 100


@pytest.mark.parametrize("words", [{"MaxResults": 10_001}, {"MaxResults": 0}, {"StartingBlockIndex": -1}])
def test_numbers_out_of_range_are_refused(server, many, words):
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        server.client(checked=False).list_snapshot_blocks(SnapshotId=many[0], **words)


@pytest.mark.parametrize(("start", "first"), [(0, 0), (601, 700), (1001, 1001), (2047, 2047)])
def test_a_list_starts_at_the_next_written_block(ebs, many, start, first):
    snapshot, indexes = many
    assert list(listed(ebs, snapshot, StartingBlockIndex=start)) == indexes[indexes.index(first) :]


def test_a_start_past_the_end_lists_nothing(ebs, many):
    assert listed(ebs, many[0], StartingBlockIndex=2048) == {}


def test_a_page_token_wins_over_a_start(ebs, many):
    snapshot, indexes = many
    token = ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100)["NextToken"]
    page = ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100, NextToken=token, StartingBlockIndex=1999)
    assert [each["BlockIndex"] for each in page["Blocks"]] == indexes[100:200]


def test_a_page_may_be_empty_and_have_a_next(ebs, many, faults):
    faults.add("empty-pages")
    snapshot, indexes = many
    found = list(pages(ebs.list_snapshot_blocks, SnapshotId=snapshot, StartingBlockIndex=500))
    assert found[0]["Blocks"] == []
    assert [each["BlockIndex"] for each in found[1]["Blocks"]] == [each for each in indexes if each >= 500]


def test_page_tokens_that_are_not_for_this_request_are_refused(server, ebs, many, faults):
    snapshot, _ = many
    other = server.snapshot(dict.fromkeys(range(150), SHORT))
    server.change(snapshot, shared_with=[accounts.PRODUCTION])
    token = ebs.list_snapshot_blocks(SnapshotId=other, MaxResults=100)["NextToken"]
    own = ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100)["NextToken"]
    for client, bad in (
        (ebs, token),
        (server.client(accounts.PRODUCTION), own),
        (ebs, base64.b64encode(bytes(32)).decode()),
        (ebs, "not=base64"),
        (ebs, "AAAA"),
    ):
        with refused("ValidationException", "INVALID_PAGE_TOKEN"):
            client.list_snapshot_blocks(SnapshotId=snapshot, NextToken=bad)


@pytest.mark.parametrize("seconds", [-1, 0.3])
def test_tokens_expire(ebs, many, faults, seconds):
    faults.add("short-tokens", seconds=seconds)
    page = ebs.list_snapshot_blocks(SnapshotId=many[0], MaxResults=100)
    index, token = page["Blocks"][0]["BlockIndex"], page["Blocks"][0]["BlockToken"]
    time.sleep(max(0, seconds))
    with refused("ValidationException", "INVALID_PAGE_TOKEN"):
        ebs.list_snapshot_blocks(SnapshotId=many[0], NextToken=page["NextToken"])
    with refused("ValidationException", "INVALID_BLOCK_TOKEN"):
        ebs.get_snapshot_block(SnapshotId=many[0], BlockIndex=index, BlockToken=token)


def test_block_tokens_that_are_not_for_this_block_are_refused(server, ebs):
    snapshot, other = server.snapshot({0: block(1), 1: block(2)}), server.snapshot({0: block(1)})
    server.change(snapshot, shared_with=[accounts.PRODUCTION])
    tokens, page_token = listed(ebs, snapshot), listed(ebs, other)[0]
    forged = base64.b64encode(bytes([base64.b64decode(tokens[0])[0] ^ 1]) + base64.b64decode(tokens[0])[1:]).decode()
    for client, bad in (
        (ebs, tokens[1]),
        (ebs, page_token),
        (ebs, forged),
        (server.client(accounts.PRODUCTION), tokens[0]),
    ):
        with refused("ValidationException", "INVALID_BLOCK_TOKEN"):
            client.get_snapshot_block(SnapshotId=snapshot, BlockIndex=0, BlockToken=bad)


@pytest.mark.parametrize("state", ["pending", "error"])
def test_a_snapshot_that_is_not_completed_is_refused(server, ebs, state):
    snapshot = server.snapshot({0: block(1)})
    token = listed(ebs, snapshot)[0]
    server.change(snapshot, state=state)
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        ebs.list_snapshot_blocks(SnapshotId=snapshot)
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=0, BlockToken=token)


def test_another_account_reads_what_is_shared_with_it_alone(server, ebs):
    snapshot = server.snapshot({3: block(3)})
    other = server.client(accounts.PRODUCTION)
    token = listed(ebs, snapshot)[3]
    for shares in ([], ["999988887777"], ["all"]):  # public snapshots are not read this way
        server.change(snapshot, shared_with=shares)
        with refused("AccessDeniedException", "UNAUTHORIZED_ACCOUNT"):
            other.list_snapshot_blocks(SnapshotId=snapshot)
        with refused("AccessDeniedException", "UNAUTHORIZED_ACCOUNT"):
            other.get_snapshot_block(SnapshotId=snapshot, BlockIndex=3, BlockToken=token)
    server.change(snapshot, shared_with=[accounts.PRODUCTION])
    assert contents(other, snapshot) == {3: block(3)}


def test_a_snapshot_is_known_in_its_region_alone(server, ebs):
    snapshot = server.snapshot({0: block(1)})
    token = listed(ebs, snapshot)[0]
    away = server.client(region="eu-central-1")
    with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
        away.list_snapshot_blocks(SnapshotId=snapshot)
    with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
        away.get_snapshot_block(SnapshotId=snapshot, BlockIndex=0, BlockToken=token)
    with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
        ebs.list_snapshot_blocks(SnapshotId="snap-0123456789abcdef0")


@pytest.mark.parametrize("name", ["vol-1", "snap-XYZ", "snap-", "snap-1.img", "../snap-1", "snap-" + "1" * 60])
def test_what_is_no_id_is_refused(ebs, many, name):
    for call in (
        lambda: ebs.list_snapshot_blocks(SnapshotId=name),
        lambda: ebs.list_changed_blocks(FirstSnapshotId=name, SecondSnapshotId=many[0]),
        lambda: ebs.start_snapshot(VolumeSize=1, ParentSnapshotId=name),
        lambda: ebs.complete_snapshot(SnapshotId=name, ChangedBlocksCount=0),
    ):
        with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
            call()


def test_an_unknown_access_key_is_refused(server, ebs, many):
    client = server.client()
    client._request_signer._credentials.access_key = "AKIAIOSFODNN7EXAMPLE"
    with refused("UnrecognizedClientException", status=403):
        client.list_snapshot_blocks(SnapshotId=many[0])
