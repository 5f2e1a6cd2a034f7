# SPDX-License-Identifier: GPL-3.0-or-later
"""EBS direct APIs: the blocks of snapshots."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import urlsplit

from .blocks import BLOCK_SIZE, BLOCKS_PER_GIB
from .credentials import expired
from .errors import AgentError
from .progress import Progress
from .retries import Broken, Busy, Retries
from .signed import NOT_AWS, Answer, NoAnswer, SignedRequests
from .signing import CONTENT, UNSIGNED, Credentials

T = TypeVar("T")

# Of the errors below 500 those that pass by themselves; every 5xx does
# (https://docs.aws.amazon.com/ebs/latest/userguide/error-retries.html).
_LATER = (
    "ConcurrentLimitExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
)
# Reasons of ValidationException that are about the way of a block, not about the block.
_SENT_BADLY = ("WRITE_REQUEST_TIMEOUT", "CONFLICTING_BLOCK_UPDATE")
# One that is told by its message alone; its reason is that of every wrong parameter (same page).
_UNREAD = "Failed to read block data"
# "It can take up to 2 minutes": a snapshot that was just started is not known everywhere.
_YOUNG_SECONDS = 120.0
_PAGE = "10000"
_JSON = {"content-type": "application/json"}
_NO_WAY = "Look at the way out of the worker's network in mayfly_networks; the playbook worker_check tries it."


class _Refused(AgentError):
    """EBS's own error, with the reason that some of its exceptions have."""

    def __init__(self, answer: Answer, what: str) -> None:
        super().__init__(answer.code, f"EBS refused {what}: {answer.message}")
        self.reason = answer.reason


class NotComparable(AgentError):
    """EBS does not say what has changed between two snapshots."""

    def __init__(self, first: str, second: str, why: str) -> None:
        super().__init__("NotComparable", f"{second} cannot be compared with {first}: {why}")


