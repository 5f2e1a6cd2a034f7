# SPDX-License-Identifier: GPL-3.0-or-later
"""EBS direct APIs over plain signed HTTPS: a fraction of the time that a service client takes for a block."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import RefreshableCredentials

from .blocks import BLOCK_SIZE
from .errors import AgentError

_TIMEOUT = urllib3.Timeout(connect=5, read=60)
_TRIES = 3
# What AWS shares between all callers is waited for patiently, everything else is tried three times.
_PATIENCE_SECONDS = 300.0
_LONGEST_PAUSE = 10.0
_THROTTLED = ("RequestThrottledException", "ThrottlingException", "Throttling", "SlowDown")
_PAGE = "10000"
_UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def code(self) -> str:
        named = self.headers.get("x-amzn-errortype", "").split(":")[0]
        return named or ("ServerError" if self.status >= 500 else f"Http{self.status}")

    @property
    def message(self) -> str:
        try:
            value = json.loads(self.body)
        except ValueError:
            return self.body[:200].decode(errors="replace")
        return f"{value.get('Message') or value.get('message')} ({value.get('Reason', 'no reason')})"


class DirectSnapshots:
    """Reads and writes snapshots of one account in one Region. Safe to use from ``concurrency`` threads."""

    def __init__(
        self, credentials: RefreshableCredentials, region: str, concurrency: int, host: str | None = None
    ) -> None:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        self._host = host or f"ebs.{region}.{suffix}"
        self._region = region
        self._credentials = credentials
        self._http = urllib3.PoolManager(maxsize=concurrency + 2, block=True, retries=False, timeout=_TIMEOUT)

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        """(index, token) of every block that was ever written, ascending."""
        for page in self._pages(f"/snapshots/{snapshot_id}/blocks", {}):
            yield from ((int(each["BlockIndex"]), str(each["BlockToken"])) for each in page.get("Blocks", ()))

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        """(block, its SHA-256): verified against the checksum that EBS sent."""
        path = f"/snapshots/{snapshot_id}/blocks/{index}"
        what = f"block {index} of {snapshot_id}"
        for _ in range(_TRIES):
            answer = self._ask("GET", path, {"blockToken": token}, what=what)
            digest = sha256(answer.body).digest()
            sent = answer.headers.get("x-amz-checksum", "")
            if len(answer.body) == BLOCK_SIZE and base64.b64encode(digest).decode() == sent:
                return answer.body, digest
        raise AgentError("ChecksumMismatch", f"EBS sent {what} {_TRIES} times with a wrong checksum.")

    def start_snapshot(self, size_gib: int, client_token: str, description: str, **options: Any) -> str:
        """Begin a new snapshot; its id. ``options`` are Tags, KmsKeyArn, … as StartSnapshot takes them."""
        value = {"VolumeSize": size_gib, "ClientToken": client_token, "Description": description, **options}
        answer = self._ask("POST", "/snapshots", {}, body=json.dumps(value).encode(), what="a new snapshot")
        return str(json.loads(answer.body)["SnapshotId"])

    def put_block(self, snapshot_id: str, index: int, block: bytes, digest: bytes) -> None:
        """Write a block; EBS verifies its SHA-256."""
        headers = {
            "x-amz-Data-Length": str(len(block)),
            "x-amz-Checksum": base64.b64encode(digest).decode(),
            "x-amz-Checksum-Algorithm": "SHA256",
            "x-amz-content-sha256": _UNSIGNED,
        }
        path = f"/snapshots/{snapshot_id}/blocks/{index}"
        self._ask("PUT", path, {}, body=block, headers=headers, what=f"block {index} of the new {snapshot_id}")

    def complete_snapshot(self, snapshot_id: str, blocks: int, aggregate: bytes) -> None:
        """Seal the snapshot: EBS compares the number of blocks and the SHA-256 over all their checksums."""
        headers = {
            "x-amz-ChangedBlocksCount": str(blocks),
            "x-amz-Checksum": base64.b64encode(aggregate).decode(),
            "x-amz-Checksum-Algorithm": "SHA256",
            "x-amz-Checksum-Aggregation-Method": "LINEAR",
        }
        self._ask("POST", f"/snapshots/completion/{snapshot_id}", {}, headers=headers, what=f"the end of {snapshot_id}")

    def _pages(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        token: str | None = None
        while True:
            more = {"pageToken": token} if token else {}
            answer = self._ask("GET", path, {"maxResults": _PAGE, **query, **more}, what=path)
            page: dict[str, Any] = json.loads(answer.body)
            yield page  # a page may be empty and still have a next
            token = page.get("NextToken")
            if not token:
                return

    def _ask(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        *,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        what: str = "",
    ) -> _Answer:
        """One request, repeated while that makes sense; raises AgentError with EBS's own code."""
        ends = time.monotonic() + _PATIENCE_SECONDS
        tries, pauses = 0, 0
        while True:
            try:
                answer = self._once(method, path, query, body, headers or {})
            except urllib3.exceptions.HTTPError as error:
                tries += 1
                if tries >= _TRIES:
                    raise AgentError("EbsUnreachable", f"EBS was not reached for {what}: {error}") from error
                code, message = "", str(error)
            else:
                if answer.status < 300:
                    return answer
                code, message = answer.code, answer.message
            # A snapshot that has just been started may not be known everywhere.
            young = code == "ResourceNotFoundException" and method == "PUT"
            patient = code in _THROTTLED or code.startswith(("ServerError", "InternalServer")) or young
            if code and not patient:
                raise AgentError(code, f"EBS refused {what}: {message}")
            if time.monotonic() > ends:
                raise AgentError(code or "EbsUnreachable", f"EBS did not give {what} in time: {message}")
            pauses += 1
            time.sleep(random.uniform(0.05, min(_LONGEST_PAUSE, 0.1 * 2**pauses)))  # noqa: S311 - jitter

    def _once(self, method: str, path: str, query: dict[str, str], body: bytes, headers: dict[str, str]) -> _Answer:
        url = f"https://{self._host}{quote(path)}" + (f"?{urlencode(query)}" if query else "")
        request = AWSRequest(method, url, data=body, headers={"Content-Type": "application/json", **headers})
        SigV4Auth(self._credentials.get_frozen_credentials(), "ebs", self._region).add_auth(request)
        response = self._http.request(method, url, body=body, headers=dict(request.headers.items()))
        return _Answer(response.status, response.headers, response.data)
