# SPDX-License-Identifier: GPL-3.0-or-later
"""A request that botocore makes is known by the name of the call."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from mayfly_lab.s3 import operations

BUCKET = {"Bucket": "bucket"}
KEY = {**BUCKET, "Key": "a key"}
UPLOAD = {**KEY, "UploadId": "u"}
CALLS = {
    "ListBuckets": {},
    "CreateBucket": BUCKET,
    "HeadBucket": BUCKET,
    "DeleteBucket": BUCKET,
    "ListObjects": BUCKET,
    "ListObjectsV2": BUCKET,
    "ListObjectVersions": BUCKET,
    "ListMultipartUploads": BUCKET,
    "DeleteObjects": {**BUCKET, "Delete": {"Objects": [{"Key": "k"}]}},
    "GetBucketLocation": BUCKET,
    "GetBucketEncryption": BUCKET,
    "GetBucketLifecycleConfiguration": BUCKET,
    "PutBucketPolicy": {**BUCKET, "Policy": "{}"},
    "GetBucketPolicyStatus": BUCKET,
    "PutBucketVersioning": {**BUCKET, "VersioningConfiguration": {"Status": "Enabled"}},
    "GetObjectLockConfiguration": BUCKET,
    "GetPublicAccessBlock": BUCKET,
    "GetObject": KEY,
    "HeadObject": KEY,
    "PutObject": {**KEY, "Body": b""},
    "DeleteObject": KEY,
    "CopyObject": {**KEY, "CopySource": {"Bucket": "b", "Key": "k"}},
    "GetObjectTagging": KEY,
    "GetObjectAttributes": {**KEY, "ObjectAttributes": ["ETag"]},
    "PutObjectLegalHold": {**KEY, "LegalHold": {"Status": "ON"}},
    "RestoreObject": {**KEY, "RestoreRequest": {"Days": 1}},
    "CreateMultipartUpload": KEY,
    "UploadPart": {**UPLOAD, "PartNumber": 1, "Body": b""},
    "UploadPartCopy": {**UPLOAD, "PartNumber": 1, "CopySource": {"Bucket": "b", "Key": "k"}},
    "CompleteMultipartUpload": {**UPLOAD, "MultipartUpload": {"Parts": []}},
    "AbortMultipartUpload": UPLOAD,
    "ListParts": UPLOAD,
}


class Sent(Exception):
    """What would have gone out."""


@pytest.fixture(scope="module")
def client():
    made = boto3.client("s3", region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")

    def stop(request, **_):
        raise Sent(request)

    made.meta.events.register("before-send.s3", stop)
    return made


@pytest.mark.parametrize("call", CALLS)
def test_the_name_of_a_call(client, call):
    method = next(name for name, each in client.meta.method_to_api_mapping.items() if each == call)
    with pytest.raises(Sent) as caught:
        getattr(client, method)(**CALLS[call])
    request = caught.value.args[0]
    query = dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))
    headers = {name.lower(): "" for name in request.headers}
    named = {"bucket": "Bucket" in CALLS[call], "key": "Key" in CALLS[call]}
    assert operations.name(request.method, query, headers, **named) == call
