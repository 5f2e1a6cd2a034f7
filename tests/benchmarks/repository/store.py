# SPDX-License-Identifier: GPL-3.0-or-later
"""SeaweedFS as the S3 store of all, on loopback, and what was asked of it."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.benchmarks.repository.machine import ACCESS_KEY, REGION, SECRET_KEY, environment, free_ports, with_us

_READY_SECONDS = 60
# All that it listens on; else two of it could not run at once.
_PORTS = tuple(f"{each}.port{kind}" for each in ("s3", "master", "volume", "filer") for kind in ("", ".grpc"))
_PORTS = (*_PORTS, "s3.port.iceberg", "s3.port.lance", "metricsPort")
_STOP_SECONDS = 20
_REQUESTS = re.compile(r"^SeaweedFS_s3_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_BUCKET = re.compile(r'bucket="([^"]*)"')


@dataclass(frozen=True)
class Store:
    """Where it is."""

    url: str
    metrics_url: str

    def client(self) -> Any:
        """botocore's."""
        session = botocore.session.Session()
        session.set_credentials(ACCESS_KEY, SECRET_KEY)
        config = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 1})
        return session.create_client("s3", region_name=REGION, endpoint_url=self.url, config=config)

    def stored(self, bucket: str) -> int:
        """Bytes of all objects."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sum(each["Size"] for page in pages for each in page.get("Contents", ()))

    def requests(self, bucket: str) -> int:
        """Requests that were made of a bucket so far."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:  # noqa: S310 - loopback
            text = answer.read().decode()
        found = ((_BUCKET.search(labels), count) for labels, count in _REQUESTS.findall(text))
        return int(sum(float(count) for name, count in found if name and name[1] == bucket))


@contextmanager
def started(folder: Path) -> Iterator[Store]:
    """The store, with its data in ``folder``; stopped when the block is left. Raises RuntimeError when it fails."""
    identity = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [{"name": "bench", "credentials": [identity], "actions": ["Admin"]}]}))
    data = folder / "data"
    data.mkdir()
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    command = ["weed", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.config={config}"]
    command += ["-master.volumeSizeLimitMB=1024", "-volume.max=100", "-master.telemetry=false"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    store = Store(f"http://127.0.0.1:{ports['s3.port']}", f"http://127.0.0.1:{ports['metricsPort']}/metrics")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(with_us(command), stdout=log, stderr=subprocess.STDOUT, env=environment())
    try:
        _wait(store, process, folder / "log")
        yield store
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)


def _wait(store: Store, process: subprocess.Popen[bytes], log: Path) -> None:
    """Its port answers before it takes writes: wait for one."""
    client, ends = store.client(), time.monotonic() + _READY_SECONDS
    while True:
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"SeaweedFS does not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.2)
