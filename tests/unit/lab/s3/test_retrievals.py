# SPDX-License-Identifier: GPL-3.0-or-later
"""Archived objects: not to be read, until a copy was asked for and is there."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from mayfly_lab.faults import Faults

DATA = bytes(range(256)) * 100


def code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return caught.value.response["Error"]["Code"]


def put(s3, bucket, storage="GLACIER"):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA, StorageClass=storage)


def restore(s3, bucket, tier="Standard", days=2):
    request = {"Days": days, "GlacierJobParameters": {"Tier": tier}}
    answer = s3.restore_object(Bucket=bucket, Key="k", RestoreRequest=request)
    return answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def quick(server):
    faults = Faults(server.folder)
    fault = faults.add("retrieval-time", seconds=1.0)
    yield
    faults.clear(fault.identity)


@pytest.mark.parametrize("storage", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_cannot_be_read_but_is_described(s3, bucket, storage):
    put(s3, bucket, storage)
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="k")
    assert code(caught) == "InvalidObjectState"
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["StorageClass"], head["ContentLength"], "Restore" in head) == (storage, len(DATA), False)
    (listed,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert listed["StorageClass"] == storage


def test_a_copy_takes_hours_and_is_asked_for_once(s3, bucket):
    put(s3, bucket)
    assert restore(s3, bucket) == 202
    assert s3.head_object(Bucket=bucket, Key="k")["Restore"] == 'ongoing-request="true"'
    with pytest.raises(ClientError) as caught:
        restore(s3, bucket)
    assert code(caught) == "RestoreAlreadyInProgress"
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="k")
    assert code(caught) == "InvalidObjectState"


def test_a_copy_can_be_read_and_stay_longer(s3, bucket, quick):
    put(s3, bucket)
    assert restore(s3, bucket, "Bulk") == 202
    time.sleep(1.1)
    told = s3.head_object(Bucket=bucket, Key="k")["Restore"]
    assert told.startswith('ongoing-request="false", expiry-date="')
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=3-7")["Body"].read() == DATA[3:8]
    assert restore(s3, bucket, days=9) == 200
    ends = s3.head_object(Bucket=bucket, Key="k")["Restore"].split('"')[-2]
    ends = datetime.strptime(ends, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert timedelta(days=8) < ends - datetime.now(UTC) < timedelta(days=9, seconds=1)


def test_what_is_not_archived_is_not_retrieved(s3, bucket):
    put(s3, bucket, "STANDARD")
    with pytest.raises(ClientError) as caught:
        restore(s3, bucket)
    assert code(caught) == "InvalidObjectState"
    with pytest.raises(ClientError) as caught:
        s3.restore_object(Bucket=bucket, Key="other", RestoreRequest={"Days": 1})
    assert code(caught) == "NoSuchKey"


def test_deep_archives_know_no_expedited_retrieval(s3, bucket):
    put(s3, bucket, "DEEP_ARCHIVE")
    with pytest.raises(ClientError) as caught:
        restore(s3, bucket, "Expedited")
    assert code(caught) == "InvalidArgument"


def test_an_object_that_takes_its_place_has_no_copy(s3, bucket, quick):
    put(s3, bucket)
    restore(s3, bucket)
    time.sleep(1.1)
    put(s3, bucket)
    assert "Restore" not in s3.head_object(Bucket=bucket, Key="k")
