# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from mayfly_lab import accounts


@pytest.mark.parametrize("temporary", [True, False])
def test_a_key_names_its_account(temporary: bool) -> None:
    key = accounts.new_access_key_id(accounts.PRODUCTION, temporary=temporary)
    assert accounts.account_of(key) == accounts.PRODUCTION
    assert key.startswith("ASIA" if temporary else "AKIA")
    assert len(key) == 20


@pytest.mark.parametrize("key", ["", "AKIAEXAMPLE", "AKIA11112222333", "XXXX111122223333ABCD", "AKIA111122223333abcd"])
def test_a_key_of_another_form_is_nobodys(key: str) -> None:
    with pytest.raises(accounts.UnknownAccessKey):
        accounts.account_of(key)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (
            "AWS4-HMAC-SHA256 Credential=AKIA111122223333ABCD/20260101/us-east-1/ec2/aws4_request, …",
            "AKIA111122223333ABCD",
        ),
        ("X-Amz-Algorithm=AWS4&X-Amz-Credential=ASIA111122223333ABCD%2F20260101%2F", "ASIA111122223333ABCD"),
        ("", None),
        ("Bearer abc", None),
    ],
)
def test_the_key_is_found_in_headers_and_presigned_queries(header: str, key: str | None) -> None:
    assert accounts.access_key_of(header) == key
