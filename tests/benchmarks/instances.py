# SPDX-License-Identifier: GPL-3.0-or-later
"""Boots alone, and the wait for the end: ``python -m tests.benchmarks.instances boot|gone SETTINGS [COUNT]``.

Run inside the lab. Prints {seconds} as its last line.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import jinja2

_LIMIT = 600.0
_LIVING = ["pending", "running", "stopping", "stopped", "shutting-down"]
_PAUSE = 0.25


def boot(ec2: Any, settings: dict[str, Any], count: int) -> float:
    """Seconds from one RunInstances for so many to the moment when SSH answers on all; ends them again."""
    template = Path(settings["plain_user_data_template"]).read_text()
    began = time.monotonic()
    launched = ec2.run_instances(
        ImageId=settings["plain_image_id"],
        InstanceType=settings["plain_instance_type"],
        SubnetId=settings["plain_subnet_id"],
        SecurityGroupIds=[settings["plain_group_id"]],
        UserData=jinja2.Template(template).render(**settings),
        MinCount=count,
        MaxCount=count,
    )["Instances"]
    try:
        for each in launched:
            while not _answers(each["PrivateIpAddress"]):
                assert time.monotonic() - began < _LIMIT, f"{each['InstanceId']} does not answer"
                time.sleep(_PAUSE)
        return time.monotonic() - began
    finally:
        ec2.terminate_instances(InstanceIds=[each["InstanceId"] for each in launched])
        gone(ec2, settings)


def gone(ec2: Any, settings: dict[str, Any]) -> float:
    """Seconds until no worker is there any more; the lab's own instances have another type or account."""
    began = time.monotonic()
    filters = [
        {"Name": "instance-state-name", "Values": _LIVING},
        {"Name": "instance-type", "Values": [settings["plain_instance_type"]]},
    ]
    while ec2.describe_instances(Filters=filters)["Reservations"]:
        assert time.monotonic() - began < _LIMIT, "workers do not end"
        time.sleep(_PAUSE)
    return time.monotonic() - began


def _answers(address: str) -> bool:
    """Whether an SSH server has said what it is."""
    try:
        with socket.create_connection((address, 22), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[2]).read_text())
    client = boto3.client("ec2", region_name=told["plain_region"])
    print(
        json.dumps({"seconds": boot(client, told, int(sys.argv[3])) if sys.argv[1] == "boot" else gone(client, told)})
    )
