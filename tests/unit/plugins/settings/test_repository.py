# SPDX-License-Identifier: GPL-3.0-or-later
"""``mayfly_repository`` of a store that is not AWS's: what it must say, and that no secret stands in an error."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError, read
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.repository import Repository, port_of

AWS = {"bucket": "backups", "region": "eu-central-1", "account": "111122223333"}
KEYS = {"access_key_id": "example", "secret_access_key": "the-secret"}
STORE = {**AWS, "endpoint_url": "https://s3.example.com:9000/", **KEYS}


def test_a_store_has_its_address_keys_and_authority() -> None:
    it: Repository = read(Repository, "mayfly_repository", {**STORE, "ca_file": "/etc/store.pem"})
    assert it.endpoint_url == "https://s3.example.com:9000"
    assert (it.addressing_style, it.ca_file, it.signing_region) == ("path", "/etc/store.pem", None)
    assert "the-secret" not in str(SettingError("mayfly_repository", ""))


@pytest.mark.parametrize(("url", "port"), [("https://a.example", 443), ("https://a.example:9000", 9000)])
def test_the_port_of_a_store(url: str, port: int) -> None:
    assert port_of(url) == port


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"endpoint_url": "http://s3.example.com"}, "https"),
        ({"endpoint_url": "s3.example.com"}, "https"),
        ({"endpoint_url": "https://s3.example.com/bucket"}, "https"),
        ({"endpoint_url": "https://me:pass@s3.example.com"}, "https"),
        ({"endpoint_url": "https://s3.example.com:99999"}, "endpoint_url"),
        ({"ca_file": "store.pem"}, "absolute"),
        ({"addressing_style": "auto"}, "path or virtual"),
        ({"secret_access_key": ""}, "secret_access_key"),
        ({"access_key_id": None}, "access_key_id"),
        ({"endpoint_url": ""}, "endpoint_url"),
    ],
    ids=repr,
)
def test_what_cannot_be_is_refused_without_a_secret(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError) as raised:
        read(Repository, "mayfly_repository", {**STORE, **changes})
    assert said in raised.value.message
    assert "the-secret" not in raised.value.message + raised.value.remedy
    assert "me:pass" not in raised.value.message
