# SPDX-License-Identifier: GPL-3.0-or-later
"""A store that is not AWS's: SeaweedFS inside a lab, at the one place of it that is elsewhere on the internet.

Run as a program it is the store itself: ``lab exec -- python -m tests.stores FOLDER``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from mayfly_agent.clients import client_at
from mayfly_agent.job import Endpoint
from mayfly_lab import addresses, certificates

from tests.labs import ROOT, Lab

BUCKET = "elsewhere"
URL = f"https://{addresses.ELSEWHERE_NAME}"
KEYS = {"access_key_id": "elsewhere-key", "secret_access_key": "elsewhere-secret-0123456789"}
_START_SECONDS = 120.0


def setting(folder: Path, **more: Any) -> dict[str, Any]:
    """``mayfly_repository`` for the store's bucket."""
    place = {"bucket": BUCKET, "prefix": "mayfly", "region": "us-east-1", "account": "111122223333"}
    return {**place, "endpoint_url": URL, "ca_file": str(folder / "ca.pem"), **KEYS, **more}


@contextmanager
def seaweed(lab: Lab, folder: Path) -> Iterator[None]:
    """The store, with an empty bucket, until the block is left."""
    folder.mkdir(parents=True)
    certificates.ensure_authority(folder)
    certificates.issue_server_certificate(folder, folder / "server.pem", [addresses.ELSEWHERE_NAME])
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEYS["access_key_id"], "secretKey": KEYS["secret_access_key"]}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    words = lab.words("exec", "--", sys.executable, "-m", "tests.stores", str(folder))
    with (folder / "store.log").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, cwd=ROOT, env=lab.variables())
    try:
        _wait(folder, server)
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        finally:
            server.kill()


def aws(lab: Lab, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The AWS CLI at the store."""
    keys = [f"AWS_ACCESS_KEY_ID={KEYS['access_key_id']}", f"AWS_SECRET_ACCESS_KEY={KEYS['secret_access_key']}"]
    at = ["--endpoint-url", URL, "--ca-bundle", str(folder / "ca.pem"), "--region", "us-east-1", "--output", "json"]
    return lab.run("exec", "--", "env", "-u", "AWS_PROFILE", *keys, "aws", *at, *words)


def keys_in(lab: Lab, folder: Path) -> set[str]:
    """Keys of all objects of the bucket."""
    done = aws(lab, folder, "s3api", "list-objects-v2", "--bucket", BUCKET)
    assert done.returncode == 0, done.stderr
    return {each["Key"] for each in json.loads(done.stdout or "{}").get("Contents", ())}


def _wait(folder: Path, server: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + _START_SECONDS
    while not (folder / "ready").exists():
        log = (folder / "store.log").read_text()[-3000:]
        assert server.poll() is None, log
        assert time.monotonic() < ends, log
        time.sleep(0.2)


def _make_ready(folder: Path) -> None:
    """Make the bucket, and write into it: the port answers before anything can be written."""
    keys = Credentials(KEYS["access_key_id"], KEYS["secret_access_key"])
    client = client_at(Endpoint(URL), keys, "us-east-1", lambda: None, folder / "ca.pem")
    while True:
        try:
            with suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
            client.delete_object(Bucket=BUCKET, Key="ready")
        except (BotoCoreError, ClientError):
            time.sleep(0.3)
        else:
            (folder / "ready").touch()
            return


def main(folder: Path) -> None:
    """Become the store."""
    data = folder / "data"
    data.mkdir()
    # Its sockets lie in /tmp, named by these numbers: two stores of two labs must not take each other's.
    master, volume, filer, s3 = random.sample(range(11000, 21000), 4)
    options = {
        "master.telemetry": "false",
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": master,
        "master.volumeSizeLimitMB": 512,
        "volume.port": volume,
        "volume.preStopSeconds": 0,
        "filer.port": filer,
        "volume.max": 20,
        "s3.ip.bind": addresses.ELSEWHERE,
        "s3.port": s3,
        "s3.port.https": 443,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.cert.file": folder / "server.pem",
        "s3.key.file": folder / "server.pem",
        "s3.config": folder / "s3.json",
    }
    program = Path(sys.executable).with_name("weed")
    words = [f"-{name}={value}" for name, value in options.items()]
    if os.fork():
        os.execv(program, [str(program), "server", *words, "-s3"])
    signal.alarm(int(_START_SECONDS))
    _make_ready(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
