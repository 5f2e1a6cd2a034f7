# SPDX-License-Identifier: GPL-3.0-or-later
"""Object data: on disk, whole, checked, and gone when deleted."""

from __future__ import annotations

import base64
import gc
import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

MIB = 1 << 20


def code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return caught.value.response["Error"]["Code"]


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 5 * MIB + 3])
def test_put_and_get(s3, bucket, size):
    data = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="a/b c+ü", Body=data)
    assert put["ETag"] == f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="a/b c+ü")
    assert got["Body"].read() == data
    assert got["ContentLength"] == size
    head = s3.head_object(Bucket=bucket, Key="a/b c+ü")
    assert (head["ContentLength"], head["ETag"]) == (size, put["ETag"])
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a/b c+ü"]


def test_a_stream_is_put(s3, bucket):
    data = os.urandom(3 * MIB + 1)
    s3.put_object(Bucket=bucket, Key="k", Body=io.BytesIO(data), ChecksumAlgorithm="SHA256")
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert got["Body"].read() == data


@pytest.mark.parametrize(
    ("wanted", "begin", "end"), [("0-0", 0, 1), ("100-199", 100, 200), ("-5", -5, None), ("2000000-", 2000000, None)]
)
def test_ranges(s3, bucket, wanted, begin, end):
    data = os.urandom(2 * MIB)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    got = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={wanted}")
    assert got["Body"].read() == data[begin:end]
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_range_past_the_end_is_an_error(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"12345")
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=5-9")
    assert code(caught) == "InvalidRange"


def test_data_lies_on_disk_until_it_is_deleted_or_replaced(s3, server, bucket):
    def files() -> int:
        gc.collect()
        return len(list(server.spool.iterdir()))

    before = files()
    s3.put_object(Bucket=bucket, Key="k", Body=os.urandom(MIB))
    assert files() == before + 1
    s3.put_object(Bucket=bucket, Key="k", Body=os.urandom(MIB))
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    assert files() == before + 1
    s3.delete_object(Bucket=bucket, Key="k")
    assert len(s3.get_object(Bucket=bucket, Key="copy")["Body"].read()) == MIB
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "copy"}]})
    assert files() == before


def test_wrong_md5_and_wrong_checksum_are_refused(s3, bucket):
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="k", Body=b"data", ContentMD5=base64.b64encode(bytes(16)).decode())
    assert code(caught) == "BadDigest"
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumSHA256=base64.b64encode(bytes(32)).decode())
    assert code(caught) == "BadDigest"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_conditional_puts(s3, bucket):
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert code(caught) == "PreconditionFailed"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=first["ETag"])
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="k", Body=b"4", IfMatch=first["ETag"])
    assert code(caught) == "PreconditionFailed"
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="absent", Body=b"4", IfMatch=first["ETag"])
    assert code(caught) == "NoSuchKey"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"3"


def test_one_of_many_wins_a_create_only_put(server, bucket):
    clients = [server.client() for _ in range(8)]

    def put(number: int) -> bool:
        try:
            clients[number].put_object(Bucket=bucket, Key="k", Body=bytes([number]) * 100_000, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, range(8)))
    assert sum(won) == 1
    assert clients[0].get_object(Bucket=bucket, Key="k")["Body"].read() == bytes([won.index(True)]) * 100_000


def test_multipart_upload(s3, bucket):
    parts = [os.urandom(5 * MIB), os.urandom(5 * MIB + 1), os.urandom(10)]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    tags = [
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=part)["ETag"]
        for number, part in enumerate(parts, 1)
    ]
    assert [each["Size"] for each in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)["Parts"]] == [
        len(p) for p in parts
    ]
    done = {"Parts": [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]}
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=done)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"".join(parts)
    cut = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={5 * MIB - 2}-{5 * MIB + 1}")["Body"].read()
    assert cut == parts[0][-2:] + parts[1][:2]


def test_an_aborted_multipart_upload_leaves_nothing(s3, server, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=os.urandom(MIB))
    assert len(s3.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_versions(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"old" * 10_000)["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    s3.delete_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="k")
    assert code(caught) == "NoSuchKey"
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=old)["Body"].read() == b"old" * 10_000
    s3.put_object(Bucket=bucket, Key="k", Body=b"again", IfNoneMatch="*")


def test_encryption_is_kept(s3, bucket):
    key = "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555"
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"data" * 10_000)
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", key)
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"], head["ETag"]) == ("aws:kms", key, put["ETag"])
    assert s3.get_object(Bucket=bucket, Key="k", IfMatch=put["ETag"])["Body"].read() == b"data" * 10_000


def test_metadata_and_tags(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"one": "two"}, Tagging="a=b", ContentType="text/plain")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["Metadata"], head["ContentType"]) == ({"one": "two"}, "text/plain")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": "b"}]


def test_pages_of_a_list(s3, bucket):
    for number in range(12):
        s3.put_object(Bucket=bucket, Key=f"p/{number:02}", Body=b"")
    pages = list(
        s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="p/", PaginationConfig={"PageSize": 5})
    )
    assert [len(page["Contents"]) for page in pages] == [5, 5, 2]
    assert s3.list_objects_v2(Bucket=bucket, Delimiter="/")["CommonPrefixes"] == [{"Prefix": "p/"}]
