# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures: AWS's own example, and what botocore makes of the same request."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st
from mayfly_agent.signing import CONTENT, UNSIGNED, payload_hash, query_string, signed

# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
EXAMPLE = ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)
HOST = "examplebucket.s3.amazonaws.com"
NOW = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
PUT = {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "signature"),
    [
        (
            "GET",
            "/test.txt",
            {},
            {"Range": "bytes=0-9"},
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            {},
            PUT,
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/",
            {"max-keys": "2", "prefix": "J"},
            {},
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get", "put", "list"],
)
def test_the_examples_of_the_documentation(
    *, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes, signature: str
) -> None:
    payload = payload_hash(body)
    sent = signed(
        EXAMPLE,
        "s3",
        "us-east-1",
        method=method,
        host=HOST,
        path=path,
        query=query_string(query),
        headers=headers | {CONTENT: payload},
        payload=payload,
        now=NOW,
    )
    assert sent["authorization"].endswith(f"Signature={signature}")


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
# Only S3's need escaping.
PATHS = {"s3": "/a/b%20c", "ebs": "/a/b"}
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(
    query=st.dictionaries(TEXT.filter(bool), TEXT, max_size=4),
    value=VALUE,
    token=st.sampled_from([None, "token/+="]),
    service=st.sampled_from(["s3", "ebs"]),
    unsigned=st.booleans(),
    body=st.binary(max_size=40),
)
def test_botocore_signs_the_same(
    *, query: dict[str, str], value: str, token: str | None, service: str, unsigned: bool, body: bytes
) -> None:
    keys = ReadOnlyCredentials("AKIA", "secret", token)
    payload = UNSIGNED if unsigned else payload_hash(body)
    headers = {"X-Amz-Some": value, CONTENT: payload}
    asked = query_string(query)
    ours = signed(
        keys,
        service,
        "eu-west-1",
        method="PUT",
        host="host:8443",
        path=PATHS[service],
        query=asked,
        headers=headers,
        payload=payload,
        now=NOW,
    )
    assert ours["authorization"] == _botocore(keys, service, asked, headers, body)


def _botocore(keys: Any, service: str, query: str, headers: dict[str, str], body: bytes) -> str:
    url = f"https://host:8443{PATHS[service]}{'?' if query else ''}{query}"
    request = AWSRequest("PUT", url, data=body, headers=headers)
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(keys, service, "eu-west-1")
    with patch("botocore.auth.get_current_datetime", return_value=datetime.fromtimestamp(NOW, UTC)):
        if service == "s3":
            with patch.object(S3SigV4Auth, "payload", lambda _self, _request: headers[CONTENT]):
                signer.add_auth(request)
        else:
            signer.add_auth(request)
    return str(request.headers["Authorization"])


def test_the_time_is_now() -> None:
    request: dict[str, Any] = {"method": "GET", "host": HOST, "path": "/", "query": "", "headers": {}}
    sent = signed(EXAMPLE, "s3", "us-east-1", **request, payload=payload_hash(b""))
    stamp = datetime.strptime(sent["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    assert abs(stamp - time.time()) < 60
