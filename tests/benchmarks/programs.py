# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured, each in a process of its own inside the lab: ``python -m tests.benchmarks.programs NAME JSON``.

Prints what it did, in what time and with what as one line of JSON: see Measured.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import resource
import secrets
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from mayfly_agent.backup import Backup
from mayfly_agent.blocks import BLOCK_SIZE, BLOCKS_PER_GIB, VolumeDigest
from mayfly_agent.clients import CONFIG
from mayfly_agent.ebs import DirectSnapshots
from mayfly_agent.job import BackupJob, JobVolume, RepositoryPlace
from mayfly_agent.pipeline import ordered
from mayfly_agent.repository import keys, repository
from mayfly_agent.s3 import S3Objects
from mayfly_agent.status import Status

from tests.benchmarks.data import Source
from tests.labs import Lab

_REGION = "us-east-1"
Get = Callable[[int, str], tuple[bytes, bytes]]  # index and token of a block: the block and its SHA-256


@dataclass(frozen=True)
class Measured:
    """Blocks read and the digest over them, seconds on the clock and of processors, the largest memory in MiB."""

    blocks: int
    digest: str
    seconds: float
    cpu_seconds: float
    peak_mib: float

    @property
    def blocks_per_second(self) -> float:
        return self.blocks / self.seconds

    @property
    def mib_per_second(self) -> float:
        return self.blocks_per_second * BLOCK_SIZE / (1 << 20)

    @property
    def cpu_seconds_per_gib(self) -> float:
        return self.cpu_seconds / (self.blocks * BLOCK_SIZE / (1 << 30))


def best(lab: Lab, name: str, source: Source, concurrency: int, repeats: int) -> Measured:
    """The fastest of several runs of a program; each must have read what the snapshot holds."""
    value = json.dumps({**asdict(source), "concurrency": concurrency})
    found = []
    for _ in range(repeats):
        text = lab.exec(sys.executable, "-m", "tests.benchmarks.programs", name, value, wait=300)
        found.append(Measured(**json.loads(text.splitlines()[-1])))
        print(f"{name}: {found[-1]}")
        assert found[-1].digest == source.digest, f"{name} has not read what the snapshot holds"
    return min(found, key=lambda each: each.seconds)


def direct(source: Source, concurrency: int) -> Measured:
    """All blocks through the agent's client."""
    client = DirectSnapshots(boto3.Session().get_credentials(), _REGION, concurrency)
    return _read(source, client.list_blocks(source.snapshot_id), _get(client, source), concurrency)


def light(source: Source, concurrency: int) -> Measured:
    """All blocks through a client that does next to nothing, so that the service has the processors.

    It signs each request and takes each block whole, but hashes none: the digest is made of the checksums that came.
    """
    session = boto3.Session()
    listed = DirectSnapshots(session.get_credentials(), _REGION, 1).list_blocks(source.snapshot_id)
    return _read(source, listed, _light_get(session.get_credentials(), source), concurrency)


def plain(source: Source, concurrency: int) -> Measured:
    """All blocks through boto3's client, verified as the agent's does."""
    client = _boto3(concurrency)
    return _read(source, _listed(client, source.snapshot_id), _plain_get(client, source), concurrency)


def download(source: Source, concurrency: int) -> Measured:
    """All blocks through boto3's client, verified, into a sparse file."""
    client = _boto3(concurrency)
    get = _plain_get(client, source)
    with tempfile.TemporaryFile(dir=os.environ["MAYFLY_LAB_STATE"]) as file:
        file.truncate(source.size_gib << 30)

        def write(index: int, token: str) -> tuple[bytes, bytes]:
            block, digest = get(index, token)
            os.pwrite(file.fileno(), block, index * BLOCK_SIZE)
            return block, digest

        return _read(source, _listed(client, source.snapshot_id), write, concurrency)


