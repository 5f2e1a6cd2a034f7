# SPDX-License-Identifier: GPL-3.0-or-later
"""A lean server of the EBS direct APIs: ``python -m tests.benchmarks.repository.direct FOLDER PORT``.

The lab's own checks who asks, for what, how often, and signs its tokens: it would take more of the processors than the
client that is measured. This one serves files. A snapshot is ``FOLDER/<id>.json``, see Snapshot; one that is written
becomes ``FOLDER/<id>.img``. Prints its processor seconds so far to whoever asks for ``/cpu``.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import socket
import socketserver
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mayfly_agent.blocks import BLOCK_SIZE, BLOCKS_PER_GIB, ZERO_DIGEST

_BLOCK = re.compile(r"/snapshots/([^/]+)/blocks/(\d+)$")
_LIST = re.compile(r"/snapshots/([^/]+)/(blocks|changedblocks)$")
_DIGEST = 32
# EBS keeps connections that ask for nothing for longer.
_IDLE_SECONDS = 300
_HEAD_BYTES = 65536
_SPARE = "spare.img"


@dataclass(frozen=True)
class Snapshot:
    """Blocks of a file from ``offset`` on, and the file of their digests, 32 bytes each; zeros count as unwritten."""

    image: str
    digests: str
    offset: int
    blocks: int

    @property
    def size_gib(self) -> int:
        return -(-self.blocks // BLOCKS_PER_GIB)


def take(folder: Path, name: str, image: Path, offset: int = 0, length: int | None = None) -> Snapshot:
    """A snapshot of a part of an image, as it is now; the image itself is not copied."""
    length = image.stat().st_size - offset if length is None else length
    digests = folder / f"{name}.sha"
    with image.open("rb") as file, digests.open("wb") as written:
        file.seek(offset)
        for _ in range(length // BLOCK_SIZE):
            written.write(sha256(file.read(BLOCK_SIZE)).digest())
    made = Snapshot(str(image), str(digests), offset, length // BLOCK_SIZE)
    (folder / f"{name}.json").write_text(json.dumps(asdict(made)))
    return made


def spare(folder: Path, size: int) -> None:
    """Zeros for the next snapshot that is written: to find room for them is the file system's work, not a service's."""
    with (folder / _SPARE).open("wb") as file:
        for _ in range(size // BLOCK_SIZE):
            file.write(bytes(BLOCK_SIZE))


class _Files:
    """What is in the folder, read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.snapshot = lru_cache(maxsize=256)(self._snapshot)
        self.writing = lru_cache(maxsize=16)(self._writing)

    def start(self, size_gib: int) -> str:
        """A new snapshot of zeros: the file that spare() has made, if any."""
        name = f"snap-{secrets.token_hex(8)}"
        made, spare = self._folder / f"{name}.img", self._folder / _SPARE
        if spare.exists():
            spare.rename(made)
        with made.open("ab") as file:
            file.truncate(size_gib << 30)
        return name

    def _snapshot(self, name: str) -> tuple[Snapshot, int, list[bytes]]:
        found = Snapshot(**json.loads((self._folder / f"{name}.json").read_text()))
        text = Path(found.digests).read_bytes()
        digests = [text[at : at + _DIGEST] for at in range(0, len(text), _DIGEST)]
        return found, os.open(found.image, os.O_RDONLY), digests

    def _writing(self, name: str) -> int:
        return os.open(self._folder / f"{name}.img", os.O_WRONLY)


