# SPDX-License-Identifier: GPL-3.0-or-later
"""S3's client as one process has it, below the agent's own layer over S3: its requests fail as S3's can."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from io import BytesIO
from typing import Any, TypeVar

from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ResponseStreamingError
from mayfly_agent import objects
from mayfly_agent.job import LONGEST_RUN
from mayfly_agent.objects import ObjectExists, ObjectNotFound
from mayfly_agent.progress import Clock, Progress

from tests.invariants.bucket import Bucket
from tests.invariants.promises import DONE, LATE, check
from tests.unit.agent.memory import Killed
from tests.unit.agent.retention.aging import REFUSED_AFTER

T = TypeVar("T")
# From the beginning of a run, whose controller's clock was set meanwhile, until its last request has acted.
LONGEST_ACT = timedelta(seconds=LONGEST_RUN, minutes=61)
PAGE = 6
_LAGS = (timedelta(0), timedelta(seconds=5), timedelta(minutes=8))


class WorkerClock(Clock):
    """A worker's, which began at some other number; what waits lets time go by for all."""

    def __init__(self, bucket: Bucket, origin: float) -> None:
        self._bucket = bucket
        self._origin = origin

    def now(self) -> float:
        return self._bucket.now.timestamp() - self._origin

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self._bucket.now += timedelta(seconds=seconds)
        return event.is_set()


class _Body(BytesIO):
    """What is read of an object. ``ends``: the connection is reset half way; ``waits``: it comes too slowly."""

    def __init__(self, body: bytes, ends: bool, waits: Callable[[], None] | None) -> None:
        super().__init__(body)
        self._ends = len(body) // 2 if ends else None
        self._waits = waits

    def read(self, size: int | None = -1) -> bytes:
        if self._waits:
            self._waits()
        if self._ends is not None and self.tell() + (size or 0) > self._ends:
            raise ResponseStreamingError(error="reset")
        return super().read(size)


@dataclass(frozen=True)
class Luck:
    """What happens to a process.

    It is killed at its request ``dies``: before S3 has it, or (``late``) when S3 has done it. At request ``pauses`` it
    waits for ``go_on``: when it has looked at the clock and is to sign, or (``sent``) with the request under way.
    ``faults``: the share of requests that fail, as drawn from ``seed``. ``lags``: lists may be some minutes old.
    ``skew``: how wrong its controller's clock was when it sent the deadline. ``threads``: it has its threads, and what
    they do comes in any order.
    """

    dies: int = -1
    late: bool = False
    pauses: int = -1
    sent: bool = False
    seed: int = 0
    faults: float = 0.0
    lags: bool = False
    skew: timedelta = timedelta(0)
    threads: bool = False

    @property
    def breaks(self) -> bool:
        """Whether the process may come to no end, through no fault of its own."""
        return self.dies >= 0 or self.pauses >= 0 or self.faults > 0 or self.lags or bool(self.skew)