def backup(source: Source, concurrency: int) -> Measured:
    """A backup of the volume into a new repository."""
    session = boto3.Session()
    s3 = session.client("s3", region_name=_REGION, config=CONFIG)
    bucket = f"bench-{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=bucket)
    store = S3Objects(s3, bucket, "", None)
    key = secrets.token_bytes(32)
    repository.create(store, lambda identity: [keys.wrap_with_recovery_key(key, key, identity)])
    now = datetime.now(UTC)
    job = BackupJob(
        run=f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        seconds_left=3600.0,
        resource={"account": "111122223333", "region": _REGION, "kind": "ec2", "id": "i-1", "name": "bench"},
        repository=RepositoryPlace(bucket, "", _REGION),
        resource_key=key,
        concurrency=concurrency,
        source_region=_REGION,
        restore_point_time=now,
        volumes=(JobVolume(source.volume_id, source.snapshot_id, "/dev/xvdf", source.size_gib),),
    )
    direct = DirectSnapshots(session.get_credentials(), _REGION, concurrency)
    with tempfile.TemporaryDirectory() as folder, Status(Path(folder, "status.json")) as status:
        clock = _Clock()
        digests: dict[str, str] = Backup(job, direct, store, status).run()["digests"]
        return clock.measured(int(status.unit(source.volume_id)["blocks_done"]), digests[source.volume_id])


class _Clock:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._began, self._cpu = time.monotonic(), _cpu_seconds()

    def measured(self, blocks: int, digest: str) -> Measured:
        """What was done since."""
        seconds, cpu = time.monotonic() - self._began, _cpu_seconds() - self._cpu
        # Not ru_maxrss: Linux counts what the process was before it became this program into that.
        status = Path("/proc/self/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return Measured(blocks, digest, seconds, cpu, int(peak.split()[1]) / 1024)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _read(source: Source, listed: Iterator[tuple[int, str]], get: Get, concurrency: int) -> Measured:
    digest, blocks = VolumeDigest(source.size_gib * BLOCKS_PER_GIB), 0

    def one(each: tuple[int, str]) -> tuple[int, bytes]:
        return each[0], get(*each)[1]

    clock = _Clock()
    with ThreadPoolExecutor(concurrency) as pool:
        for index, sha256 in ordered(pool, one, listed, 2 * concurrency):
            digest.add(index, sha256)
            blocks += 1
    return clock.measured(blocks, digest.hexdigest())


def _get(client: DirectSnapshots, source: Source) -> Get:
    return lambda index, token: client.get_block(source.snapshot_id, index, token)


def _light_get(credentials: Any, source: Source) -> Get:
    host = f"ebs.{_REGION}.amazonaws.com"
    context, mine = ssl.create_default_context(), threading.local()

    def get(index: int, token: str) -> tuple[bytes, bytes]:
        if not hasattr(mine, "connection"):
            mine.connection = http.client.HTTPSConnection(host, context=context, timeout=60)
            mine.block = bytearray(BLOCK_SIZE)
        target = f"/snapshots/{source.snapshot_id}/blocks/{index}?{urlencode({'blockToken': token})}"
        request = AWSRequest("GET", f"https://{host}{target}")
        SigV4Auth(credentials.get_frozen_credentials(), "ebs", _REGION).add_auth(request)
        mine.connection.request("GET", target, headers=dict(request.headers.items()))
        answer = mine.connection.getresponse()
        assert (answer.status, answer.length) == (200, BLOCK_SIZE)
        assert answer.readinto(mine.block) == BLOCK_SIZE
        answer.read()
        return mine.block, base64.b64decode(answer.headers["x-amz-Checksum"])

    return get


def _boto3(concurrency: int) -> Any:
    return boto3.client("ebs", region_name=_REGION, config=Config(max_pool_connections=concurrency))


def _listed(client: Any, snapshot_id: str) -> Iterator[tuple[int, str]]:
    more: dict[str, str] = {}
    while True:
        page = client.list_snapshot_blocks(SnapshotId=snapshot_id, MaxResults=10_000, **more)
        yield from ((each["BlockIndex"], each["BlockToken"]) for each in page["Blocks"])
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def _plain_get(client: Any, source: Source) -> Get:
    def get(index: int, token: str) -> tuple[bytes, bytes]:
        answer = client.get_snapshot_block(SnapshotId=source.snapshot_id, BlockIndex=index, BlockToken=token)
        block = answer["BlockData"].read()
        return block, hashlib.sha256(block).digest()

    return get


PROGRAMS = {"direct": direct, "light": light, "plain": plain, "download": download, "backup": backup}

if __name__ == "__main__":
    wanted = json.loads(sys.argv[2])
    at_once = wanted.pop("concurrency")
    print(json.dumps(asdict(PROGRAMS[sys.argv[1]](Source(**wanted), at_once))))
