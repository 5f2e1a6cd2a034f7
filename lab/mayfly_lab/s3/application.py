# SPDX-License-Identifier: GPL-3.0-or-later
"""The WSGI application: who asks what of which bucket, may they, and then moto's answer."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from http.client import NOT_FOUND, OK
from http.client import responses as reasons
from typing import Any, cast
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

from moto.core.request import Request
from moto.s3.models import FakeBucket, s3_backends
from werkzeug.exceptions import HTTPException

from mayfly_lab import accounts, addresses
from mayfly_lab.faults import Request as Asked
from mayfly_lab.gate import Gate
from mayfly_lab.iam import s3 as iam
from mayfly_lab.iam.guard import Guard
from mayfly_lab.s3 import deletions, locks, operations, policy, retrievals
from mayfly_lab.s3.body import Upload
from mayfly_lab.s3.content import Content, Spool
from mayfly_lab.s3.errors import S3Error, access_denied
from mayfly_lab.s3.keys import DiskKey, TaggedContent, patch_moto
from mayfly_lab.s3.permission import Permission, Subject, source_of
from mayfly_lab.s3.uploads import UploadResponse
from mayfly_lab.web import NoAnswer

log = logging.getLogger(__name__)
Environment = dict[str, Any]
_LARGEST_DOCUMENT = 8 << 20  # bytes of a body that is no object: lists of keys, policies, configurations
_NO_OBJECT_DATA = {"acl", "tagging", "retention", "legal-hold"}


@dataclass(frozen=True)
class Call:
    """One request, read."""

    method: str
    region: str
    account: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    access_key_id: str

    @property
    def asked(self) -> Asked:
        """What faults are matched against."""
        named = bool(self.bucket), bool(self.key)
        call = operations.name(self.method, self.query, self.headers, bucket=named[0], key=named[1])
        resources = (self.key, self.bucket, f"{self.bucket}/{self.key}", self.query.get("prefix", ""))
        return Asked("s3", call, self.account, self.region, tuple(each for each in resources if each))

    @property
    def carries_object(self) -> bool:
        """Whether its body is an object's data."""
        return (
            self.method == "PUT"
            and bool(self.key)
            and "x-amz-copy-source" not in self.headers
            and not _NO_OBJECT_DATA & self.query.keys()
        )


class _Request(Request):
    from_wsgi_server = True


class _Response(UploadResponse):
    """moto's answers to one request, whose object data was taken in before."""

    def __init__(self, content: Content | None) -> None:
        super().__init__()
        self._content = content

    def setup_class(self, *arguments: Any, **options: Any) -> None:
        super().setup_class(*arguments, **options)
        if self._content is not None:
            self.body = self._content


