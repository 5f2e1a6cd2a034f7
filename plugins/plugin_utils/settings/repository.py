# SPDX-License-Identifier: GPL-3.0-or-later
"""``mayfly_repository``: a bucket of AWS's or of another store that speaks S3."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from .model import SECRET, Setting
from .networks import AccountId, Text

HTTPS = 443


class Repository(Setting):
    """``mayfly_repository``: where restore points are kept, and what opens its key."""

    bucket: Text = Field(description="the name of a bucket")
    prefix: str = Field("", description="a prefix in the bucket")
    region: Text = Field(description="the Region of the bucket")
    account: AccountId = Field(description="the id of the account that owns the bucket, 12 digits in quotes")
    kms_key_id: Text | None = Field(None, description="the id, alias or ARN of a KMS key")
    passphrase: Text | None = Field(None, description="a text", json_schema_extra=SECRET)
    recovery_key: Text | None = Field(None, description="a text", json_schema_extra=SECRET)
    endpoint_url: Text | None = Field(None, description="an address such as https://s3.example.com")
    addressing_style: Literal["path", "virtual"] = Field("path", description="path or virtual")
    signing_region: Text | None = Field(None, description="a text")
    ca_file: Text | None = Field(None, description="the path of a file")
    access_key_id: Text | None = Field(None, description="a text")
    secret_access_key: Text | None = Field(None, description="a text", json_schema_extra=SECRET)

    @field_validator("endpoint_url")
    @classmethod
    def _is_https(cls, value: str | None) -> str | None:
        if value is not None:
            port_of(value)
        return value.rstrip("/") if value else None

    @field_validator("ca_file")
    @classmethod
    def _is_absolute(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_absolute():
            raise ValueError(f"{value} is not an absolute path; {{{{ inventory_dir }}}} names the inventory's folder")
        return value

    @model_validator(mode="after")
    def _has_keys_for_its_store(self) -> Self:
        keys = bool(self.access_key_id), bool(self.secret_access_key)
        if self.endpoint_url is None and (any(keys) or self.ca_file or self.signing_region):
            raise ValueError("access_key_id, secret_access_key, ca_file and signing_region are about endpoint_url")
        if self.endpoint_url is not None and not all(keys):
            raise ValueError("with endpoint_url, access_key_id and secret_access_key are needed too")
        return self


def port_of(endpoint_url: str) -> int:
    """The TCP port of a store; raises ValueError for what is no address of one."""
    parts = urlsplit(endpoint_url)
    plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme != "https" or not parts.hostname or not plain:
        raise ValueError("it is not https:// with a host, and nothing behind it but a port")
    return parts.port or HTTPS
