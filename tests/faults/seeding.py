# SPDX-License-Identifier: GPL-3.0-or-later
"""What the campaign backs up: one small instance, and the accounts around it. Run inside a lab.

It uses the functions behind ``lab seed``; its source is smaller, and its networks name no security groups, so that
every worker gets a temporary one of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import boto3
from mayfly_lab import accounts, paths
from mayfly_lab.seed import __main__ as seed
from mayfly_lab.seed import identity, sources
from mayfly_lab.seed.network import ensure_network

NAME = "small-1"
REGION = "us-east-1"
_RANGES = {("backup", REGION): "10.20.0.0/16", ("production", REGION): "10.30.0.0/16"}
_SCRIPT = (
    sources._SETUP
    + """\
ready /dev/xvdf; mkfs.ext4 -q /dev/xvdf; mkdir /srv/files; mount /dev/xvdf /srv/files; fill /srv/files/data 20
sync; touch /run/filled
"""
)


def main(folder: str) -> int:
    """Make everything, then write seed.json, and the inventories into ``folder``."""
    where = paths.current()
    sessions = {name: boto3.Session(profile_name=name) for name in accounts.ACCOUNTS}
    networks = {
        key: ensure_network(sessions[key[0]].client("ec2", region_name=key[1]), cidr) for key, cidr in _RANGES.items()
    }
    backup = sessions["backup"]
    key_arn = identity.ensure_key(backup.client("kms", region_name=REGION), "alias/mayfly")
    bucket = f"mayfly-repository-{accounts.BACKUP}"
    identity.ensure_bucket(backup.client("s3", region_name=REGION), bucket, key_arn)
    roles = {
        name: identity.ensure_roles(session.client("iam", region_name=REGION), accounts.ACCOUNTS[name])
        for name, session in sessions.items()
    }
    private_key = seed._ensure_key(where.run / "sources.key")
    source = _source(sessions["production"], networks["production", REGION], private_key)
    seed._await_filled(NAME, source["address"], private_key)
    for network in networks.values():
        del network["security_group_ids"]
    seed._write(where.seed, networks=networks, roles=roles, bucket=bucket, sources={NAME: source}, key=private_key)
    _write_inventories(Path(folder), source)
    return 0


def _source(session: boto3.Session, network: dict[str, Any], key: Path) -> dict[str, str]:
    """{id, address} of a new instance with one data volume of 1 GiB that fills itself."""
    ec2 = session.client("ec2", region_name=REGION)
    public = key.with_suffix(".key.pub").read_text().strip()
    images = ec2.describe_images(Filters=[{"Name": "name", "Values": ["debian-12-a*"]}])["Images"]
    tags = [{"Key": "Name", "Value": NAME}]
    launched = ec2.run_instances(
        ImageId=next(each["ImageId"] for each in images if each["Architecture"] == "x86_64"),
        InstanceType="t3.small",
        MinCount=1,
        MaxCount=1,
        SubnetId=network["subnet_ids"][0],
        SecurityGroupIds=network["security_group_ids"],
        UserData=_SCRIPT.replace("@KEY@", public),
        MetadataOptions={"HttpTokens": "required"},
        BlockDeviceMappings=[
            {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3", "DeleteOnTermination": True}}
        ],
        TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
    )["Instances"][0]
    return {"id": launched["InstanceId"], "address": launched["PrivateIpAddress"]}


def _write_inventories(folder: Path, source: dict[str, str]) -> None:
    """Static ones: no case depends on how long a live inventory takes."""
    resource = {"account": accounts.PRODUCTION, "region": REGION, "kind": "ec2", "id": source["id"], "name": NAME}
    host = {"ansible_host": source["address"], "mayfly_resource": resource}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ec2.yml").write_text(json.dumps({"ec2": {"hosts": {f"{NAME}_{source['id']}": host}}}))
    lab = Path(__file__).resolve().parents[2] / "inventories/lab"
    for name in ("group_vars", "repositories.yml", "restore_points.yml"):
        if not (folder / name).exists():
            (folder / name).symlink_to(lab / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
