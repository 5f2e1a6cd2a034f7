# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository's objects in S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)
from urllib3.exceptions import HTTPError

from .errors import AgentError
from .objects import ObjectExists, ObjectNotFound
from .progress import Progress
from .retries import Broken, Busy, Retries

T = TypeVar("T")
# The client tries once: it would not repeat what breaks in mid-body, and stops six tries after the first 503.
CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,
    retries={"mode": "standard", "total_max_attempts": 1},
    user_agent_extra="mayfly",
)
_MISSING = ("NoSuchKey", "404", "NotFound")
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_LATER = (
    "ConditionalRequestConflict",  # another writer of this key is at work: not that it has written
    "OperationAborted",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
)
_SENT_BADLY = (
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
)
# A store that does not know a request will not know it in five minutes.
_UNKNOWN = 501
_BROKEN = (
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    HTTPError,
    IncompleteReadError,
)
_REMEDIES = {
    "NoSuchBucket": "Check bucket and region of mayfly_repository; the bucket must exist.",
    "AccessDenied": "The role lacks rights there, or account of mayfly_repository is not the bucket's owner.",
    "PermanentRedirect": "Check region of mayfly_repository.",
}
# Each wait on the connection has a limit; so has a whole body, which could come byte by byte.
_BODY_SECONDS = 120.0
_PIECE_BYTES = 64 * 1024


class S3Objects:
    """An ObjectStore below ``prefix`` of a bucket that ``owner`` (account id) must own."""

    def __init__(
        self, client: Any, bucket: str, prefix: str, owner: str | None, progress: Progress | None = None
    ) -> None:
        progress = progress or Progress()
        self._clock = progress.clock
        self._retries = Retries(progress)
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
        return self._do(key, lambda: self._read(key, {}))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """As ObjectStore says."""
        part = {"Range": f"bytes={offset}-{offset + length - 1}"}
        body = self._do(key, lambda: self._read(key, part))
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

    def _read(self, key: str, part: dict[str, str]) -> bytes:
        """The body of one answer, with the checksum that S3 sent verified."""
        ends = self._clock.now() + _BODY_SECONDS
        answer = self._client.get_object(Key=self._prefix + key, **part, **self._common)
        pieces = []
        with closing(answer["Body"]) as body:  # unread, it must not come before the answer to another request
            while piece := body.read(_PIECE_BYTES):
                if self._clock.now() > ends:
                    raise HTTPError(f"no whole body within {_BODY_SECONDS:.0f} seconds")
                pieces.append(piece)
        return b"".join(pieces)

    def _do(self, key: str, call: Callable[[], T]) -> T:
        def attempt(_doubtful: bool) -> T:
            try:
                return call()
            except ClientError as error:
                raise self._refused(key, error) from error
            except _BROKEN as error:
                message = f"S3 could not be reached for {key} in bucket {self._bucket}: {error}"
                raise Broken(AgentError("S3Unreachable", message)) from error
            except BotoCoreError as error:
                message = f"S3 could not be asked for {key} in bucket {self._bucket}: {error}"
                raise AgentError(type(error).__name__, message) from error

        return self._retries.run(attempt)

    def _refused(self, key: str, error: ClientError) -> Exception:
        code = error.response["Error"]["Code"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in _MISSING:
            return ObjectNotFound(key)
        if code == "PreconditionFailed":
            return ObjectExists(key)
        message = f"S3 refused {error.operation_name} of {key or 'the prefix'} in bucket {self._bucket}: {error}."
        final = AgentError(code, message, _REMEDIES.get(code, ""))
        if code in _LATER or status == 429:
            return Busy(final)
        if status >= 500 and status != _UNKNOWN:
            return Busy(final, doubtful=True)
        if code in _SENT_BADLY:
            return Broken(final)
        return final