class _Connection(socketserver.BaseRequestHandler):
    """One client's requests, one after the other."""

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(_IDLE_SECONDS)
        self._files: _Files = self.server.files  # type: ignore[attr-defined]
        self._block = bytearray(BLOCK_SIZE)
        self._held = b""

    def handle(self) -> None:
        try:
            while head := self._head():
                self._answer(*head)
        except (ConnectionError, TimeoutError):
            return

    def _head(self) -> tuple[str, str, int] | None:
        """(method, target, length of the body) of the next request; None when there is none."""
        while b"\r\n\r\n" not in self._held:
            more = self.request.recv(_HEAD_BYTES)
            if not more:
                return None
            self._held += more
        text, _, self._held = self._held.partition(b"\r\n\r\n")
        first, *lines = text.decode("latin-1").split("\r\n")
        method, target, _version = first.split(" ", 2)
        length = next((line for line in lines if line.lower().startswith("content-length:")), ":0")
        return method, target, int(length.partition(":")[2])

    def _body(self, length: int) -> memoryview:
        whole = memoryview(self._block)[:length]
        here = len(self._held)
        whole[:here], self._held = self._held, b""
        while here < length:
            got = self.request.recv_into(whole[here:])
            if not got:
                raise ConnectionResetError
            here += got
        return whole

    def _answer(self, method: str, target: str, length: int) -> None:
        parts = urlsplit(target)
        block, listed = _BLOCK.match(parts.path), _LIST.match(parts.path)
        if block and method == "GET":
            self._send_block(block[1], int(block[2]))
        elif block:
            body = self._body(length)
            os.pwrite(self._files.writing(block[1]), body, int(block[2]) * BLOCK_SIZE)
            self._send(201, {})
        elif listed:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self._send(200, self._listed(listed[1], query))
        elif parts.path == "/snapshots":
            self._send(201, {"SnapshotId": self._files.start(json.loads(bytes(self._body(length)))["VolumeSize"])})
        elif parts.path == "/cpu":
            self._send(200, {"cpu_seconds": time.process_time()})
        else:
            self._body(length)
            self._send(202, {"Status": "completed"})

    def _send(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.request.sendall(head.encode() + body)

    def _send_block(self, name: str, index: int) -> None:
        snapshot, file, digests = self._files.snapshot(name)
        checksum = base64.b64encode(digests[index]).decode()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {BLOCK_SIZE}\r\n"
            f"x-amz-Data-Length: {BLOCK_SIZE}\r\nx-amz-Checksum-Algorithm: SHA256\r\nx-amz-Checksum: {checksum}\r\n\r\n"
        )
        self.request.sendall(head.encode(), socket.MSG_MORE)
        at = snapshot.offset + index * BLOCK_SIZE
        end = at + BLOCK_SIZE
        while at < end:
            at += os.sendfile(self.request.fileno(), file, at, end - at)

    def _listed(self, name: str, query: dict[str, str]) -> dict[str, Any]:
        """A page of blocks that are not zeros, or of those that differ from another snapshot's."""
        snapshot, _file, digests = self._files.snapshot(name)
        first = query.get("firstSnapshotId")
        before = self._files.snapshot(first)[2] if first else None
        begin = int(query.get("pageToken") or query.get("startingBlockIndex") or 0)

        def found() -> Iterator[dict[str, Any]]:
            for index in range(begin, len(digests)):
                there = digests[index] != ZERO_DIGEST
                if before is None:
                    if there:
                        yield {"BlockIndex": index, "BlockToken": "token"}
                elif digests[index] != before[index]:
                    yield {"BlockIndex": index, "FirstBlockToken": "token"} | (
                        {"SecondBlockToken": "token"} if there else {}
                    )

        page = list(islice(found(), int(query.get("maxResults", 100))))
        value = {"BlockSize": BLOCK_SIZE, "VolumeSize": snapshot.size_gib, "ChangedBlocks" if first else "Blocks": page}
        return value | ({"NextToken": str(page[-1]["BlockIndex"] + 1)} if page else {})


class Server(socketserver.ThreadingTCPServer):
    """On loopback."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.files = _Files(folder)


if __name__ == "__main__":
    with Server(Path(sys.argv[1]), int(sys.argv[2])) as served:
        print("ready", flush=True)
        served.serve_forever()
