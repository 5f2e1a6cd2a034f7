# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository's objects in S3."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    SSLError,
)

from .credentials import expired
from .errors import AgentError
from .objects import (
    IfMatch,
    IfNoneMatch,
    Kept,
    Lock,
    LockedOtherwise,
    Named,
    ObjectChanged,
    ObjectExists,
    ObjectInfo,
    ObjectNotFound,
    Refusals,
    Refused,
    Stored,
)
from .progress import Progress
from .repository.layout import is_pack
from .retries import Broken, Busy, Retries
from .signed import NOT_AWS, NoAnswer

T = TypeVar("T")
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
# Of a single object among many; S3 fails for these as it does for requests.
_LATER_FOR_ONE = (*_LATER, "InternalError", "ServiceUnavailable")
_GONE = ("NoSuchKey", "NoSuchVersion")
_NO_OBJECT = ("405", "MethodNotAllowed")
# A store that does not know a request will not know it in five minutes.
_UNKNOWN = 501
_BROKEN = (
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    NoAnswer,
    IncompleteReadError,
)
_REMEDIES = {
    "NoSuchBucket": "Check bucket and region of mayfly_repository; the bucket must exist.",
    "AccessDenied": "The role lacks rights there, or account of mayfly_repository is not the bucket's owner.",
    "InvalidObjectState": "It is archived: playbooks/archive.yml brings archived restore points back.",
    "PermanentRedirect": "Check region of mayfly_repository.",
    "CertificateNotTrusted": NOT_AWS,
}
# Of stores that are not AWS's.
_REMEDIES_ELSEWHERE = {
    "NoSuchBucket": "Check bucket of mayfly_repository; the bucket must exist.",
    "AccessDenied": "The keys of mayfly_repository lack rights there.",
    "InvalidAccessKeyId": "Check access_key_id of mayfly_repository.",
    "SignatureDoesNotMatch": "Check secret_access_key and signing_region of mayfly_repository.",
    "AuthorizationHeaderMalformed": "Check signing_region of mayfly_repository.",
    "S3Unreachable": "Check endpoint_url of mayfly_repository, and whether networks lead there.",
    "CertificateNotTrusted": "Set ca_file of mayfly_repository to the authority that the store's certificate comes"
    " from; the host of endpoint_url must be named in it.",
}
# A store that does not keep these answers so, or with an error that names the call.
_NOT_KEPT = ("MethodNotAllowed", "NotImplemented", "ObjectLockConfigurationNotFoundError", "UnsupportedOperation")
# Each wait on the connection has a limit; so has a whole body, which could come byte by byte.
_BODY_SECONDS = 120.0
_PIECE_BYTES = 64 * 1024
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_DELETED_AT_ONCE = 1000


