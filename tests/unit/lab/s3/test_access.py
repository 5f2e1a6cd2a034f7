# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts, Regions, bucket policies and faults."""

from __future__ import annotations

import http.client
import json
import ssl
import time

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from mayfly_lab import accounts
from mayfly_lab.s3 import policy
from mayfly_lab.s3.application import bucket_of_host
from mayfly_lab.sessions import Session


def code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return caught.value.response["Error"]["Code"]


def status(caught: pytest.ExceptionInfo[ClientError]) -> int:
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


def test_another_account_is_kept_out(server, bucket):
    other = server.client(accounts.PRODUCTION)
    for call in (
        lambda: other.get_object(Bucket=bucket, Key="k"),
        lambda: other.put_object(Bucket=bucket, Key="k", Body=b""),
        lambda: other.list_objects_v2(Bucket=bucket),
    ):
        with pytest.raises(ClientError) as caught:
            call()
        assert code(caught) == "AccessDenied"
    assert other.list_buckets()["Buckets"] == []


def test_a_policy_lets_another_account_in(server, s3, bucket):
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{accounts.PRODUCTION}:role/worker"},
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": f"arn:aws:s3:::{bucket}/mine/*",
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    other = server.client(accounts.PRODUCTION)
    other.put_object(Bucket=bucket, Key="mine/k", Body=b"data")
    assert other.get_object(Bucket=bucket, Key="mine/k")["Body"].read() == b"data"
    assert s3.get_object(Bucket=bucket, Key="mine/k")["Body"].read() == b"data"
    for call in (
        lambda: other.put_object(Bucket=bucket, Key="k", Body=b""),
        lambda: other.list_objects_v2(Bucket=bucket),
    ):
        with pytest.raises(ClientError) as caught:
            call()
        assert code(caught) == "AccessDenied"


def test_the_expected_owner_must_be_the_owner(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ExpectedBucketOwner=accounts.BACKUP)
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="k", Body=b"", ExpectedBucketOwner=accounts.PRODUCTION)
    assert code(caught) == "AccessDenied"


def test_a_bucket_of_another_region_redirects(server, s3, bucket):
    # botocore would follow the answer to the bucket's own name, which only the lab resolves: so it is asked by hand.
    context = ssl.create_default_context(cafile=server.folder / "ca.pem")
    connection = http.client.HTTPSConnection("localhost", server.ports["eu-central-1"], context=context, timeout=10)
    key = accounts.new_access_key_id(accounts.BACKUP, temporary=False)
    signature = (
        f"AWS4-HMAC-SHA256 Credential={key}/20261124/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    )
    connection.request("GET", f"/{bucket}/k", headers={"Authorization": signature})
    answer = connection.getresponse()
    assert answer.status == 301
    assert answer.headers["x-amz-bucket-region"] == "us-east-1"
    assert b"<Code>PermanentRedirect</Code>" in answer.read()
    connection.close()
    away = server.client(region="eu-central-1")
    away.create_bucket(Bucket=f"eu-{bucket}", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    assert s3.get_bucket_location(Bucket=f"eu-{bucket}")["LocationConstraint"] == "eu-central-1"


def test_unknown_keys_and_unsigned_requests(server):
    port = server.ports["us-east-1"]
    options = {
        "endpoint_url": f"https://localhost:{port}",
        "verify": str(server.folder / "ca.pem"),
        "region_name": "us-east-1",
    }
    stranger = boto3.client("s3", aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x", **options)
    with pytest.raises(ClientError) as caught:
        stranger.list_buckets()
    assert code(caught) == "InvalidAccessKeyId"
    nobody = boto3.client("s3", config=Config(signature_version=UNSIGNED), **options)
    with pytest.raises(ClientError) as caught:
        nobody.list_buckets()
    assert code(caught) == "AccessDenied"


def test_missing_things(s3, bucket):
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="absent")
    assert code(caught) == "NoSuchKey"
    with pytest.raises(ClientError) as caught:
        s3.list_objects_v2(Bucket="there-is-no-such-bucket")
    assert code(caught) == "NoSuchBucket"
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket="there-is-no-such-bucket", Key="k", Body=b"data")
    assert code(caught) == "NoSuchBucket"


def test_an_error_on_request_ends_with_its_count_and_spoils_no_other_call(s3, bucket, faults):
    faults.add("throttle", times=2, call="PutObject", resource=f"{bucket}/k*")
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            s3.put_object(Bucket=bucket, Key="key", Body=b"data" * 100_000)
        assert (code(caught), status(caught)) == ("SlowDown", 503)
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.put_object(Bucket=bucket, Key="key", Body=b"data")
    assert [fault.left for fault in faults.all()] == [0]


def test_an_error_on_request_has_the_code_that_goes_with_its_status(s3, bucket, faults):
    for asked, expected in ((403, "AccessDenied"), (500, "InternalError"), (503, "SlowDown")):
        faults.add("error", times=1, status=asked)
        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket=bucket, Key="key")
        assert (code(caught), status(caught)) == (expected, asked)


def test_an_answer_that_is_lost_was_given_all_the_same(s3, bucket, faults):
    faults.add("lost-answer", times=1, call="PutObject")
    with pytest.raises(ConnectionClosedError):
        s3.put_object(Bucket=bucket, Key="key", Body=b"data")
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"data"


def test_a_connection_that_is_held_holds_up_nobody_else(server, bucket, faults):
    faults.add("time-out", call="GetObject", seconds=30)
    one, other = server.client(read_timeout=0.3), server.client()
    began = time.monotonic()
    for _ in range(12):  # more than the server has threads
        with pytest.raises(ReadTimeoutError):
            one.get_object(Bucket=bucket, Key="key")
    other.put_object(Bucket=bucket, Key="key", Body=b"data")
    assert time.monotonic() - began < 20, "a thread waited"
    faults.clear()
    assert one.get_object(Bucket=bucket, Key="key")["Body"].read() == b"data"


def test_a_session_ends(server, bucket):
    key = accounts.new_access_key_id(accounts.BACKUP, temporary=True)
    server.sessions.begin(key, Session(time.time() + 0.5))
    s3 = server.client(key=key)
    s3.list_objects_v2(Bucket=bucket)
    time.sleep(0.6)
    with pytest.raises(ClientError) as caught:
        s3.list_objects_v2(Bucket=bucket)
    assert (code(caught), status(caught)) == ("ExpiredToken", 400)


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("s3.us-east-1.amazonaws.com", None),
        ("s3.amazonaws.com", None),
        ("a.b.s3.eu-central-1.amazonaws.com", "a.b"),
        ("name.s3.amazonaws.com:443", "name"),
        ("localhost:1234", None),
    ],
)
def test_the_bucket_in_a_host_name(host, bucket):
    assert bucket_of_host(host) == bucket


@pytest.mark.parametrize(
    ("method", "query", "key", "action"),
    [
        ("GET", {}, True, "s3:GetObject"),
        ("HEAD", {"versionId": "1"}, True, "s3:GetObjectVersion"),
        ("PUT", {"uploadId": "1", "partNumber": "1"}, True, "s3:PutObject"),
        ("DELETE", {"uploadId": "1"}, True, "s3:AbortMultipartUpload"),
        ("DELETE", {}, True, "s3:DeleteObject"),
        ("GET", {"list-type": "2"}, False, "s3:ListBucket"),
        ("PUT", {"policy": ""}, False, "s3:PutBucketPolicy"),
        ("GET", {"encryption": ""}, False, "s3:GetEncryptionConfiguration"),
        ("POST", {"delete": ""}, False, "s3:DeleteObject"),
    ],
)
def test_actions(method, query, key, action):
    assert policy.action(method, query, key=key) == action


def statement(effect: str, **more: object) -> dict[str, object]:
    return {"Effect": effect, "Principal": "*", "Action": "s3:*", "Resource": "*", **more}


@pytest.mark.parametrize(
    ("statements", "verdict"),
    [
        ([statement("Allow")], "allow"),
        ([statement("Allow"), statement("Deny", Action="s3:Get*")], "deny"),
        ([statement("Deny", Condition={"Bool": {"aws:SecureTransport": "false"}})], "neutral"),
        ([statement("Allow", Principal={"AWS": "999999999999"})], "neutral"),
        ([statement("Allow", Principal={"AWS": ["999999999999", accounts.BACKUP]})], "allow"),
        ([statement("Allow", Principal={"Service": "logging.s3.amazonaws.com"})], "neutral"),
        ([statement("Allow", Condition={"StringEquals": {"aws:PrincipalAccount": accounts.BACKUP}})], "allow"),
        ([statement("Allow", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})], "neutral"),
        ([statement("Allow", Resource="arn:aws:s3:::other/*")], "neutral"),
    ],
)
def test_policies(statements, verdict):
    document = json.dumps({"Statement": statements})
    assert policy.evaluate(document, accounts.BACKUP, "s3:GetObject", "arn:aws:s3:::bucket/key") == verdict
