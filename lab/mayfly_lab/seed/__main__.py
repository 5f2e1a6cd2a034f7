# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the lab; a second time changes nothing. Run inside it, by ``lab seed``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3

from mayfly_lab import accounts, paths
from mayfly_lab.own_kernel.image import AMI_NAME, AMI_OWNER
from mayfly_lab.seed import identity, sources
from mayfly_lab.seed.network import WAYS_OUT, ensure_network

MAIN_REGION = "us-east-1"
_RANGES = {
    ("backup", "us-east-1"): "10.20.0.0/16",
    ("backup", "eu-central-1"): "10.21.0.0/16",
    ("production", "us-east-1"): "10.30.0.0/16",
}
_FILLED_SECONDS = 60.0
_OWN_KERNEL_SECONDS = 180.0


def main(way_out: str = WAYS_OUT[0], own_kernel: str = "") -> int:
    """Make everything, wait until the instances have filled their volumes, write seed.json.

    ``way_out``: how private subnets reach AWS, one of `network.WAYS_OUT`. ``own_kernel``: whether there is one more
    source, with a kernel of its own.
    """
    where = paths.current()
    sessions = {name: boto3.Session(profile_name=name) for name in accounts.ACCOUNTS}
    networks = {
        key: ensure_network(sessions[key[0]].client("ec2", region_name=key[1]), cidr, way_out)
        for key, cidr in _RANGES.items()
    }
    backup = sessions["backup"]
    key_arn = identity.ensure_key(backup.client("kms", region_name=MAIN_REGION), "alias/mayfly")
    bucket = f"mayfly-repository-{accounts.BACKUP}"
    identity.ensure_bucket(backup.client("s3", region_name=MAIN_REGION), bucket, key_arn)
    roles = {
        name: identity.ensure_roles(session.client("iam", region_name=MAIN_REGION), accounts.ACCOUNTS[name])
        for name, session in sessions.items()
    }
    ec2 = sessions["production"].client("ec2", region_name=MAIN_REGION)
    private_key = _ensure_key(where.run / "sources.key")
    public_key = private_key.with_suffix(".key.pub").read_text().strip()
    made = {
        name: sources.ensure_source(ec2, name, networks["production", MAIN_REGION], public_key)
        for name in ("web-1", "db-1", *([sources.OWN_KERNEL] if own_kernel else []))
    }
    for name, source in made.items():
        _await_filled(name, source["address"], private_key)
    _write(where.seed, networks=networks, roles=roles, bucket=bucket, sources=made, key=private_key)
    print(f"seeded {' and '.join(made)}, bucket {bucket}")
    return 0


def _write(path: Path, *, networks: dict[Any, Any], roles: Any, bucket: str, sources: Any, key: Path) -> None:
    listed = [
        {"account": accounts.ACCOUNTS[name], "region": region, **network}
        for (name, region), network in networks.items()
    ]
    value = {
        "accounts": {
            name: {"id": accounts.ACCOUNTS[name], "role_arn": each["deployment"], "worker_role_arn": each["worker"]}
            for name, each in roles.items()
        },
        "networks": listed,
        "repository": {
            "bucket": bucket,
            "prefix": "mayfly",
            "region": MAIN_REGION,
            "account": accounts.BACKUP,
            "kms_key_id": "alias/mayfly",
        },
        "sources": sources,
        "source_key": str(key),
        "source_user": "admin",
        "own_kernel_image": {"owner": AMI_OWNER, "name": AMI_NAME},
    }
    path.write_text(json.dumps(value, indent=1))


def _ensure_key(path: Path) -> Path:
    """The key that the sources let in; its private half lies in the lab's folder."""
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=20)
    return path


def _await_filled(name: str, address: str, key: Path) -> None:
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    command = ["ssh", "-q", "-i", str(key), *options, "-o", "ConnectTimeout=3", f"admin@{address}"]
    seconds = _OWN_KERNEL_SECONDS if name == sources.OWN_KERNEL else _FILLED_SECONDS
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done = subprocess.run([*command, "test -e /run/filled"], check=False, timeout=20)
        if done.returncode == 0:
            return
        time.sleep(0.5)
    raise TimeoutError(f"{name} at {address} had not filled its volumes after {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
