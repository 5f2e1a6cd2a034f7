# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository's objects in S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .errors import AgentError
from .objects import ObjectExists, ObjectNotFound

T = TypeVar("T")
CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,
    retries={"mode": "standard", "total_max_attempts": 6},
    user_agent_extra="mayfly",
)
_MISSING = ("NoSuchKey", "404", "NotFound")
_REMEDIES = {
    "NoSuchBucket": "Check bucket and region of mayfly_repository; the bucket must exist.",
    "AccessDenied": "The role lacks rights there, or account of mayfly_repository is not the bucket's owner.",
    "PermanentRedirect": "Check region of mayfly_repository.",
}


class S3Objects:
    """An ObjectStore below ``prefix`` of a bucket that ``owner`` (account id) must own."""

    def __init__(self, client: Any, bucket: str, prefix: str, owner: str | None) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._common: dict[str, str] = {"Bucket": bucket}
        if owner:
            self._common["ExpectedBucketOwner"] = owner

    def __str__(self) -> str:
        return f"{self._bucket}/{self._prefix}".rstrip("/")

    def get(self, key: str) -> bytes:
        """As ObjectStore says."""
        return self._do(key, lambda: self._read(self._client.get_object(Key=self._prefix + key, **self._common)))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """As ObjectStore says."""
        part = f"bytes={offset}-{offset + length - 1}"
        body = self._do(
            key, lambda: self._read(self._client.get_object(Key=self._prefix + key, Range=part, **self._common))
        )
        if len(body) != length:
            raise AgentError("ObjectDamaged", f"{key} has ended at byte {offset + len(body)}.")
        return body

    def put(self, key: str, body: bytes, *, create_only: bool = False) -> None:
        """As ObjectStore says."""
        condition = {"IfNoneMatch": "*"} if create_only else {}
        self._do(key, lambda: self._client.put_object(Key=self._prefix + key, Body=body, **condition, **self._common))

    def list(self, prefix: str, *, folders: bool = False) -> Iterator[str]:
        """As ObjectStore says."""
        arguments = {"Prefix": self._prefix + prefix, **self._common}
        if folders:
            arguments["Delimiter"] = "/"
        token: dict[str, str] = {}
        while True:
            asked = {**arguments, **token}
            page = self._do(prefix, lambda asked=asked: self._client.list_objects_v2(**asked))  # type: ignore[misc]
            found = [each["Prefix"] for each in page.get("CommonPrefixes", ())] if folders else []
            found = found or [each["Key"] for each in page.get("Contents", ()) if not folders]
            yield from (each.removeprefix(self._prefix) for each in found)
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        """As ObjectStore says."""
        self._do(key, lambda: self._client.delete_object(Key=self._prefix + key, **self._common))

    @staticmethod
    def _read(answer: dict[str, Any]) -> bytes:
        body: bytes = answer["Body"].read()
        return body

    def _do(self, key: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _MISSING:
                raise ObjectNotFound(key) from error
            if code in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise ObjectExists(key) from error
            message = f"S3 refused {error.operation_name} of {key or 'the prefix'} in bucket {self._bucket}: {error}."
            raise AgentError(code, message, _REMEDIES.get(code, "")) from error
        except BotoCoreError as error:
            message = f"S3 could not be reached for {key} in bucket {self._bucket}: {error}"
            raise AgentError("S3Unreachable", message) from error