class Application:
    """S3 for WSGI servers that tell the address of a request as ``mayfly.address``."""

    def __init__(self, spool: Spool, gate: Gate, guard: Guard) -> None:
        patch_moto()
        self._spool = spool
        self._gate = gate
        # moto's state knows no threads, and a conditional put must look and write in one step. Data comes in and
        # goes out outside of this lock.
        self._lock = threading.Lock()
        self._permission = Permission(guard, self._lock)

    def __call__(self, environ: Environment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        started = time.monotonic()
        method = environ["REQUEST_METHOD"]
        try:
            status, headers, body = self._answer(environ)
        except S3Error as error:
            status, headers, body = error.status, error.headers, error.document()
        except HTTPException as error:  # what moto did not turn into an answer itself
            failure = S3Error(error.code or 500, type(error).__name__, str(error.description))
            status, headers, body = failure.status, failure.headers, failure.document()
        except NoAnswer:
            raise
        except Exception:
            log.exception("%s %s", method, environ.get("REQUEST_URI"))
            failure = S3Error(500, "InternalError", "The lab's S3 failed; its log says how.")
            status, headers, body = failure.status, failure.headers, failure.document()
        names = {name.lower(): str(value) for name, value in headers.items() if value is not None}
        if method != "HEAD":
            names["content-length"] = str(len(body))
        if status in (204, 304):
            names.pop("content-length", None)
        start_response(f"{status} {reasons.get(status, 'Unknown')}", [(k, _latin(v)) for k, v in names.items()])
        milliseconds = (time.monotonic() - started) * 1000
        log.info(
            "%s %s%s %d %.0f ms", method, environ.get("HTTP_HOST"), environ.get("REQUEST_URI"), status, milliseconds
        )
        if method == "HEAD" or status in (204, 304):
            return []
        return body.chunks() if isinstance(body, Content) else [body]

    def _answer(self, environ: Environment) -> tuple[int, dict[str, Any], Content | bytes]:
        call = read_call(environ)
        asked = call.asked
        refusal = self._gate.enter(asked, call.access_key_id)
        if refusal:
            raise S3Error(refusal.status, refusal.code, refusal.message)
        owner, bucket = self._find(call)
        action = iam.Asked(asked.call, call.key, call.query, call.headers)
        subject = Subject(asked, call.access_key_id, action, call.bucket, bucket, environ)
        self._admit(call, subject)
        answer: tuple[int, dict[str, Any], Content | bytes]
        if bucket is not None and asked.call == "DeleteObjects":
            answer = self._delete_allowed(call, subject, owner)
        elif bucket is not None and asked.call == "RestoreObject":
            answer = self._restore(call, subject, bucket), {}, b""
        else:
            answer = self._do(call, subject, owner)
        self._gate.leave(asked, answer[0])
        return answer

    def _do(self, call: Call, subject: Subject, owner: str) -> tuple[int, dict[str, Any], Content | bytes]:
        """What a caller asks who may; moto answers."""
        content = None
        passed: dict[str, str] = {}
        if call.carries_object:
            content, passed = self._take_in(subject.environ, call, subject.bucket)
        try:
            with self._lock:
                self._check_conditions(call, subject.bucket)
                environ = self._check_locks(call, subject)
                request = _moto_request(environ, call, owner, passed, with_body=content is None)
                response = _Response(content)
                handler = response.key_response if call.key else response.bucket_response
                status, headers, body = handler(request, request.raw_url, dict(request.headers))
        except HTTPException as error:
            if error.code == NOT_FOUND:
                self._permission.check_seeing(subject)
            raise
        if int(status) == NOT_FOUND:
            self._permission.check_seeing(subject)
        return int(status), headers, body.encode() if isinstance(body, str) else body

    def _restore(self, call: Call, subject: Subject, bucket: FakeBucket) -> int:
        """Begin the retrieval of an archived object; the HTTP status."""
        body = _read_document(subject.environ)
        quick = self._gate.faults.take("retrieval-time", call.asked)
        with self._lock:
            backend = s3_backends[bucket.account_id]["aws"]
            found = backend.get_object(bucket.name, call.key, version_id=call.query.get("versionId"))
            return retrievals.restore(cast(DiskKey | None, found), body, quick.seconds if quick else None)

    def _delete_allowed(self, call: Call, subject: Subject, owner: str) -> tuple[int, dict[str, Any], Content | bytes]:
        """DeleteObjects of what may be deleted; the rest is told in the answer."""
        body = _read_document(subject.environ)
        objects = deletions.named(body)
        denied: list[str | None] = [None] * len(objects)
        if self._permission.enforced:
            denied = self._permission.deletable(subject, objects)
        assert subject.bucket is not None
        with self._lock:
            locked = locks.refusals(subject.bucket, objects, bypass=iam.bypasses(subject.asked))
        reasons = [each or other for each, other in zip(denied, locked, strict=True)]
        left = [each for each, reason in zip(objects, reasons, strict=True) if reason is None]
        if len(left) < len(objects):
            body = deletions.request(left, body)
        answer: tuple[int, dict[str, Any], Content | bytes] = 200, {"Content-Type": "application/xml"}, b""
        if left or not objects:  # nothing left to refuse by moto, which would not tell the version
            environ = {**subject.environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
            answer = self._do(call, replace(subject, environ=environ), owner)
        if answer[0] != OK or len(left) == len(objects):
            return answer
        document = bytes(answer[2]).decode() or None
        return answer[0], answer[1], deletions.answer(document, deletions.errors(objects, reasons)).encode()

    def _find(self, call: Call) -> tuple[str, FakeBucket | None]:
        """(account that moto is to answer for, bucket); raises the S3Error of one that is elsewhere or another's."""
        bucket = find_bucket(call.bucket) if call.bucket else None
        if bucket is None or (call.method == "PUT" and not call.key and not call.query):
            return call.account, None
        if bucket.region_name != call.region and "location" not in call.query:
            raise _redirect(call.bucket, bucket.region_name)
        _expect_owner(bucket, call.headers.get("x-amz-expected-bucket-owner"))
        return bucket.account_id, bucket

    def _admit(self, call: Call, subject: Subject) -> None:
        """Raises the S3Error that keeps a caller out."""
        bucket, source = subject.bucket, call.headers.get("x-amz-copy-source")
        name, key = source_of(source) if source and bucket else ("", "")
        origin = find_bucket(name) if name else None
        if origin is not None:
            _expect_owner(origin, call.headers.get("x-amz-source-expected-bucket-owner"))
        if self._permission.enforced:
            self._permission.check(subject, origin)
            return
        if bucket is not None:
            allow(bucket, call.account, policy.action(call.method, call.query, key=bool(call.key)), call.key)
        if origin is not None:
            allow(origin, call.account, "s3:GetObject", key)

    def _take_in(
        self, environ: Mapping[str, Any], call: Call, bucket: FakeBucket | None
    ) -> tuple[Content, dict[str, str]]:
        """The object's data, on disk, and the headers that say what was found out about it."""
        if bucket is None:
            raise S3Error(
                404, "NoSuchBucket", "The specified bucket does not exist", fields={"BucketName": call.bucket}
            )
        upload = Upload(call.headers, md5=not _under_kms(call, bucket))
        content = upload.receive(environ["wsgi.input"], self._spool)
        headers = dict(upload.checksums)
        if headers:
            algorithm = next(iter(headers)).removeprefix("x-amz-checksum-")
            headers["x-amz-sdk-checksum-algorithm"] = algorithm.upper()
        return TaggedContent(content, upload.entity_tag), headers

    def _check_locks(self, call: Call, subject: Subject) -> Mapping[str, Any]:
        """The request as it is to be read from now on; raises the S3Error of what Object Lock forbids."""
        environ = subject.environ
        if subject.bucket is None or not call.key:
            return environ
        bypass, version = iam.bypasses(subject.asked), call.query.get("versionId")
        if subject.request.call == "PutObjectRetention" and subject.bucket.object_lock_enabled:
            body = _read_document(environ)
            environ = {**environ, "wsgi.input": io.BytesIO(body)}
            locks.check_retention(subject.bucket, call.key, version, body, bypass=bypass)
        elif subject.request.call == "DeleteObject":
            (reason,) = locks.refusals(subject.bucket, [(call.key, version)], bypass=bypass)
            if reason is not None:
                raise access_denied(reason)
        elif call.carries_object:
            locks.check_put(call.headers)
        return environ

    def _check_conditions(self, call: Call, bucket: FakeBucket | None) -> None:
        """If-Match and If-None-Match of what writes."""
        writes = call.carries_object and "uploadId" not in call.query
        completes = call.method == "POST" and "uploadId" in call.query
        if bucket is None or not (writes or completes):
            return
        match, none_match = call.headers.get("if-match"), call.headers.get("if-none-match")
        if match is None and none_match is None:
            return
        current = s3_backends[bucket.account_id]["aws"].get_object(bucket.name, call.key)
        if none_match == "*" and current is not None:
            raise _precondition("If-None-Match")
        if match is not None and current is None:
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.", fields={"Key": call.key})
        if match is not None and current is not None and match.strip('"') != current.etag.strip('"'):
            raise _precondition("If-Match")


def read_call(environ: Environment) -> Call:
    """Who asks what; raises S3Error for callers that nobody knows."""
    region = addresses.service_at(environ["mayfly.address"])[1]
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    for name in ("CONTENT_LENGTH", "CONTENT_TYPE"):
        if name in environ:
            headers[name.replace("_", "-").lower()] = environ[name]
    query_string = environ.get("QUERY_STRING", "")
    access_key = accounts.access_key_of(headers.get("authorization") or query_string)
    if access_key is None:
        raise access_denied("the request is not signed")
    try:
        account = accounts.account_of(access_key)
    except accounts.UnknownAccessKey as error:
        message = f"The AWS Access Key Id you provided does not exist in our records: {error}"
        raise S3Error(403, "InvalidAccessKeyId", message, fields={"AWSAccessKeyId": access_key}) from error
    path = urlsplit(environ.get("REQUEST_URI", "/")).path if "REQUEST_URI" in environ else environ["PATH_INFO"]
    bucket = bucket_of_host(headers.get("host", ""))
    rest = path.removeprefix("/")
    if bucket is None:
        bucket, _, rest = rest.partition("/")
    query = dict(parse_qsl(query_string, keep_blank_values=True))
    key = unquote_to_bytes(rest).decode("utf-8", "replace")
    return Call(environ["REQUEST_METHOD"], region, account, bucket, key, query, headers, access_key)


def bucket_of_host(host: str) -> str | None:
    """The bucket that a virtual-hosted name holds, None for the endpoint itself."""
    name = host.partition(":")[0].lower()
    for region in addresses.REGIONS:
        for endpoint in addresses.hostnames("s3", region):
            if name == endpoint:
                return None
            if name.endswith(f".{endpoint}"):
                return name.removesuffix(f".{endpoint}")
    return None


def find_bucket(name: str) -> FakeBucket | None:
    """A bucket, whoever owns it."""
    place = s3_backends.bucket_accounts.get(name)
    if place is None:
        return None
    partition, account = place
    return s3_backends[account][partition].buckets.get(name)


def allow(bucket: FakeBucket, account: str, action: str, key: str) -> None:
    """Raises S3Error (403) unless the account owns the bucket or its policy lets it in, and nothing is denied."""
    resource = f"arn:aws:s3:::{bucket.name}" + (f"/{key}" if key else "")
    verdict = policy.evaluate(bucket.policy, account, action, resource)
    if verdict == "deny" and not (account == bucket.account_id and "BucketPolicy" in action):
        raise access_denied(f"the policy of bucket {bucket.name} denies {action} to account {account}")
    if verdict == "neutral" and account != bucket.account_id:
        raise access_denied(f"account {account} may not call {action} on bucket {bucket.name} of another account")


def _expect_owner(bucket: FakeBucket, owner: str | None) -> None:
    if owner and owner != bucket.account_id:
        raise access_denied(f"bucket {bucket.name} does not belong to account {owner}")


def _redirect(bucket: str, region: str) -> S3Error:
    message = "The bucket you are attempting to access must be addressed using the specified endpoint."
    endpoint = f"{bucket}.s3.{region}.amazonaws.com"
    headers = {"x-amz-bucket-region": region}
    return S3Error(301, "PermanentRedirect", message, fields={"Endpoint": endpoint, "Bucket": bucket}, headers=headers)


def _precondition(name: str) -> S3Error:
    message = "At least one of the pre-conditions you specified did not hold"
    return S3Error(412, "PreconditionFailed", message, fields={"Condition": name})


def _under_kms(call: Call, bucket: FakeBucket) -> bool:
    asked = call.headers.get("x-amz-server-side-encryption")
    if asked or not bucket.encryption:
        return asked == "aws:kms"
    default = bucket.encryption["Rule"]["ApplyServerSideEncryptionByDefault"]
    return bool(default["SSEAlgorithm"] == "aws:kms")


def _moto_request(
    environ: Mapping[str, Any], call: Call, owner: str, passed: dict[str, str], *, with_body: bool
) -> _Request:
    """The request as moto is to see it: path style, at the regional endpoint, for the account that owns the bucket."""
    path = f"/{call.bucket}/{quote(call.key)}" if call.key else f"/{call.bucket}"
    changed: Environment = {
        **environ,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in passed.items()},
        "HTTP_HOST": f"s3.{call.region}.amazonaws.com",
        "HTTP_X_MOTO_ACCOUNT_ID": owner,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "RAW_URI": path,
        "REQUEST_URI": path,
    }
    if with_body:
        changed["wsgi.input"] = io.BytesIO(_read_document(environ))
    else:
        changed.update({"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"})
        changed.pop("HTTP_X_AMZ_CONTENT_SHA256", None)
    return _Request(changed)


def _read_document(environ: Mapping[str, Any]) -> bytes:
    """A body that is no object."""
    size = int(environ.get("CONTENT_LENGTH") or 0)
    if size > _LARGEST_DOCUMENT:
        raise S3Error(400, "MaxMessageLengthExceeded", "Your request was too big.")
    return bytes(environ["wsgi.input"].read(size)) if size else b""


def _latin(value: str) -> str:
    """WSGI's strings are bytes in Latin-1; what does not fit goes as UTF-8."""
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode().decode("latin-1")
    return value
