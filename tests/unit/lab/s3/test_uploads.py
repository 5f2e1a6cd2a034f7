# SPDX-License-Identifier: GPL-3.0-or-later
"""Multipart uploads that are not finished are listed with their time, in pages, until they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

PART = 5 << 20


def uploads(s3, bucket, **more):
    return s3.list_multipart_uploads(Bucket=bucket, **more).get("Uploads", [])


def begin(s3, bucket, key):
    return s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]


def test_an_upload_is_listed_with_its_time_until_it_is_aborted(server, s3, bucket):
    before, kept = datetime.now(UTC), set(server.spool.iterdir())
    upload = begin(s3, bucket, "a/key")
    s3.upload_part(Bucket=bucket, Key="a/key", UploadId=upload, PartNumber=1, Body=b"x" * PART)
    (found,) = uploads(s3, bucket)
    assert (found["Key"], found["UploadId"]) == ("a/key", upload)
    assert abs(found["Initiated"] - before) < timedelta(seconds=2)
    assert len({*server.spool.iterdir()} - kept) == 1
    s3.abort_multipart_upload(Bucket=bucket, Key="a/key", UploadId=upload)
    assert uploads(s3, bucket) == []
    assert {*server.spool.iterdir()} <= kept, "the data of an aborted upload is kept"


def test_an_upload_is_listed_until_it_is_completed(s3, bucket):
    upload = begin(s3, bucket, "key")
    tag = s3.upload_part(Bucket=bucket, Key="key", UploadId=upload, PartNumber=1, Body=b"data")["ETag"]
    assert len(uploads(s3, bucket)) == 1
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="key", UploadId=upload, MultipartUpload=parts)
    assert uploads(s3, bucket) == []
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"data"


def test_a_prefix_and_a_delimiter_choose(s3, bucket):
    for key in ("a/1", "a/2", "a/b/3", "c"):
        begin(s3, bucket, key)
    assert [each["Key"] for each in uploads(s3, bucket, Prefix="a/")] == ["a/1", "a/2", "a/b/3"]
    found = s3.list_multipart_uploads(Bucket=bucket, Prefix="a/", Delimiter="/")
    assert [each["Key"] for each in found["Uploads"]] == ["a/1", "a/2"]
    assert [each["Prefix"] for each in found["CommonPrefixes"]] == ["a/b/"]


def test_pages_hold_every_upload_once(s3, bucket):
    begun = [(key, begin(s3, bucket, key)) for key in ("b", "a", "b", "c", "b")]
    found = [
        (each["Key"], each["UploadId"])
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
        for each in page["Uploads"]
    ]
    assert found == sorted(begun, key=lambda upload: upload[0])


@pytest.mark.parametrize("call", ["upload_part", "list_parts", "abort_multipart_upload", "complete_multipart_upload"])
def test_an_upload_that_was_aborted_is_unknown(s3, bucket, call):
    upload = begin(s3, bucket, "key")
    s3.abort_multipart_upload(Bucket=bucket, Key="key", UploadId=upload)
    more = {
        "upload_part": {"PartNumber": 1, "Body": b"data"},
        "complete_multipart_upload": {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": "x"}]}},
    }
    with pytest.raises(ClientError) as caught:
        getattr(s3, call)(Bucket=bucket, Key="key", UploadId=upload, **more.get(call, {}))
    assert caught.value.response["Error"]["Code"] == "NoSuchUpload"