class S3Objects:
    """An ObjectStore below ``prefix`` of a bucket that ``owner`` (account id) must own.

    ``endpoint_url`` is the store's, "" for AWS's: errors name it.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str,
        owner: str | None,
        progress: Progress | None = None,
        *,
        endpoint_url: str = "",
        packs_class: str = "",
    ) -> None:
        """``packs_class`` is the storage class that packs are put in, "" for the bucket's own."""
        progress = progress or Progress()
        self._clock = progress.clock
        self._retries = Retries(progress)
        self._client = client
        self._bucket = bucket
        self._url = endpoint_url
        self._name = f"The store {endpoint_url}" if endpoint_url else "S3"
        self._remedies = _REMEDIES_ELSEWHERE if endpoint_url else _REMEDIES
        self._packs_class = packs_class
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._common: dict[str, str] = {"Bucket": bucket}
        if owner:
            self._common["ExpectedBucketOwner"] = owner

    def __str__(self) -> str:
        return f"{self._bucket}/{self._prefix}".rstrip("/") + (f" at {self._url}" if self._url else "")

    def get(self, key: str) -> Stored:
        """As ObjectStore says."""
        return self._got(key, lambda: self._stored(*self._read(key, {})))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """As ObjectStore says."""
        part = {"Range": f"bytes={offset}-{offset + length - 1}"}
        try:
            body = self._got(key, lambda: self._read(key, part)[1])
        except AgentError as error:
            if error.code != "InvalidRange":
                raise
            body = b""
        if len(body) != length:
            raise AgentError("ObjectDamaged", f"{key} has ended before byte {offset + length}.")
        return body

    def put(
        self, key: str, body: bytes, condition: IfNoneMatch | IfMatch | None = None, lock: Lock | None = None
    ) -> str:
        """As ObjectStore says."""
        asked: dict[str, Any] = {"IfNoneMatch": "*"} if isinstance(condition, IfNoneMatch) else {}
        asked |= {"IfMatch": condition.etag} if isinstance(condition, IfMatch) else {}
        asked |= {"StorageClass": self._packs_class} if self._packs_class and is_pack(key) else {}
        asked |= {"ObjectLockMode": lock.mode, "ObjectLockRetainUntilDate": lock.until} if lock else {}

        def attempt() -> str:
            answer = self._client.put_object(Key=self._prefix + key, Body=body, **asked, **self._common)
            return str(answer.get("ETag", ""))

        return self._do(key, attempt, unmet=ObjectChanged if isinstance(condition, IfMatch) else ObjectExists)

    def list(self, prefix: str, *, versions: bool = False) -> Iterator[ObjectInfo]:
        """As ObjectStore says."""
        for page in self._pages("list_object_versions" if versions else "list_objects_v2", prefix):
            for each in (*page.get("Contents", ()), *page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                yield ObjectInfo(
                    key=each["Key"].removeprefix(self._prefix),
                    size=each.get("Size", 0),
                    modified=each["LastModified"],
                    etag=each.get("ETag", ""),
                    version=each.get("VersionId"),
                    storage_class=each.get("StorageClass", ""),
                )

    def folders(self, prefix: str) -> Iterator[str]:
        """As ObjectStore says."""
        for page in self._pages("list_objects_v2", prefix, Delimiter="/"):
            yield from (each["Prefix"].removeprefix(self._prefix) for each in page.get("CommonPrefixes", ()))

    def delete(self, key: str) -> None:
        """As ObjectStore says."""
        self._do(key, lambda: self._client.delete_object(Key=self._prefix + key, **self._common))

    def delete_many(self, objects: Iterable[Named]) -> Refusals:
        """As ObjectStore says."""
        waiting = iter(objects)
        refused: Refusals = []
        while batch := list(islice(waiting, _DELETED_AT_ONCE)):
            refused += self._delete(batch)
        return refused

    def _delete(self, batch: Sequence[Named]) -> Refusals:
        """One batch, until S3 has said of each object that it is deleted or will not be."""
        left = batch
        final: Refusals = []

        def attempt() -> None:
            nonlocal left
            failed = self._failed(left)
            final.extend(each for each in failed if each.code not in _LATER_FOR_ONE)
            later = [each for each in failed if each.code in _LATER_FOR_ONE]
            left = [(each.key, each.version) for each in later]
            if later:
                raise Busy(AgentError(later[0].code, later[0].message))

        self._do(batch[0][0], attempt)
        return final

    def _failed(self, objects: Sequence[Named]) -> Refusals:
        named = [
            {"Key": self._prefix + key, **({} if version is None else {"VersionId": version})}
            for key, version in objects
        ]
        answer = self._client.delete_objects(Delete={"Objects": named, "Quiet": True}, **self._common)
        failed: Refusals = []
        for each in answer.get("Errors", ()):
            code, key, version = each["Code"], each["Key"].removeprefix(self._prefix), each.get("VersionId") or None
            message = f"{self._name} refused to delete {key} in bucket {self._bucket}: {each.get('Message', code)}"
            if code not in _GONE:
                failed.append(Refused(key, version, code, message))
        return failed

    def lock(self, key: str, version: str | None) -> Lock | None:
        """As ObjectStore says."""
        named = {"Key": self._prefix + key, **({} if version is None else {"VersionId": version})}
        try:
            answer = self._do(key, lambda: self._client.head_object(**named, **self._common))
        except AgentError as error:
            if error.code in _NO_OBJECT:  # a delete marker, which cannot be locked
                return None
            raise
        if answer.get("ObjectLockLegalHoldStatus") == "ON":
            return Lock(None)
        until: datetime | None = answer.get("ObjectLockRetainUntilDate")
        return Lock(until, answer.get("ObjectLockMode", "")) if until else None

    def extend_lock(self, key: str, lock: Lock) -> None:
        """As ObjectStore says, by one request; S3 refuses it of what is locked for longer or otherwise already."""
        asked = {"Mode": lock.mode, "RetainUntilDate": lock.until}
        named = {"Key": self._prefix + key, **self._common}
        try:
            self._do(key, lambda: self._client.put_object_retention(Retention=asked, **named))
        except AgentError as error:
            if error.code != "AccessDenied" or not self._is_locked(key, lock):
                raise

    def _is_locked(self, key: str, wanted: Lock) -> bool:
        """For as long and in that mode; raises LockedOtherwise."""
        found = self.lock(key, None)
        if not (found and found.until and wanted.until):
            return False
        if found.mode != wanted.mode:
            raise LockedOtherwise(key, found.mode)
        return found.until >= wanted.until

    def kept(self) -> Kept:
        """What the bucket keeps beside objects; raises AgentError."""
        versioning = self._asked("get_bucket_versioning")
        lock = self._asked("get_object_lock_configuration").get("ObjectLockConfiguration", {})
        return Kept(
            versions=versioning.get("Status") == "Enabled",
            locks=lock.get("ObjectLockEnabled") == "Enabled",
            default_retention=bool(lock.get("Rule", {}).get("DefaultRetention")),
        )

    def _asked(self, call: str) -> dict[str, Any]:
        """What the store says of the bucket, nothing where it does not know the call."""
        try:
            answer: dict[str, Any] = self._do("", lambda: getattr(self._client, call)(**self._common))
        except AgentError as error:
            if error.code in _NOT_KEPT:
                return {}
            raise
        return answer

    def _pages(self, call: str, prefix: str, **more: str) -> Iterator[dict[str, Any]]:
        asked = {"Prefix": self._prefix + prefix, **more, **self._common}
        while True:
            page = self._do(prefix, lambda asked=asked: getattr(self._client, call)(**asked))  # type: ignore[misc]
            yield page
            if not page.get("IsTruncated"):
                return
            following = {"NextContinuationToken": "ContinuationToken"}
            if call == "list_object_versions":
                following = {"NextKeyMarker": "KeyMarker", "NextVersionIdMarker": "VersionIdMarker"}
            asked |= {name: page[told] for told, name in following.items() if page.get(told)}

    def _stored(self, answer: dict[str, Any], body: bytes) -> Stored:
        try:
            date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            modified: datetime = answer["LastModified"]
            return Stored(body, str(answer["ETag"]), modified, date)
        except (KeyError, ValueError) as error:
            raise Broken(AgentError("BadAnswer", f"S3's answer lacks something: {error!r}.")) from error

    def _read(self, key: str, part: dict[str, str]) -> tuple[dict[str, Any], bytes]:
        """One answer and its body, with the checksum that S3 sent verified."""
        ends = self._clock.now() + _BODY_SECONDS
        answer = self._client.get_object(Key=self._prefix + key, **part, **self._common)
        pieces = []
        with closing(answer["Body"]) as body:  # unread, it must not come before the answer to another request
            while piece := body.read(_PIECE_BYTES):
                if self._clock.now() > ends:
                    raise NoAnswer(f"no whole body within {_BODY_SECONDS:.0f} seconds")
                pieces.append(piece)
        return answer, b"".join(pieces)

    def _got(self, key: str, call: Callable[[], T]) -> T:
        """As _do, for what is read: where not all may be listed, S3 refuses what is not there, in place of saying so.

        Below a prefix whose keys may be listed, the list says it.
        """
        try:
            return self._do(key, call)
        except AgentError as error:
            if error.code != "AccessDenied":
                raise
            try:
                there = any(each.key == key for each in self.list(key))
            except AgentError:
                there = True  # nobody knows
            if there:
                raise
            raise ObjectNotFound(key) from error

    def _do(self, key: str, call: Callable[[], T], unmet: type[ObjectExists | ObjectChanged] = ObjectExists) -> T:
        def attempt(_doubtful: bool) -> T:
            try:
                return call()
            except ClientError as error:
                raise self._refused(key, error, unmet) from error
            except _BROKEN as error:
                code = "S3Unreachable"
                message = f"{self._name} could not be reached for {key} in bucket {self._bucket}: {error}"
                if _is_untrusted(error):
                    code = "CertificateNotTrusted"
                final = AgentError(code, message, self._remedies.get(code, ""))
                raise (Broken(final) if code == "S3Unreachable" else final) from error
            except BotoCoreError as error:
                message = f"{self._name} could not be asked for {key} in bucket {self._bucket}: {error}"
                raise AgentError(type(error).__name__, message) from error

        return self._retries.run(attempt)

    def _refused(self, key: str, error: ClientError, unmet: type[ObjectExists | ObjectChanged]) -> Exception:
        code = error.response["Error"]["Code"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in _MISSING:
            return ObjectNotFound(key)
        if code == "PreconditionFailed":
            return unmet(key)
        message = (
            f"{self._name} refused {error.operation_name} of {key or 'the prefix'} in bucket {self._bucket}: {error}."
        )
        final = AgentError(code, message, self._remedies.get(code, ""))
        if code in _LATER or status == 429:
            return Busy(final)
        if status >= 500 and status != _UNKNOWN:
            return Busy(final, doubtful=True)
        if code in _SENT_BADLY:
            return Broken(final)
        ended = expired(code, message)
        return Broken(ended) if ended else final


def _is_untrusted(error: Exception) -> bool:
    """Whether the server's certificate was refused: of botocore's errors only the text tells it."""
    if isinstance(error, NoAnswer):
        return error.is_untrusted
    return isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