class DirectSnapshots:
    """Reads and writes snapshots of one account in one Region. Safe to use from ``concurrency`` threads."""

    def __init__(
        self,
        credentials: Credentials,
        region: str,
        concurrency: int,
        progress: Progress | None = None,
        url: str | None = None,
    ) -> None:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        url = url or f"https://ebs.{region}.{suffix}"
        self._host = urlsplit(url).hostname
        progress = progress or Progress()
        self._clock = progress.clock
        self._retries = Retries(progress)
        self._http = SignedRequests(credentials, "ebs", region, url, connections=concurrency + 2, clock=progress.clock)
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        """(index, token) of every block that was ever written, ascending. One page of them is in memory."""
        what = f"the list of blocks of {snapshot_id}"
        for page in self._pages(f"/snapshots/{snapshot_id}/blocks", {}, "Blocks", what):
            yield from ((int(each["BlockIndex"]), str(each["BlockToken"])) for each in page.get("Blocks", ()))

    def list_changed(self, first: str, second: str) -> Iterator[tuple[int, str | None]]:
        """(index, token for ``second``) of every block that may differ between two snapshots, ascending.

        The token is None where the second one has no such block. Raises NotComparable: at once, before anything is
        taken, and from the list when EBS refuses a later page, as when the first snapshot was deleted meanwhile.
        """
        what = f"the list of changes from {first} to {second}"
        pages = self._pages(f"/snapshots/{second}/changedblocks", {"firstSnapshotId": first}, "ChangedBlocks", what)
        pages = _comparable(pages, first, second)
        page = next(pages)
        return (
            (int(each["BlockIndex"]), each.get("SecondBlockToken"))
            for page in chain([page], pages)
            for each in page.get("ChangedBlocks", ())
        )

    def _pages(self, path: str, query: dict[str, str], listed: str, what: str) -> Iterator[dict[str, Any]]:
        """Pages of a list of blocks, which is called ``listed`` in them.

        A page's token lasts 60 minutes, and a page can take longer than that to be read: the list then goes on behind
        its last block.
        """
        following, resumed = 0, -1
        at: dict[str, str] = {}
        while True:
            try:
                page = self._ask("GET", path, {"maxResults": _PAGE, **query, **at}, what=what, parse=_object)
            except _Refused as error:
                # Without a step forward since the last time, it is not the token's age.
                if error.reason != "INVALID_PAGE_TOKEN" or "pageToken" not in at or resumed == following:
                    raise
                resumed, at = following, {"startingBlockIndex": str(following)}
                continue
            yield page
            if page.get(listed):  # an empty page may have a token too
                following = int(page[listed][-1]["BlockIndex"]) + 1
            token = page.get("NextToken")
            if not token or following >= int(page["VolumeSize"]) * BLOCKS_PER_GIB:
                return
            at = {"pageToken": str(token)}

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        """(block, its SHA-256): verified against the checksum that EBS sent."""
        what = f"block {index} of {snapshot_id}"

        def verified(answer: Answer) -> tuple[bytes, bytes]:
            digest = sha256(answer.body).digest()
            sent = answer.headers.get("x-amz-checksum", "")
            if len(answer.body) != BLOCK_SIZE or base64.b64encode(digest).decode() != sent:
                raise Broken(AgentError("ChecksumMismatch", f"EBS sent {what} with a wrong checksum."))
            return answer.body, digest

        return self._ask(
            "GET", f"/snapshots/{snapshot_id}/blocks/{index}", {"blockToken": token}, what=what, parse=verified
        )

    def start_snapshot(self, size_gib: int, client_token: str, description: str, **options: Any) -> str:
        """Begin a new snapshot; its id. ``options`` are Tags, Encrypted, KmsKeyArn, … as StartSnapshot takes them."""
        value = {"VolumeSize": size_gib, "ClientToken": client_token, "Description": description, **options}
        body = json.dumps(value).encode()
        answer = self._ask("POST", "/snapshots", {}, body=body, what="a new snapshot", parse=_object)
        snapshot_id = str(answer["SnapshotId"])
        with self._lock:
            self._started[snapshot_id] = self._clock.now()
        return snapshot_id

    def put_block(self, snapshot_id: str, index: int, block: bytes, digest: bytes) -> None:
        """Write a block; EBS verifies its SHA-256."""
        headers = {
            "x-amz-Data-Length": str(len(block)),
            "x-amz-Checksum": base64.b64encode(digest).decode(),
            "x-amz-Checksum-Algorithm": "SHA256",
            CONTENT: UNSIGNED,
        }
        path, what = f"/snapshots/{snapshot_id}/blocks/{index}", f"block {index} of the new {snapshot_id}"
        self._ask("PUT", path, {}, body=block, headers=headers, snapshot_id=snapshot_id, what=what, parse=_nothing)

    def complete_snapshot(self, snapshot_id: str, blocks: int, aggregate: bytes) -> None:
        """Seal the snapshot: EBS compares the number of blocks and the SHA-256 over all their checksums.

        After an answer that was lost, a snapshot that is no longer pending counts as sealed by that request: whoever
        uses it waits for its state "completed" in any case.
        """
        headers = {
            "x-amz-ChangedBlocksCount": str(blocks),
            "x-amz-Checksum": base64.b64encode(aggregate).decode(),
            "x-amz-Checksum-Algorithm": "SHA256",
            "x-amz-Checksum-Aggregation-Method": "LINEAR",
        }
        path, what = f"/snapshots/completion/{snapshot_id}", f"the end of {snapshot_id}"
        self._ask(
            "POST", path, {}, headers=headers, snapshot_id=snapshot_id, what=what, parse=_nothing, done_by=_sealed
        )

    def _ask(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        *,
        what: str,
        parse: Callable[[Answer], T],
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        snapshot_id: str = "",
        done_by: Callable[[Answer], bool] = lambda _answer: False,
    ) -> T:
        """What ``parse`` makes of the answer; raises AgentError with EBS's own code.

        ``snapshot_id`` is that of a snapshot being written. ``done_by`` tells of an error whether it means that an
        earlier, doubtful try was carried out.
        """

        def attempt(doubtful: bool) -> T:
            try:
                answer = self._http.once(method, path, query, body, {**_JSON, **(headers or {})})
            except NoAnswer as error:
                message = f"{self._host} was not reached for {what}: {error}"
                if error.is_untrusted:
                    raise AgentError("CertificateNotTrusted", message, NOT_AWS) from error
                raise Broken(AgentError("EbsUnreachable", message, _NO_WAY)) from error
            if answer.status < 300 or (doubtful and done_by(answer)):
                return parse(answer)
            raise self._refused(answer, what, snapshot_id)

        return self._retries.run(attempt)

    def _refused(self, answer: Answer, what: str, snapshot_id: str) -> Exception:
        error = _Refused(answer, what)
        if answer.code in _LATER or answer.status == 429:
            return Busy(error)
        if answer.status >= 500:
            return Busy(error, doubtful=True)
        if answer.status == 404 and self._is_young(snapshot_id):
            return Busy(error)
        if answer.status == 408 or answer.reason in _SENT_BADLY or _UNREAD in answer.message:
            return Broken(error)
        ended = expired(answer.code, error.message)
        return Broken(ended) if ended else error

    def _is_young(self, snapshot_id: str) -> bool:
        with self._lock:
            started = self._started.get(snapshot_id)
        return started is not None and self._clock.now() - started < _YOUNG_SECONDS


def _comparable(pages: Iterator[dict[str, Any]], first: str, second: str) -> Iterator[dict[str, Any]]:
    """Pages of a list of changes; what EBS refuses of it, and what is no block of ours, as NotComparable."""
    try:
        for page in pages:
            if page["BlockSize"] != BLOCK_SIZE:
                raise NotComparable(first, second, f"the size of a block is {page['BlockSize']} bytes.")
            yield page
    except _Refused as error:
        raise NotComparable(first, second, error.message) from error


def _object(answer: Answer) -> dict[str, Any]:
    try:
        value = json.loads(answer.body)
    except ValueError as error:
        raise Broken(AgentError("BadAnswer", f"EBS has sent what is no JSON: {error}")) from error
    if not isinstance(value, dict):
        raise Broken(AgentError("BadAnswer", "EBS has sent JSON that is no object."))
    return value


def _nothing(_answer: Answer) -> None:
    """Of an answer that says no more than that it was done."""


def _sealed(answer: Answer) -> bool:
    return answer.reason == "INVALID_SNAPSHOT_ID"
