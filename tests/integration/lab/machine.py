# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances for tests of the lab, made with the AWS command line."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.labs import Lab

SSH_OPTIONS = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
SSH_OPTIONS += ["-o", "ConnectTimeout=3", "-o", "LogLevel=ERROR"]


@dataclass(frozen=True)
class Machine:
    """An instance and the way into it."""

    lab: Lab
    instance_id: str
    address: str
    key: Path
    profile: str

    def ssh(self, command: str, wait: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command on the host as root."""
        words = ["ssh", *SSH_OPTIONS, "-i", str(self.key), f"admin@{self.address}", f"sudo sh -c {_quoted(command)}"]
        return self.lab.run("exec", "--", *words, wait=wait)

    def check(self, command: str, wait: float = 60) -> str:
        done = self.ssh(command, wait)
        assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        return done.stdout

    def wait_for_another_boot(self, boot_id: str, seconds: float) -> None:
        """Until the host, which reboots, is one that its kernel does not call ``boot_id``."""
        limit = time.monotonic() + seconds
        while (done := self.ssh("cat /proc/sys/kernel/random/boot_id")).returncode or done.stdout == boot_id:
            assert time.monotonic() < limit, f"{self.instance_id} has not rebooted: {done.stderr}"
            time.sleep(0.5)

    def state(self) -> str:
        found = self.lab.aws("ec2", "describe-instances", "--instance-ids", self.instance_id, profile=self.profile)
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])

    def wait_for(self, state: str, seconds: float = 30) -> None:
        limit = time.monotonic() + seconds
        while self.state() != state:
            assert time.monotonic() < limit, f"{self.instance_id} is {self.state()}, not {state}, after {seconds} s"
            time.sleep(0.2)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def image(lab: Lab, region: str = "us-east-1") -> str:
    found = lab.aws("ec2", "describe-images", "--owners", "136693071363", region=region)
    return str(found["Images"][0]["ImageId"])


def open_group(lab: Lab, vpc: str, cidr: str = "10.255.0.10/32", profile: str = "backup") -> str:
    """A security group that lets SSH in from ``cidr``."""
    group = lab.aws(
        "ec2",
        "create-security-group",
        "--group-name",
        f"ssh-{time.monotonic_ns()}",
        "--description",
        "SSH",
        "--vpc-id",
        vpc,
        profile=profile,
    )["GroupId"]
    lab.aws(
        "ec2",
        "authorize-security-group-ingress",
        "--group-id",
        group,
        "--protocol",
        "tcp",
        "--port",
        "22",
        "--cidr",
        cidr,
        profile=profile,
    )
    return str(group)


def default_vpc(lab: Lab, profile: str = "backup", region: str = "us-east-1") -> str:
    words = ("ec2", "describe-vpcs", "--filters", "Name=is-default,Values=true")
    return str(lab.aws(*words, profile=profile, region=region)["Vpcs"][0]["VpcId"])


def key_pair(lab: Lab) -> Path:
    """The private key that user data lets in."""
    key = lab.state / "test-key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=10)
    return key


def running_instance(
    lab: Lab, *more: str, wait: bool = True, profile: str = "backup", group: str | None = None
) -> Machine:
    """Launch an instance in the default VPC, and wait until SSH answers."""
    key = key_pair(lab)
    public = key.with_suffix(".pub").read_text().strip()
    user_data = f"#cloud-config\nssh_authorized_keys: ['{public}']\n"
    file = lab.state / "user-data"
    file.write_text(user_data)
    group = group or open_group(lab, default_vpc(lab, profile), profile=profile)
    launched = lab.aws(
        "ec2",
        "run-instances",
        "--image-id",
        image(lab),
        "--instance-type",
        "c6a.large",
        "--security-group-ids",
        group,
        "--user-data",
        f"file://{file}",
        *more,
        profile=profile,
    )["Instances"][0]
    machine = Machine(lab, launched["InstanceId"], launched["PrivateIpAddress"], key, profile)
    if wait:
        wait_for_ssh(machine)
    return machine


def wait_for_ssh(machine: Machine, seconds: float = 40) -> None:
    limit = time.monotonic() + seconds
    while (done := machine.ssh("true")).returncode != 0:
        assert time.monotonic() < limit, f"{machine.instance_id} does not answer: {done.stderr}"
        time.sleep(0.2)