class Wire:
    """One process's, of a run that ``began`` by S3's clock."""

    def __init__(self, bucket: Bucket, luck: Luck | None = None, began: datetime | None = None) -> None:
        self.bucket = bucket
        self.luck = luck or Luck()
        self.began = began or bucket.now
        self.calls = 0
        # What the agent's own clients call of each request when it has been signed.
        self._before: Callable[[], None] = lambda: None
        self.dead = False
        #: From this request on, its worker's lease is over.
        self.ends_after = -1
        self.paused, self.go_on = threading.Event(), threading.Event()
        self._drawn = random.Random(self.luck.seed)  # noqa: S311
        self._lock = threading.RLock()

    def progress(self, left: timedelta) -> Progress:
        """Of a run that has so much time left."""
        made = Progress(WorkerClock(self.bucket, self._drawn.uniform(0, 1e9)))
        made.deadline = made.clock.now() + (left + self.luck.skew).total_seconds()
        self._before = made.check_deadline
        return made

    def put_object(self, Key: str, Body: bytes, IfNoneMatch: str = "", **more: Any) -> dict[str, Any]:
        until = more.get("ObjectLockRetainUntilDate")
        lock = objects.Lock(until, more["ObjectLockMode"]) if until else None

        def act() -> dict[str, Any]:
            try:
                return {"ETag": self.bucket.put(Key, Body, objects.IfNoneMatch() if IfNoneMatch else None, lock)}
            except ObjectExists as error:
                raise _error("PutObject", 412, "PreconditionFailed") from error

        return self._call("PutObject", act)

    def get_object(self, Key: str, Range: str = "", **_: str) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            try:
                found = self.bucket.get(Key)
            except ObjectNotFound as error:
                raise _error("GetObject", 404, "NoSuchKey") from error
            body = found.body
            if Range:
                first, last = (int(each) for each in Range.removeprefix("bytes=").split("-"))
                body = body[first : last + 1]
                if not body:
                    raise _error("GetObject", 416, "InvalidRange")
            date = {"date": format_datetime(found.date, usegmt=True)}
            answer = {"ETag": found.etag, "LastModified": found.modified, "ResponseMetadata": {"HTTPHeaders": date}}
            return {**answer, "Body": _Body(body, self._draws(1), self._slowly if self._draws(1) else None)}

        return self._call("GetObject", act)

    def head_object(self, Key: str, **_: str) -> dict[str, Any]:
        """What locks it; versions of a key are locked alike here."""

        def act() -> dict[str, Any]:
            if Key not in self.bucket.everything():
                raise _error("HeadObject", 404, "404")
            lock = self.bucket.locks.get(Key)
            return {"ObjectLockMode": lock.mode, "ObjectLockRetainUntilDate": lock.until} if lock else {}

        return self._call("HeadObject", act)

    def put_object_retention(self, Key: str, Retention: dict[str, Any], **_: str) -> dict[str, Any]:
        """As S3 does: a lock that is not over becomes no shorter, and no other one."""

        def act() -> dict[str, Any]:
            wanted, found = objects.Lock(Retention["RetainUntilDate"], Retention["Mode"]), self.bucket.locks.get(Key)
            if Key not in self.bucket.objects:
                raise _error("PutObjectRetention", 404, "NoSuchKey")
            if found and self.bucket.is_locked(Key) and found != wanted:
                assert found.until is not None
                assert wanted.until is not None
                if found.mode != wanted.mode or found.until > wanted.until:
                    raise _error("PutObjectRetention", 403, "AccessDenied")
            self.bucket.locks[Key] = wanted
            return {}

        return self._call("PutObjectRetention", act)

    def list_objects_v2(self, Prefix: str, ContinuationToken: str = "", **_: str) -> dict[str, Any]:
        return self._page("ListObjectsV2", "Contents", Prefix, ContinuationToken, "NextContinuationToken")

    def list_object_versions(
        self, Prefix: str, KeyMarker: str = "", VersionIdMarker: str = "", **_: str
    ) -> dict[str, Any]:
        if not self.bucket.versioned:
            return self._page("ListObjectVersions", "Versions", Prefix, KeyMarker, "NextKeyMarker")

        def act() -> dict[str, Any]:
            found = sorted(self.bucket.list(Prefix, versions=True), key=lambda each: (each.key, each.version or ""))
            found = [each for each in found if (each.key, each.version or "") > (KeyMarker, VersionIdMarker)]
            page = [_entry(each, each.version) for each in found[:PAGE]]
            more = {"IsTruncated": True, "NextKeyMarker": found[PAGE - 1].key} if len(found) > PAGE else {}
            return {"Versions": page, **more, **({"NextVersionIdMarker": found[PAGE - 1].version} if more else {})}

        return self._call("ListObjectVersions", act)

    def delete_objects(self, Delete: dict[str, Any], **_: str) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            errors = []
            for each in Delete["Objects"]:
                if self._draws(1):
                    errors.append({"Key": each["Key"], "Code": "InternalError", "VersionId": each.get("VersionId")})
                elif self.bucket.delete_many([(each["Key"], each.get("VersionId"))]):
                    errors.append({"Key": each["Key"], "Code": "AccessDenied", "VersionId": each.get("VersionId")})
            return {"Errors": errors}

        return self._call("DeleteObjects", act)

    def _page(self, name: str, kind: str, prefix: str, after: str, following: str) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            ago = self._drawn.choice(_LAGS) if self.luck.lags else timedelta(0)
            found = [each for each in self.bucket.listed(prefix, ago) if each.key > after]
            page = [_entry(each, "null" if kind == "Versions" else None) for each in found[:PAGE]]
            more = {"IsTruncated": True, following: page[-1]["Key"]} if len(found) > PAGE else {}
            return {kind: page, **more}

        return self._call(name, act)

    def _call(self, name: str, act: Callable[[], T]) -> T:
        """One request: signed, sent, carried out or not, answered or not."""
        with self._lock:
            number, self.calls = self.calls, self.calls + 1
            over = 0 <= self.ends_after <= number
            if self.dead or over or (number == self.luck.dies and not self.luck.late):
                self.dead = True
                raise Killed
            if number == self.luck.pauses and not self.luck.sent:
                self._pause()
            signed = self.bucket.now
            self._before()
            if number == self.luck.pauses and self.luck.sent:
                self._pause()
            if self._draws(1):
                self._slowly()
            if self.bucket.now > signed + REFUSED_AFTER:
                raise _error(name, 403, "RequestTimeTooSkewed")
            if self._draws(2):
                DONE["requests that failed"] += 1
                raise self._drawn.choice(_before(name))
            check(LATE, self.bucket.now <= self.began + LONGEST_ACT, f"{name} of a run that began at {self.began}")
            result = act()
            if number == self.luck.dies:
                self.dead = True
                raise Killed
            if self._draws(2):
                DONE["answers that were lost"] += 1
                raise self._drawn.choice(_after(name))
            return result

    def _draws(self, weight: int) -> bool:
        return bool(self.luck.faults) and self._drawn.random() < weight * self.luck.faults

    def _slowly(self) -> None:
        self.bucket.now += timedelta(seconds=self._drawn.choice([3, 50, 130]))

    def _pause(self) -> None:
        self.paused.set()
        assert self.go_on.wait(600)


def _entry(each: objects.ObjectInfo, version: str | None) -> dict[str, Any]:
    """An object in a page of a list."""
    entry = {"Key": each.key, "Size": each.size, "LastModified": each.modified, "ETag": each.etag}
    return {**entry, "VersionId": version} if version is not None else entry


def _error(name: str, status: int, code: str) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, name)


def _before(name: str) -> list[Exception]:
    return [_error(name, 503, "SlowDown"), EndpointConnectionError(endpoint_url="https://s3")]


def _after(name: str) -> list[Exception]:
    return [_error(name, 500, "InternalError"), ConnectionClosedError(endpoint_url="https://s3")]
